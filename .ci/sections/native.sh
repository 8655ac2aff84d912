# Native tests, symbols of each instruction set, CUDA kernels for every architecture and emulated, C++ example.
use_tools
make_release

section "native tests, the symbols of each instruction set, CUDA kernels for every architecture and emulated"
ctest --test-dir "$work/release" -j "$jobs" --output-on-failure --no-tests=error
ctest --test-dir "$work/release" --show-only -R cuda_resources | grep -q "Total Tests: 1" # not left out
make_faces
