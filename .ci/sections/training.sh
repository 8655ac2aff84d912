# The tests that need PyTorch, from the wheel: of training, and of other packages' interfaces.
use_tools
make_dist

section "training and other packages' interfaces, with PyTorch"
python3 -m venv "$work/train"
wheel=$(echo "$work"/dist/*.whl)
"$work/train/bin/pip" install -c .ci/constraints.txt "${wheel}[train,evaluate,test]" pillow-heif
# DeepFace without what its own detectors and networks need, which is TensorFlow.
"$work/train/bin/pip" install --no-deps deepface==0.0.103
"$work/train/bin/pip" install gdown werkzeug opencv-python-headless
"$work/train/bin/pytest" -q tests/test_train*.py tests/test_compat*.py tests/test_{reading,exported,advice,fuzz_files}.py
"$work/train/bin/pytest" -q tests/test_docs.py -k "train or compat or deepface" # what needs these packages
