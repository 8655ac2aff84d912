# Every instruction set and CUDA emulated; last README's test command, as a newcomer runs it.
# In a subshell, because a newcomer has no tools of ours.
(
  use_tools
  make_release
)
use_cuda
export CUDAARCHS=90

section "a fresh virtual environment with README's test command"
python3 -m venv "$work/fresh"
. "$work/fresh/bin/activate"
test_command=$(grep -m1 -x 'pip install ".*" && pytest' README.md)
# Other instruction sets first, with the same installation. What does not depend on them is left out.
left_out=()
for name in docs layout threads cuda_build packaging finding reading writing video results dataset detection_files evaluate \
  train fuzz_files hostile_files toy_set neon_spills run_settings read_ahead detect_each bench \
  cuda_model gpu_check compat_install run_peer_tests integrations ray; do
  left_out+=("--ignore-glob=*/test_$name*.py")
done
bash -c "${test_command% && pytest}"
section "tests with the emulated CUDA backend"
MTCNN_FAST_CUDA_LIBRARY=$work/release/tests/simt/libmtcnn_fast_cuda.so pytest -q tests/test_cuda.py
for isa in $(python -c 'import mtcnn_fast; print(*mtcnn_fast.available_isas()[1:])'); do
  section "tests with MTCNN_FAST_ISA=$isa"
  MTCNN_FAST_ISA=$isa pytest -q "${left_out[@]}"
done
section "$test_command"
bash -c "$test_command"
