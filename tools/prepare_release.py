#!/usr/bin/env python3
"""Makes a checkout ready for building the files of a release, or says what is missing. Needs only Python 3.11.

    tools/prepare_release.py [--check]

It refuses while pyproject.toml lacks `authors` or an address, or CHANGELOG.md lacks the version's date, because a
version on PyPI cannot be changed after its upload. Then it makes README's links absolute, because PyPI has no files
beside README: `docs/cuda.md` becomes `https://github.com/OWNER/NAME/blob/v0.1.0/docs/cuda.md`. --check changes nothing.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import tomllib

ROOT = Path(__file__).parents[1]
ADDRESSES = ("Documentation", "Repository", "Issues", "Changelog")
PICTURES = {".jpg", ".png", ".svg", ".gif", ".webp"}

# A block or a line of code, which has no links; or the address of a link or a picture.
MARKDOWN = re.compile(
    r"(?P<code>^```.*?^```$|`[^`\n]+`)|(?P<before>\]\(|\b(?:src|href)=\")(?P<address>[^)\"\s]+)",
    re.DOTALL | re.MULTILINE,
)


def missing(project: dict[str, object]) -> list[str]:
    """The fields that the table [project] of pyproject.toml lacks for a release."""
    found = []
    if not project.get("authors"):
        found.append('authors: is empty, wanted [{ name = "...", email = "..." }, ...]')
    urls = project.get("urls")
    for name in ADDRESSES:
        address = urls.get(name, "") if isinstance(urls, dict) else ""
        if not address:
            found.append(f"urls.{name}: is missing, wanted an address")
        elif not address.startswith("https://"):
            found.append(f"urls.{name}: is {address!r}, wanted an address that begins with https://")
        elif name == "Repository" and not re.fullmatch(r"https://github\.com/[^/]+/[^/]+", address):
            found.append(f"urls.Repository: is {address!r}, wanted https://github.com/OWNER/NAME, for README's links")
    return found


def absolute_links(text: str, repository: str, tag: str, root: Path) -> str:
    """Markdown whose links into the repository name the file at that tag. Raises ValueError for a link to no file."""

    def absolute(match: re.Match[str]) -> str:
        address = match["address"]
        if match["code"] or re.match(r"#|[a-z][a-z0-9+.-]*:", address):
            return match[0]
        path = address.split("#")[0]
        if not (root / path).exists():
            raise ValueError(f"README.md: links to {path}, which does not exist")
        view = "raw" if Path(path).suffix in PICTURES else "blob"
        return f"{match['before']}{repository}/{view}/{tag}/{address}"

    return MARKDOWN.sub(absolute, text)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="change nothing")
    arguments = parser.parse_args()

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    problems = [f"pyproject.toml: {problem}" for problem in missing(project)]
    if not re.search(
        rf"^## {re.escape(project['version'])} \(\d{{4}}-\d\d-\d\d\)$",
        (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    ):
        problems.append(f"CHANGELOG.md: has no heading '## {project['version']} (YEAR-MONTH-DAY)'")
    if problems:
        print(*problems, sep="\n", file=sys.stderr)
        return 1
    readme = ROOT / "README.md"
    try:
        text = absolute_links(
            readme.read_text(encoding="utf-8"), project["urls"]["Repository"], f"v{project['version']}", ROOT
        )
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    if not arguments.check:
        readme.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
