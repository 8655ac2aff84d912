#!/usr/bin/env bash
# On a machine with a GPU, from a bare checkout to a page of results: tools/gpu_check/ with the machine's Python, or the
# one that PYTHON names. --help lists the options and what is wanted.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
python=$(command -v "${PYTHON:-python3}") || { echo "${PYTHON:-python3} is missing" >&2; exit 2; }
python=$("$python" -c 'import sys; print(sys.executable)') # not a wrapper: the sanitizers start it themselves
exec "$python" "$here/gpu_check/gpu_check.py" "$@"
