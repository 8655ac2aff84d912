"""What a folder holds."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mtcnn_fast.finding import FoundFile, PassedOver, find, is_shadow

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links and pipes")


def names(folder: Path, **options: object) -> tuple[list[str], str]:
    """What is found in a folder, below it, and what is said to be passed over."""
    passed_over, errors = PassedOver(), list[OSError]()
    leave_out = [str(options["leave_out"])] if options else []
    found = find([str(folder)], {".jpg"}, leave_out=leave_out, report=errors.append, passed_over=passed_over)
    below = [each.below for each in found]
    assert not errors
    return below, str(passed_over)


def make(folder: Path, *files: str) -> Path:
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()
    return folder


def test_order_and_counts(tmp_path: Path) -> None:
    make(
        tmp_path, "b.jpg", "a.JPG", "b/1.jpg", "a/2.jpg", "a/c/3.jpg", "x.heic", "y.HEIC", "notes.txt", "README", ".jpg"
    )
    assert names(tmp_path) == (
        ["a.JPG", "b.jpg", "a/2.jpg", "a/c/3.jpg", "b/1.jpg"],
        "passed over: 2 .heic, 2 with no suffix, 1 .txt",
    )


def test_shadows_of_macos(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "._a.jpg", "__MACOSX/a.jpg", "sub/__MACOSX/b/c.jpg", "._folder/a.jpg")
    assert names(tmp_path) == (["a.jpg"], "passed over: 4 of macOS (._*, __MACOSX)")
    assert is_shadow("zip/__MACOSX/a.txt")
    assert is_shadow("a/._b.txt")
    assert not is_shadow("a/b._txt")


def test_regular_files_alone(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "folder.jpg/b.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "dead.jpg").symlink_to("nowhere")
    (tmp_path / "itself.jpg").symlink_to("itself.jpg")
    (tmp_path / "null.jpg").symlink_to("/dev/null")
    assert names(tmp_path) == (["a.jpg", "folder.jpg/b.jpg"], "passed over: 4 special (pipes, devices, dead links)")


def test_links(tmp_path: Path) -> None:
    make(tmp_path, "in/a.jpg", "elsewhere/c.jpg")
    for link, target in (("b.jpg", "a.jpg"), ("c.jpg", "a.jpg"), ("out", "../elsewhere"), ("out2", "../elsewhere")):
        (tmp_path / "in" / link).symlink_to(target)
    # Two links to one file, or to one folder, are two.
    assert names(tmp_path / "in") == (["a.jpg", "b.jpg", "c.jpg", "out/c.jpg", "out2/c.jpg"], "")


def test_loops(tmp_path: Path) -> None:
    make(tmp_path, "in/a.jpg", "in/sub/b.jpg", "other/c.jpg")
    for link, target in (("in/up", "."), ("in/sub/top", ".."), ("in/other", "../other"), ("other/back", "../in")):
        (tmp_path / link).symlink_to(target)
    found, passed_over = names(tmp_path / "in")
    assert found == ["a.jpg", "other/c.jpg", "sub/b.jpg"]
    assert passed_over == "passed over: 3 looping (links to a folder above)"


@pytest.fixture
def nested(tmp_path: Path) -> Iterator[Callable[[str, int], Path]]:
    """Makes folders in each other, beyond the length of a path. pytest itself could not remove them."""

    def make(name: str, count: int) -> Path:
        place = os.open(tmp_path, os.O_RDONLY)
        for _ in range(count):
            os.mkdir(name, dir_fd=place)
            inner = os.open(name, os.O_RDONLY, dir_fd=place)
            os.close(place)
            place = inner
        os.close(os.open("a.jpg", os.O_CREAT, dir_fd=place))
        os.close(place)
        return tmp_path

    yield make
    subprocess.run(["rm", "-rf", *tmp_path.iterdir()], check=True)


def test_deep(nested: Callable[[str, int], Path]) -> None:
    assert names(nested("d", 1200)) == (["d/" * 1200 + "a.jpg"], "")


def test_folders_that_cannot_be_read(nested: Callable[[str, int], Path]) -> None:
    folder, errors = nested("d" * 200, 30), list[OSError]()
    (folder / "a.jpg").touch()
    found = list(find([str(folder)], {".jpg"}, report=errors.append, passed_over=PassedOver()))
    assert [each.below for each in found] == ["a.jpg"]
    assert [error.strerror for error in errors] == ["File name too long"]


def test_arguments_are_taken_as_they_are(tmp_path: Path) -> None:
    make(tmp_path, "a.txt")
    arguments = [f"{tmp_path}/a.txt", "missing.jpg", "https://host/a.jpg", "a\0b", "-"]
    found = list(find(arguments, {".jpg"}, report=lambda _: None, passed_over=PassedOver()))
    assert found == [
        FoundFile(name, below)
        for name, below in zip(arguments, ["a.txt", "missing.jpg", "a.jpg", "a\0b", "-"], strict=True)
    ]


def test_a_folder_that_is_left_out(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "drawn/a.jpg", "sub/b.jpg")
    (tmp_path / "sub" / "link").symlink_to("../drawn")
    assert names(tmp_path, leave_out=tmp_path / "drawn")[0] == ["a.jpg", "sub/b.jpg"]


def test_many_suffixes_in_one_line() -> None:
    passed_over = PassedOver()
    for number in range(5000):
        passed_over.add_file(f"volume.{number:05}")
    for _ in range(7):
        passed_over.add_file("a." + "long" * 10)
    line = str(passed_over)
    assert len(line) < 300
    assert sum(int(part.split()[0]) for part in line.removeprefix("passed over: ").split(", ")) == 5007
