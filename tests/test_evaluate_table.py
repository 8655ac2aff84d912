"""The table of detectors and sets: what is ambiguous, damaged or missing, through the command line."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mtcnn_fast import Detections
from mtcnn_fast.cli import evaluate_table, main
from mtcnn_fast.evaluate.sets import read_sets

POINTS = "20 20 40 20 30 30 22 40 38 40"


def evaluate(*arguments: object) -> int:
    return main(["evaluate", "table", *map(str, arguments), "--device", "cpu"])


def refused(*arguments: object) -> None:
    with pytest.raises(SystemExit) as exited:
        evaluate(*arguments)
    assert exited.value.code == 2


def cells(out: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in out.splitlines() if line.startswith("|")][2:]


@pytest.fixture
def listing(tmp_path: Path) -> Path:
    """Two pictures without a face, labelled with one each."""
    for name in ("a", "b"):
        Image.new("RGB", (60, 60), (40, 80, 160)).save(tmp_path / f"{name}.png")
    path = tmp_path / "list.txt"
    path.write_text(f"a.png 1 20 1 20 {POINTS}\nb.png 1 20 1 20 {POINTS}\n")
    return path


def test_names_that_are_given_twice(
    listing: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = f"one=facepoint:{listing}"
    toml = listing.with_suffix(".toml")
    toml.write_text(f"[one]\npath = '{listing}'\n")
    weights = Path(__file__).parents[1] / "src" / "weights" / "mtcnn.safetensors"
    monkeypatch.chdir(weights.parent)
    for arguments, words in (
        (("--set", one, "--set", one), "two sets have the name 'one'"),
        (("--set", one, "--sets", toml), "two sets have the name 'one'"),
        (("--set", f"{one},iou=.4,iou=.5"), "set one has iou twice"),
        (("--set", one, "--detectors", "embedded", "embedded"), "the detector embedded is given twice"),
        (("--set", one, "--detectors", weights, weights.name), f"the detector {weights.name} is given twice"),
        (("--sets", ""), "argument --sets: it is empty; wanted a path"),
        (("--set", one, "--detectors", ""), "argument --detectors: it is empty; wanted a path"),
        (("--set", f"{one},only="), "set one: only is empty; wanted a path"),
        (("--set", "one=voc:missing"), "there are no annotations at missing"),
    ):
        refused(*arguments)
        (line,) = capsys.readouterr().err.splitlines()
        assert words in line


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_sets_of_windows(encoding: str, end: str, listing: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (listing.parent / "sets").mkdir()
    listing.rename(listing.parent / "sets" / "list.txt")
    toml = listing.parent / "sets.toml"
    text = "# é\n[one]\npath = 'sets\\list.txt'\nimages = '.'\n"
    toml.write_bytes(text.replace("\n", end).encode(encoding))
    assert evaluate("--sets", toml) == 0
    assert [row[:2] for row in cells(capsys.readouterr().out)] == [["one", "2"]]


def test_toml_that_no_parser_survives(tmp_path: Path) -> None:
    path = tmp_path / "sets.toml"
    path.write_text(f"a = {'[' * 100_000}")
    with pytest.raises(ValueError, match=r"sets\.toml is (not TOML|TOML that nests too deep)"):
        read_sets(path)


def test_a_set_that_cannot_be_read_costs_no_other(listing: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken, empty = listing.with_name("broken.json"), listing.with_name("empty.txt")
    broken.write_text('{"images": ')
    empty.write_text("")
    sets = [f"broken=coco:{broken}", f"one=facepoint:{listing}", f"empty=facepoint:{empty}"]
    arguments = [argument for each in sets for argument in ("--set", each)]
    assert evaluate(*arguments) == 1
    out, err = capsys.readouterr()
    assert [row[0] for row in cells(out)] == ["one"]
    told = err.splitlines()
    assert told[0].startswith("set broken: ")
    assert str(broken) in told[0]
    assert told[1:] == [f"set empty: {empty} has no pictures", "2 sets could not be used"]
    refused(*arguments[:2])
    assert "set broken: " in capsys.readouterr().err


def test_one_picture_never_ends_a_run(
    listing: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with listing.open("a") as file:
        file.write(f"c\0d.png 1 20 1 20 {POINTS}\nmissing.png 1 20 1 20 {POINTS}\n")
    Image.new("RGB", (80, 80)).save(listing.parent / "b.png")

    def make(name: str, *_: object) -> Callable[[list[NDArray[np.uint8]]], list[Detections]]:
        def find(images: list[NDArray[np.uint8]]) -> list[Detections]:
            if any(image.shape[0] == 80 for image in images):
                raise RuntimeError("the GPU has fallen off the bus")
            # RGB.
            assert all(image[0, 0].tolist() == [40, 80, 160] for image in images)
            box = Detections([[1, 1, 20, 20]], [0.9], np.zeros((1, 5, 2)))
            return [box for _ in images]

        return find

    monkeypatch.setattr(evaluate_table, "make_detector", make)
    assert evaluate("--set", f"one=facepoint:{listing}") == 1
    out, err = capsys.readouterr()
    (row,) = cells(out)
    assert row[1] in ("3", "4")
    assert row[5] == f"{1 / int(row[4]):.4f}"
    assert f"{listing.parent}/b.png: embedded: the GPU has fallen off the bus" in err
    assert "missing.png: No such file or directory" in err


def test_pictures_that_have_lost_a_label(listing: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listing.write_text(listing.read_text() + "b.png 1 2 three 4\n")
    weights = Path(__file__).parents[1] / "src" / "weights" / "mtcnn.safetensors"
    assert evaluate("--set", f"one=facepoint:{listing}", "--detectors", "embedded", weights) == 0
    err = capsys.readouterr().err
    # Of two detectors on one set, once.
    assert err.count("pictures have lost a label") == 1
    assert "1 entries of the annotations could not be used" in err.splitlines()


class Peer:
    """Stands for facenet_pytorch.MTCNN."""

    def __init__(self, **options: Any) -> None:
        if options["factor"] > 0.9:
            raise TypeError("factor is too much")

    def detect(self, image: NDArray[np.uint8], landmarks: bool) -> tuple[Any, Any, Any]:
        assert image[0, 0].tolist() == [40, 80, 160]
        raise IndexError("no\nroom")


def test_errors_of_facenet_pytorch_carry_a_name(
    listing: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = types.ModuleType("facenet_pytorch")
    module.MTCNN = Peer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "facenet_pytorch", module)
    arguments = ("--set", f"one=facepoint:{listing}", "--detectors", "facenet-pytorch")
    assert evaluate(*arguments) == 1
    err = capsys.readouterr().err
    assert f"{listing.parent}/a.png: facenet-pytorch: no room" in err
    refused(*arguments, "--scale-factor", 0.95)
    assert "facenet-pytorch: factor is too much" in capsys.readouterr().err


def test_the_remedy_for_facenet_pytorch(
    listing: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "facenet_pytorch", None)
    refused("--set", f"one=facepoint:{listing}", "--detectors", "embedded", "facenet-pytorch")
    err = capsys.readouterr().err
    assert "pip install facenet-pytorch" in err
    assert "mtcnn_fast[" not in err
