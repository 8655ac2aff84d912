# Large jobs, from the wheel: Ray with two workers of which one is killed, and what other frameworks call.
use_tools
make_dist

section "large jobs, with Ray"
python3 -m venv "$work/ray"
wheel=$(echo "$work"/dist/*.whl)
"$work/ray/bin/pip" install "${wheel}[headless,ray,test]" daft datasets fastapi httpx
"$work/ray/bin/pytest" -q tests/test_ray.py tests/test_integrations.py
"$work/ray/bin/pytest" -q tests/test_docs.py -k "ray or daft or datasets or fastapi" # the pages about them
