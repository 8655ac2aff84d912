"""Random calls of the API, a few of each kind in fuzz.py; `pytest tests/test_fuzz_api.py --fuzz N` makes N of each."""

from __future__ import annotations

import subprocess
import sys

import pytest

import fuzz

CASES = 200


@pytest.fixture(scope="session")
def cases(request: pytest.FixtureRequest) -> int:
    found = request.config.getoption("--fuzz")
    return CASES if found is None else int(found)


@pytest.mark.parametrize("kind", [kind for kind in fuzz.KINDS if kind != "views"])
def test_random_calls(kind: str, cases: int) -> None:
    fuzz.run(kind, cases)


@pytest.mark.skipif(sys.platform == "win32", reason="no mprotect")
def test_random_views_beside_guard_pages(cases: int) -> None:
    """In a process of their own, which a byte read outside of a view would kill."""
    command = [sys.executable, "-W", "error", fuzz.__file__, str(cases), "views"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"views: {cases} cases, ")


def test_guard_pages_crash_what_reads_them() -> None:
    """Or the test above would show nothing."""
    if sys.platform == "win32":
        pytest.skip("no mprotect")
    for at_end in (True, False):
        read = f"whole[start + {5 if at_end else -1}]"
        code = f"import fuzz\nwith fuzz.guarded(5, {at_end}) as (whole, start):\n    {{}}\nprint('alive')"
        for line, alive in (("whole[start], whole[start + 4]", True), (read, False)):
            command = [sys.executable, "-c", code.format(line)]
            done = subprocess.run(command, capture_output=True, text=True, cwd=fuzz.HERE)
            assert (done.stdout == "alive\n") == alive, done.stderr
            assert (done.returncode == 0) == alive
