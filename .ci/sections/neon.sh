# NEON kernels under emulation, where there are aarch64-linux-gnu-g++ and qemu-aarch64.
section "NEON under emulation"
if ! command -v aarch64-linux-gnu-g++ || ! command -v qemu-aarch64; then
  echo "skipped: aarch64-linux-gnu-g++ and qemu-aarch64 are not here"
  return
fi
use_tools
make_faces
build neon --toolchain cmake/aarch64-linux-gnu.cmake -DMTCNN_FAST_CUDA=OFF
# The emulator takes minutes for the other groups; a real picture goes through the same code.
ctest --test-dir "$work/neon" --output-on-failure --no-tests=error -R 'stages|nms|pnet|symbols|spills'
qemu-aarch64 "$work/neon/examples/cpp/detect" "$work/picture.ppm" | tee "$work/faces-neon"
python -c 'import numpy, sys; numpy.testing.assert_allclose(*map(numpy.loadtxt, sys.argv[1:]), rtol=0, atol=0.01)' \
  "$work/faces" "$work/faces-neon"
