"""Runs the code blocks of a page in order, as a reader would: `python page_blocks.py BLOCKS.json RESULTS.json`.

Python blocks share their names; a shell block is a `bash` of its own. BLOCKS.json is a list of [language, code];
RESULTS.json has for each block null, or what went wrong.
"""

from __future__ import annotations

import json
import subprocess
import sys
import traceback
from pathlib import Path


def main(source: str, destination: str) -> None:
    names: dict[str, object] = {"__name__": "__main__"}
    results: list[str | None] = []
    for language, code in json.loads(Path(source).read_text(encoding="utf-8")):
        wrong = None
        if language == "bash":
            shell = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", code], stdin=subprocess.DEVNULL, capture_output=True, text=True
            )
            if shell.returncode:
                wrong = f"exit status {shell.returncode}\n{shell.stdout}{shell.stderr}"
        else:
            try:
                exec(compile(code, "<block>", "exec"), names)
            except Exception:
                wrong = traceback.format_exc()
        results.append(wrong)
    Path(destination).write_text(json.dumps(results), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
