# What several sections use. The first section that asks for a product makes it; it stays in $work for the others.
# shellcheck disable=SC2154 # root, work and jobs are set by .ci/run

section() { printf '\n=== %s (after %d:%02d)\n' "$*" $((SECONDS / 60)) $((SECONDS % 60)); }

# Puts the build's tools first in PATH.
use_tools() {
  if [ ! -e "$work/tools" ]; then
    section "tools"
    python3 -m venv "$work/tools"
    "$work/tools/bin/pip" install build cmake ninja numpy opencv-python-headless
  fi
  PATH=$work/tools/bin:$PATH
}

# Not the machine's own nvcc: the limits are of one version, and whoever has none must be able to do the same.
use_cuda() {
  if [ ! -e "$work/nvcc" ]; then
    section "the CUDA toolkit"
    "$root/tools/cuda_toolkit.sh" "$work/cuda" >"$work/nvcc"
  fi
  CUDACXX=$(cat "$work/nvcc")
  export CUDACXX
}

build() { # DIRECTORY CMAKE_OPTION...
  cmake --log-level=WARNING -S . -B "$work/$1" -G Ninja -DMTCNN_FAST_BUILD_TESTS=ON -DMTCNN_FAST_BUILD_EXAMPLES=ON \
    -DCMAKE_COMPILE_WARNING_AS_ERROR=ON "${@:2}"
  cmake --build "$work/$1" -j "$jobs" -- --quiet
}

has_google_benchmark() { c++ -std=c++20 -fsyntax-only -include benchmark/benchmark.h -x c++ /dev/null 2>/dev/null; }

# Before make_release: bench_stages needs Google Benchmark, which Debian's libbenchmark-dev brings.
use_google_benchmark() {
  if has_google_benchmark; then return; fi
  section "Google Benchmark"
  local as_root=()
  if [ "$(id -u)" != 0 ]; then as_root=(sudo -n); fi
  if ! command -v apt-get || ! "${as_root[@]}" apt-get -q update ||
    ! "${as_root[@]}" apt-get -q install -y libbenchmark-dev; then
    echo "not installed, which takes apt-get, and root or a sudo without a password"
  fi
}

# $work/release, with the CUDA kernels for every architecture and emulated, and the benchmarks. Needs use_tools.
make_release() {
  if [ -e "$work/release" ]; then return; fi
  use_cuda
  section "native build"
  build release -DMTCNN_FAST_BUILD_BENCHMARKS=ON -DMTCNN_FAST_CUDA=ON
}

# $work/picture.ppm, and in $work/faces what the C++ example finds in it. Needs use_tools.
make_faces() {
  if [ -e "$work/faces" ]; then return; fi
  make_release
  python -c 'import cv2, sys; cv2.imwrite(sys.argv[2], cv2.imread(sys.argv[1]))' \
    tests/data/astronaut.jpg "$work/picture.ppm"
  "$work/release/examples/cpp/detect" "$work/picture.ppm" | tee "$work/faces"
  test -s "$work/faces"
}

# $work/dist, with the source distribution and the wheel made from it. Needs use_tools.
make_dist() {
  if [ -e "$work/dist" ]; then return; fi
  use_cuda
  section "source distribution and wheel"
  # It is about packaging, for which one architecture will do.
  CUDAARCHS=90 python -m build --outdir "$work/dist" . >"$work/build.log" || { tail -50 "$work/build.log"; exit 1; }
  ls -l "$work/dist"
}
