"""The documentation site: README, docs/ and the developers' pages beside them. `sphinx-build -W docs build/docs`."""

from __future__ import annotations

import inspect
import pkgutil
import re
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
INDEX = "docs/README"

project = "mtcnn_fast"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
root_doc = "README"
include_patterns = ["*.md", "docs/**.md", "bench/**.md", "tests/*.md", "examples/**.md"]
exclude_patterns = ["build*", ".*", "dist"]

myst_heading_anchors = 4  # links to headings as on GitHub
myst_links_external_new_tab = False
smartquotes = False  # "auto" is a value
default_role = "py:obj"  # what docstrings have between backquotes
suppress_warnings = ["ref.python"]  # compat.insightface has a Face too; the first one of the reference is meant
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 90

html_theme = "furo"
html_title = project
html_copy_source = False
html_show_copyright = False

_REFERENCE = re.compile(r"^<!-- reference: (.+) -->$", re.MULTILINE)


def setup(app: Any) -> None:
    # Pages link to files beside docs/, as on GitHub: so the folder of the sources is the whole repository.
    app.srcdir = ROOT
    app.connect("source-read", _complete)
    app.connect("autodoc-process-docstring", _mark_parameters)
    app.connect("build-finished", _add_first_page)


def _complete(app: Any, name: str, source: list[str]) -> None:
    """Adds what Markdown on GitHub cannot have: the reference made from docstrings, and the table of contents."""
    source[0] = _REFERENCE.sub(lambda match: _reference(match[1].split()), source[0])
    if name == root_doc:
        source[0] += "".join(_contents())


def _reference(names: list[str]) -> str:
    """The directives of autodoc for public names."""
    directives = []
    for name in names:
        found = pkgutil.resolve_name(name)
        if isinstance(found, ModuleType):
            directives.append(f".. automodule:: {name}\n   :members:\n")
        elif inspect.isclass(found):
            directives.append(f".. autoclass:: {name}\n   :members:\n   :special-members: __call__\n")
        else:
            directives.append(f".. autofunction:: {name}\n")
    return "```{eval-rst}\n" + "\n".join(directives) + "```"


def _contents() -> list[str]:
    """One table for each section of the index, which links to every page."""
    sections = re.split(r"^## (.+)$", (ROOT / f"{INDEX}.md").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    tables = [f"\n\n```{{toctree}}\n:hidden:\n\n{INDEX}\n```\n"]
    for title, text in zip(sections[::2], sections[1::2], strict=True):
        links = re.findall(r"\]\(([^):#]+)\.md\)", text)
        pages = [((ROOT / INDEX).parent / link).resolve().relative_to(ROOT).as_posix() for link in links]
        pages = [page for page in dict.fromkeys(pages) if page != root_doc]
        if pages:
            tables.append(f"\n```{{toctree}}\n:hidden:\n:caption: {title}\n\n" + "\n".join(pages) + "\n```\n")
    return tables


def _mark_parameters(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Makes a field of each `name: text` of a docstring that describes a parameter, in a list or a paragraph."""
    lines[:] = [re.sub(r"(`[^`]+`)(\w)?", _closed, line) for line in lines]
    if what not in ("class", "function", "method"):
        return
    try:
        parameters = [re.escape(parameter) for parameter in inspect.signature(thing).parameters]
    except (TypeError, ValueError):
        return
    if not parameters:
        return
    start = re.compile(rf"(?:^(?:\* )?|(?<=[.;)] ))({'|'.join(parameters)}): ")
    paragraphs: list[str] = []
    for paragraph in re.split(r"\n\s*\n|\n(?=\* )", "\n".join(lines)):
        first, *fields = start.split(" ".join(paragraph.split()) if start.search(paragraph.lstrip()) else paragraph)
        if first.strip() or not fields:
            paragraphs.append(first)
        paragraphs += [f":param {field}: {text}" for field, text in zip(fields[::2], fields[1::2], strict=True)]
    lines[:] = "\n\n".join(paragraphs).splitlines()


def _closed(match: re.Match[str]) -> str:
    """Words between backquotes end where a letter follows too, as in `Face`s."""
    return match[0] if match[2] is None else f"{match[1]}\\ {match[2]}"


def _add_first_page(app: Any, error: Exception | None) -> None:
    if error is None and app.builder.format == "html":
        shutil.copyfile(app.outdir / f"{root_doc}.html", app.outdir / "index.html")
