"""Files that are there whole or not at all, and standard streams that refuse."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from mtcnn_fast.checks import shown
from mtcnn_fast.console import Console
from mtcnn_fast.writing import JSON, PNG, check_destination, check_folder, claim, line_of, replacing, write_whole

FULL = Path("/dev/full")


def test_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_whole(path, b"good")
    with pytest.raises(TypeError), replacing(path) as file:
        file.writelines([b"half of", "text"])  # type: ignore[list-item]
    assert path.read_bytes() == b"good"
    assert os.listdir(tmp_path) == ["a.json"]  # noqa: PTH208
    with pytest.raises(TypeError), replacing(tmp_path / "new") as file:
        file.write("text")  # type: ignore[arg-type]
    assert os.listdir(tmp_path) == ["a.json"]  # noqa: PTH208


def test_links_and_permissions_stay(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    target, link = tmp_path / "data" / "real.json", tmp_path / "link.json"
    target.write_bytes(b"before")
    target.chmod(0o640)
    link.symlink_to(target)
    write_whole(link, b"after")
    assert link.is_symlink()
    assert target.read_bytes() == b"after"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


def test_the_longest_names(tmp_path: Path) -> None:
    for name in ("a" * 250 + ".json", "é" * 120 + ".json"):
        write_whole(tmp_path / name, b"x")
        assert (tmp_path / name).read_bytes() == b"x"


@pytest.mark.skipif(not FULL.exists(), reason="no device that is always full")
def test_what_is_no_file_is_written_as_it_stands(tmp_path: Path) -> None:
    (tmp_path / "full").symlink_to(FULL)
    for path in (FULL, tmp_path / "full"):
        with pytest.raises(OSError, match="No space left") as raised:
            write_whole(path, b"x")
        assert raised.value.filename == str(path)
    assert FULL.is_char_device()
    write_whole("/dev/null", b"x")


def test_an_error_names_the_place_that_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    (tmp_path / "a").write_bytes(b"good")
    with pytest.raises(OSError, match="No space left") as raised:
        write_whole(tmp_path / "a", b"new")
    assert line_of(raised.value) == f"{tmp_path}/a: No space left on device"
    assert (tmp_path / "a").read_bytes() == b"good"
    with pytest.raises(FileNotFoundError) as missing:
        write_whole(tmp_path / "b" / "c", b"")
    assert missing.value.filename == str(tmp_path / "b" / "c")


def test_destinations(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff")
    (tmp_path / "empty").touch()
    (tmp_path / "old.json").write_bytes(b"\xef\xbb\xbf [1]")
    (tmp_path / "old.png").write_bytes(b"\x89PNG\r\n\x1a\n...")
    for name, begins in (("new", JSON), ("empty", JSON), ("old.json", JSON), ("old.png", PNG), ("a.jpg", ())):
        assert check_destination(tmp_path / name, begins) == tmp_path / name
    for name, begins, error in (
        ("a.jpg", JSON, FileExistsError),
        ("a.jpg", PNG, FileExistsError),
        ("old.png", JSON, FileExistsError),
        (".", JSON, IsADirectoryError),
        ("a.jpg/b", JSON, FileNotFoundError),
    ):
        with pytest.raises(error):
            check_destination(tmp_path / name, begins)
    with pytest.raises(FileExistsError, match="the command reads"):
        check_destination(tmp_path / "old.json", JSON, inputs=[f"{tmp_path}/./old.json"])
    check_destination(tmp_path / "old.json", JSON, inputs=["x" * 5000, "a\0b"])
    assert sorted(os.listdir(tmp_path)) == ["a.jpg", "empty", "old.json", "old.png"]  # noqa: PTH208


def test_folders(tmp_path: Path) -> None:
    assert check_folder(tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").touch()
    for name in ("file", "file/sub"):
        with pytest.raises(NotADirectoryError) as raised:
            check_folder(tmp_path / name)
        assert line_of(raised.value) == f"{tmp_path}/file is no folder"


@pytest.mark.skipif(sys.platform == "win32", reason="no locks")
def test_a_file_is_claimed_once(tmp_path: Path) -> None:
    with (tmp_path / "a").open("ab") as first, (tmp_path / "a").open("rb") as second:
        with claim(first, "a"):
            for _ in range(2):
                with pytest.raises(FileExistsError, match="another run is writing a"):
                    claim(second, "a")
                first.close()
        claim(second, "a").close()


def test_lines_of_exceptions() -> None:
    assert line_of(MemoryError()) == "not enough memory"
    assert line_of(ValueError("a\nb")) == "a b"
    assert line_of(KeyError()) == "KeyError"
    assert line_of(OSError(errno.EACCES, "Permission denied", b"\xff")) == "\udcff: Permission denied"


def test_names_in_a_line() -> None:
    assert shown("a b.jpg") == "a b.jpg"
    assert shown("дівчина ☺.jpg") == "дівчина ☺.jpg"
    assert shown("a\nb\x1b[31m\0.jpg") == "a\\nb\\x1b[31m\\x00.jpg"


def test_a_console_without_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    console = Console()
    console.say("a")
    console.complain("b")
    console.end()
    assert not console.refused


@pytest.mark.skipif(not FULL.exists(), reason="no device that is always full")
@pytest.mark.parametrize("redirection", [">/dev/full", ">&-", "2>&-", ">&- 2>&-", "2>/dev/full", "<&- >&- 2>&-"])
def test_a_command_whatever_its_streams(redirection: str, astronaut_path: Path, tmp_path: Path) -> None:
    command = f"{sys.executable} -m mtcnn_fast detect --device cpu {astronaut_path} --json f.json {redirection}"
    run = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == (1 if redirection == ">/dev/full" else 0)
    assert "Traceback" not in run.stderr
    assert ("stdout: No space left on device" in run.stderr) == (redirection == ">/dev/full")
    content = (tmp_path / "f.json").read_text()
    assert content.startswith("[\n{")
    assert content.endswith("}\n]\n")


@pytest.mark.skipif(not FULL.exists(), reason="no device that is always full")
@pytest.mark.parametrize(
    "arguments", ["--help", "--version", "info", "detect --help", "detect - --json -", "evaluate -h"]
)
def test_a_full_stdout_is_an_error_of_one_line(arguments: str, astronaut_path: Path) -> None:
    command = f"{sys.executable} -m mtcnn_fast {arguments} >/dev/full <{astronaut_path}"
    run = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert run.stderr.splitlines().count("stdout: No space left on device") == 1
    assert "Traceback" not in run.stderr
    assert "Exception" not in run.stderr


def test_json_on_a_closed_stdout(astronaut_path: Path) -> None:
    command = f"{sys.executable} -m mtcnn_fast detect {astronaut_path} --json - >&-"
    run = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert "stdout is closed" in run.stderr
