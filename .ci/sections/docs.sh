# The documentation site, its warnings as errors.
use_tools
make_dist

section "the documentation site"
python3 -m venv "$work/docs"
wheel=$(echo "$work"/dist/*.whl)
"$work/docs/bin/pip" install "${wheel}[docs]"
"$work/docs/bin/sphinx-build" -W --keep-going -q docs "$work/site"
grep -q 'id="mtcnn_fast.MTCNN.detect"' "$work/site/docs/api.html"
