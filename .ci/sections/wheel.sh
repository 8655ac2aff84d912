# The wheel outside the source tree: bare, with its extras, its command, its C++ library.
use_tools
make_faces
make_dist

section "the wheel, outside the source tree"
python3 -m venv "$work/user"
"$work/user/bin/pip" install "$work"/dist/*.whl
cd "$work"
cat >bare.py <<'PYTHON'
# Without Pillow and OpenCV the package must still import and detect.
import mtcnn_fast, numpy
assert "site-packages" in mtcnn_fast.__file__, mtcnn_fast.__file__
assert len(mtcnn_fast.MTCNN().detect(numpy.zeros((100, 100, 3), numpy.uint8))) == 0
PYTHON
user/bin/python -W error bare.py
user/bin/mtcnn-fast evaluate wider --help >help # what a command needs is imported when it runs
test -f "$(user/bin/python -c 'import mtcnn_fast; print(mtcnn_fast.get_include())')/../lib/libmtcnn_fast_cuda.so"
user/bin/mtcnn-fast info
user/bin/pip install "$(grep ^mypy== "$root/.ci/requirements-lint.txt")"
user/bin/python -m mypy.stubtest mtcnn_fast._core --allowlist "$root/.ci/stubtest-allowlist.txt"
wheel=$(echo dist/*.whl)
user/bin/pip install "${wheel}[headless]"
# No extra but `cli` brings the other OpenCV beside the headless one.
for extra in headless evaluate train; do
  user/bin/pip install --dry-run --ignore-installed --report resolved.json -c "$root/.ci/constraints.txt" torch \
    opencv-python-headless "${wheel}[$extra]"
  python - <<'PYTHON'
import json
names = {entry["metadata"]["name"].lower() for entry in json.load(open("resolved.json"))["install"]}
assert "pillow" in names and "opencv-python" not in names, sorted(names)
PYTHON
done
user/bin/mtcnn-fast detect "$root/tests/data/astronaut.jpg" --draw drawn --json -
cmake --log-level=WARNING -G Ninja -S "$root/examples/cpp" -B example \
  -Dmtcnn_fast_DIR="$(user/bin/python -c 'import mtcnn_fast; print(mtcnn_fast.get_cmake_dir())')"
cmake --build example -- --quiet
example/detect picture.ppm | diff - faces
