"""README and the pages of docs/: their links lead somewhere, their files exist, and their code runs.

A Python or shell block is run, in the order of its page, in a folder that has the checkout's files and a few pictures.
Blocks of C++, JSON, TOML and XML are parsed.
An HTML comment in front of a block says what keeps it from being run:

    <!-- not run: it installs packages -->
    <!-- needs: torch -->             run where these modules can be imported
"""

from __future__ import annotations

import functools
import importlib.util
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

markdown_it = pytest.importorskip("markdown_it", reason="markdown-it-py, which reads the pages, is not installed")

ROOT = Path(__file__).parents[1]
RUN = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [
    *(page for page in sorted(ROOT.glob("*.md")) if page not in RUN),
    *RUN,
    *(page for folder in ("bench", "examples", "tests") for page in sorted((ROOT / folder).rglob("*.md"))),
]
FOLDERS = "bench|cmake|cuda|docs|examples|include|python|src|tests|tools"
RUNNABLE = ("bash", "python")
CHECKED = ("cpp", "json", "toml", "xml")
MARK = re.compile(r"<!--\s*(not run|needs):\s*(.+?)\s*-->", re.DOTALL)


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    language: str
    code: str
    mark: tuple[str, str] | None
    """What the comment in front of it says."""

    @property
    def name(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def left_out(self) -> str | None:
        """Why it is not run here; None: it is."""
        if self.mark is None:
            return None
        kind, text = self.mark
        if kind == "not run":
            return text
        missing = [module for module in text.split() if importlib.util.find_spec(module) is None]
        return f"{' and '.join(missing)} not installed" if missing else None


@functools.cache
def tokens(page: Path) -> list[markdown_it.token.Token]:
    return markdown_it.MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8"))


@functools.cache
def blocks(page: Path) -> list[Block]:
    found = []
    mark = None
    for token in tokens(page):
        if token.type == "fence" and token.info.strip() in (*RUNNABLE, *CHECKED):
            found.append(Block(page, token.map[0] + 1, token.info.strip(), token.content, mark))
        comment = MARK.fullmatch(token.content.strip()) if token.type == "html_block" else None
        mark = None if comment is None else (comment[1], comment[2])
    return found


@functools.cache
def anchors(page: Path) -> set[str]:
    """Those that GitHub gives the headings of a page."""
    seen: Counter[str] = Counter()
    found = set()
    for token, content in itertools.pairwise(tokens(page)):
        if token.type == "heading_open":
            text = "".join(part.content for part in content.children or ())
            anchor = re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")
            found.add(f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor)
            seen[anchor] += 1
    return found


@functools.cache
def links(page: Path) -> list[str]:
    inline = [child for token in tokens(page) for child in token.children or ()]
    targets = [child.attrGet({"link_open": "href", "image": "src"}.get(child.type, "")) for child in inline]
    return [str(target) for target in targets if target is not None]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_within_the_project(page: Path) -> None:
    left_out = [ROOT / name for name in (".ci", ".github") if not (ROOT / name).exists()]  # of a source distribution
    wrong = []
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = Path(os.path.normpath(page.parent / path)) if path else page
        if any(target.is_relative_to(folder) for folder in left_out):
            continue
        if not target.exists() or (anchor and anchor not in anchors(target)):
            wrong.append(link)
    assert not wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_paths_in_the_project(page: Path) -> None:
    code = [child.content for token in tokens(page) for child in token.children or () if child.type == "code_inline"]
    paths = [text for text in code if re.fullmatch(rf"({FOLDERS})/[\w./-]*", text)]
    assert not [path for path in paths if not (ROOT / path).exists()]


def test_outside_links(request: pytest.FixtureRequest) -> None:
    if not request.config.getoption("--outside-links"):
        pytest.skip("pytest --outside-links follows the links to other places")
    wrong = []
    for link in sorted({link for page in PAGES for link in links(page) if re.match(r"https?:", link)}):
        query = urllib.request.Request(link.partition("#")[0], headers={"User-Agent": "Mozilla/5.0"})
        try:
            with urllib.request.urlopen(query, timeout=30):
                pass
        except OSError as error:
            wrong.append(f"{link}: {error}")
    assert not wrong


@pytest.fixture(scope="session")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the commands `python` and `mtcnn-fast` of the package that is tested, and none that install."""
    folder = tmp_path_factory.mktemp("commands")
    refusal = 'echo "a block that installs, builds or tests has to be marked: not run" >&2; exit 1'
    scripts = {
        "python": f'exec "{sys.executable}" "$@"',
        "mtcnn-fast": f'exec "{sys.executable}" -m mtcnn_fast "$@"',
        **dict.fromkeys(("pip", "pytest", "cmake", "sphinx-build"), refusal),
    }
    for name, script in scripts.items():
        path = folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    return folder


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory, commands: Path) -> dict[Block, str | None]:
    """What went wrong with each block. Fills itself as pages are asked for."""

    data = tmp_path_factory.mktemp("data") / "toy"
    if importlib.util.find_spec("scipy") is not None:
        tool = ROOT / "tools" / "make_toy_set.py"
        subprocess.run([sys.executable, str(tool), str(data)], check=True, capture_output=True)

    class Results(dict[Block, "str | None"]):
        def __missing__(self, block: Block) -> str | None:
            self.update(_run(block.page, tmp_path_factory.mktemp("page"), commands, data))
            return self[block]

    return Results()


def _run(page: Path, folder: Path, commands: Path, data: Path) -> dict[Block, str | None]:
    wanted = [block for block in blocks(page) if block.language in RUNNABLE and block.left_out is None]
    for entry in ROOT.iterdir():
        if not entry.name.startswith((".", "build")):
            folder.joinpath(entry.name).symlink_to(entry)
    folder.joinpath("toy").symlink_to(data)
    _make_pictures(folder)
    given, gotten = folder / "blocks.json", folder / "results.json"
    given.write_text(json.dumps([(block.language, block.code) for block in wanted]), encoding="utf-8")
    # Pages are run elsewhere: relative paths would not do.
    paths = [str(Path(entry).resolve()) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}",
        "DATA": os.fspath(data),
    }
    run = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "page_blocks.py"), str(given), str(gotten)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    return dict(zip(wanted, json.loads(gotten.read_text(encoding="utf-8")), strict=True))


def _make_pictures(folder: Path) -> None:
    """The pictures and the video that pages call their reader's."""
    cv2 = pytest.importorskip("cv2", reason="OpenCV, which makes the pages' video, is not installed")
    photograph = ROOT / "tests" / "data" / "astronaut.jpg"
    shutil.copy(photograph, folder / "picture.jpg")
    holiday = folder / "holiday"
    holiday.mkdir()
    with Image.open(photograph) as picture:
        picture.resize((256, 256)).save(holiday / "beach.jpg")
        picture.resize((128, 128)).save(holiday / "evening.png")
        frame = np.asarray(picture.resize((256, 256)))[:, :, ::-1]
    film = cv2.VideoWriter(os.fspath(folder / "film.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 25, (256, 256))
    assert film.isOpened()
    for _ in range(12):
        film.write(frame)
    film.release()


def _blocks(languages: Collection[str]) -> list[Any]:
    found = [block for page in RUN for block in blocks(page) if block.language in languages]
    return [pytest.param(block, id=f"{block.name}-{block.language}") for block in found]


@pytest.mark.parametrize("block", _blocks(RUNNABLE))
def test_block(block: Block, results: dict[Block, str | None]) -> None:
    if block.left_out is not None:
        pytest.skip(f"{block.name}: {block.left_out}")
    wrong = results[block]
    assert wrong is None, f"{block.name}\n{block.code}\n{wrong}"


@pytest.mark.parametrize("block", _blocks(CHECKED))
def test_block_is_well_formed(block: Block) -> None:
    if block.language == "cpp":
        _compile(block.code)
    elif block.language == "json":
        json.loads(block.code)
    elif block.language == "xml":
        ElementTree.fromstring(block.code)
    else:
        pytest.importorskip("tomllib", reason="Python 3.11 is the first that reads TOML").loads(block.code)


def _compile(code: str) -> None:
    """Checks statements of C++, and the lines that include headers, as a program about pixels of the caller's."""
    compiler = shutil.which(os.environ.get("CXX", "c++"))
    if compiler is None:
        pytest.skip("there is no C++ compiler")
    headers, statements = [], []
    for line in code.splitlines():
        (headers if line.startswith("#include") else statements).append(line)
    program = "\n".join(
        [
            "#include <cstdio>",
            *headers,
            "void use(const unsigned char* pixels, int width, int height) {",
            *statements,
            "}",
        ]
    )
    command = [compiler, "-std=c++20", "-fsyntax-only", "-I", str(ROOT / "include"), "-x", "c++", "-"]
    done = subprocess.run(command, input=program, capture_output=True, text=True)
    assert done.returncode == 0, f"{program}\n{done.stderr}"


@pytest.mark.parametrize("page", RUN, ids=lambda page: str(page.relative_to(ROOT)))
def test_marks_are_in_front_of_blocks(page: Path) -> None:
    assert len(MARK.findall(page.read_text(encoding="utf-8"))) == sum(block.mark is not None for block in blocks(page))
