# The tests that need PyTorch, pyarrow or PyYAML, from the wheel: of training, of other packages' interfaces, of some
# formats.
use_tools
make_dist

section "training and other packages' interfaces, with PyTorch"
python3 -m venv "$work/train"
wheel=$(echo "$work"/dist/*.whl)
"$work/train/bin/pip" install -c .ci/constraints.txt "${wheel}[train,evaluate,parquet,test]" pillow-heif pyyaml
# Without their dependencies, among which are TensorFlow and a second OpenCV; what their imports need follows.
"$work/train/bin/pip" install --no-deps deepface==0.0.103 insightface==2.1
"$work/train/bin/pip" install opencv-python-headless gdown werkzeug onnx onnxruntime scikit-image
"$work/train/bin/pytest" -q tests/test_train*.py tests/test_compat*.py \
  tests/test_{reading,exported,advice,fuzz_files,result_formats,dataset_yolo,run_peer_tests}.py
"$work/train/bin/pytest" -q tests/test_docs.py -k "train or compat or deepface or dataloader" # what needs these packages
