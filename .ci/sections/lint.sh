# Ruff, mypy, clang-format.
section "linters"
python3 -m venv "$work/lint"
"$work/lint/bin/pip" install --no-compile -r .ci/requirements-lint.txt
PATH=$work/lint/bin:$PATH

section "ruff, mypy, clang-format"
ruff check .
ruff format --check .
mypy
git ls-files '*.h' '*.cpp' '*.cu' '*.cuh' | xargs clang-format --dry-run -Werror
