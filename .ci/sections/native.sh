# Native tests, symbols of each instruction set, CUDA kernels (every architecture, emulated), C++ example, benchmarks.
use_tools
use_google_benchmark
make_release

section "native tests, the symbols of each instruction set, CUDA kernels for every architecture and emulated"
ctest --test-dir "$work/release" -j "$jobs" --output-on-failure --no-tests=error
ctest --test-dir "$work/release" --show-only -R cuda_resources | grep -q "Total Tests: 1" # not left out

use_cuda
section "predicted times of the CUDA kernels"
python tools/predict_cuda.py "$work/release/cuda/libmtcnn_fast_cuda.so" --cuobjdump "$(dirname "$CUDACXX")/cuobjdump"

section "the benchmarks, compiled only"
benchmarks=(bench_cuda bench_tracker)
if has_google_benchmark; then
  benchmarks+=(bench_stages)
else
  echo "LEFT OUT: bench_stages, because Google Benchmark (Debian: libbenchmark-dev) is not installed"
fi
for program in "${benchmarks[@]}"; do
  if [ ! -x "$work/release/bench/$program" ]; then
    echo "the build left $program out"
    exit 1
  fi
  echo "$program: compiled"
done

make_faces
