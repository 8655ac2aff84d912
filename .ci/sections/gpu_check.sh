# tools/gpu_check.sh as a whole, on the emulated CUDA backend.
use_tools
make_release
make_dist

section "the checks for a machine with a GPU, emulated"
python3 -m venv "$work/checker"
"$work/checker/bin/pip" install numpy opencv-python-headless pillow pytest safetensors
PYTHON=$work/checker/bin/python tools/gpu_check.sh --emulated "$work/release" --wheel "$work"/dist/*.whl \
  --out "$work/checked"
test "$(find "$work/checked" -type f | wc -l)" -le 8
