"""YOLO's labels: shares of the picture's sides, folders by their layout or by a YAML file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mtcnn_fast import reading
from mtcnn_fast.cli import main
from mtcnn_fast.datasets import Annotation, Problems, read

ROW = "0 0.5 0.25 0.2 0.1"
BOX = [80, 20, 120, 30]
"""The box of ROW in a picture of 200 x 100."""
PAIRS = "0.4 0.2 0.6 0.2 0.5 0.25 0 0 -1 -1"
TRIPLES = "0.4 0.2 2 0.6 0.2 1 0.5 0.25 2 0 0 0 0.6 0.3 2"


def write(folder: Path, *pictures: str, **texts: str) -> Path:
    """Makes pictures of 200 x 100 pixels, and texts by their paths: __ in a name is /."""
    for name in pictures:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (200, 100)).save(folder / name)
    for key, text in texts.items():
        path = folder / f"{key.replace('__', '/')}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def listed(path: Path, format: str | None = None, **options: Any) -> tuple[list[Annotation], list[str]]:
    problems = Problems()
    return list(read(path, format, **options, problems=problems)), list(problems)


def summary(path: Path, **options: Any) -> list[tuple[str, int]]:
    found, problems = listed(path, **options)
    assert problems == []
    return [(annotation.name, len(annotation.boxes)) for annotation in found]


def test_boxes_and_landmarks(tmp_path: Path) -> None:
    write(tmp_path, "images/a.png", "images/b/c.png", "images/none.png", "images/empty.png")
    write(tmp_path, labels__a=f"{ROW}\n3 {ROW[2:]} {PAIRS}\n", labels__b__c=f"{ROW} {TRIPLES}\n\n", labels__empty="\n")
    found, problems = listed(tmp_path)
    assert problems == []
    assert [annotation.name for annotation in found] == ["a.png", "empty.png", "none.png", "b/c.png"]
    a, empty, none, c = found
    assert (len(empty.boxes), len(none.boxes), empty.complete, none.complete) == (0, 0, True, True)
    assert a.path == tmp_path / "images" / "a.png"
    np.testing.assert_allclose(a.boxes, [BOX, BOX], rtol=1e-6)
    assert not a.ignored.any()
    assert np.isnan(a.landmarks[0]).all()
    np.testing.assert_allclose(a.landmarks[1, :3], [[80, 20], [120, 20], [100, 25]], rtol=1e-6)
    assert np.isnan(a.landmarks[1, 3:]).all()
    np.testing.assert_allclose(c.landmarks[0, [0, 1, 2, 4]], [[80, 20], [120, 20], [100, 25], [120, 30]], rtol=1e-6)
    assert np.isnan(c.landmarks[0, 3]).all()


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("0 0.5 0.5 0.2", "4 numbers; wanted 5: class cx cy w h, or 15 or 20: with points"),
        ("0 0.1 0.1 0.2 0.1 0.2 0.2 0.1 0.2", "9 numbers"),
        ("0 100 50 20 10", "cx is 100; wanted a share of the picture's side, from 0 to 1"),
        ("0 0.5 0.5 -0.1 0.1", "w is -0.1"),
        ("0 0.5 nan 0.1 0.1", "cy is nan"),
        ("0 0.5 0.5 0 0.1", "no area"),
        ("0 0.5 0.5 x 0.1", "'x' is not a number"),
        (f"face {ROW[2:]}", "'face' is not a number"),
    ],
)
def test_a_row_that_is_lost(tmp_path: Path, row: str, words: str) -> None:
    write(tmp_path, "images/a.png", "images/b.png", labels__a=f"{ROW}\n{row}\n{ROW}\n")
    (a, b), (problem,) = listed(tmp_path)
    assert (len(a.boxes), a.complete, b.complete) == (2, False, True)
    assert problem.startswith(f"{tmp_path}/labels/a.txt:2: ")
    assert words in problem


def test_points_that_are_lost(tmp_path: Path) -> None:
    write(tmp_path, "images/a.png", labels__a=f"{ROW} {PAIRS.replace('0.6', 'inf')}\n")
    (a,), (problem,) = listed(tmp_path)
    assert (len(a.boxes), a.complete) == (1, True)
    assert problem.endswith("is not finite, or beyond 2^24 pixels; the box is kept")


def test_pictures_and_labels_that_cannot_be_read(tmp_path: Path) -> None:
    write(tmp_path, "images/a.png", "images/b.png", "images/c.png", labels__a=ROW, labels__b=ROW, labels__stray=ROW)
    (tmp_path / "images" / "a.png").write_bytes(b"away")
    (tmp_path / "labels" / "b.txt").write_bytes(b"\xff\xfe0")
    (tmp_path / "labels" / "c.txt").mkdir()
    found, problems = listed(tmp_path)
    assert [(len(annotation.boxes), annotation.complete) for annotation in found] == [(0, False)] * 3
    assert [problem.partition(": ")[0].removeprefix(f"{tmp_path}/") for problem in problems] == [
        "images/a.png",
        "labels/b.txt",
        "labels/c.txt",
        "labels/stray.txt",
    ]
    assert "its size, which places its labels, cannot be read: not a picture" in problems[0]


def test_layouts(tmp_path: Path) -> None:
    """Ultralytics' folders, Roboflow's, a split alone, and labels beside the pictures."""
    split = write(tmp_path / "split", "images/train/a.png", "images/val/b.png", labels__train__a=ROW)
    assert summary(split) == [("train/a.png", 1), ("val/b.png", 0)]
    assert summary(split / "images" / "train", format="yolo") == [("a.png", 1)]
    assert summary(split / "labels" / "train", format="yolo") == [("a.png", 1)]
    assert summary(split / "labels", images=split / "images", format="yolo") == [("train/a.png", 1), ("val/b.png", 0)]
    assert summary(split, images=split / "images", format="yolo") == [("train/a.png", 1), ("val/b.png", 0)]

    roboflow = write(tmp_path / "roboflow", "train/images/a.png", "valid/images/a.png", train__labels__a=ROW)
    (roboflow / "valid" / "labels").mkdir()
    assert summary(roboflow) == [("train/images/a.png", 1), ("valid/images/a.png", 0)]

    beside = write(tmp_path / "beside", "a.png", "b.png", a=ROW, classes="face\n")
    assert summary(beside, format="yolo") == [("a.png", 1), ("b.png", 0)]

    (tmp_path / "other").mkdir()
    with pytest.raises(ValueError, match="has no labels of YOLO; wanted a folder with images/ and labels/"):
        read(tmp_path / "other", "yolo").__next__()
    with pytest.raises(ValueError, match=r"^the format of .* cannot be detected"):
        read(tmp_path / "other")


YAML = {
    "path: .\ntrain: images/train\nval: images/val\nnames: {0: face}\n": ["train/a.png", "val/b.png"],
    "train: [images/train, images/val]\n": ["train/a.png", "val/b.png"],
    "train: images\nval: images/val\ntest:\n": ["train/a.png", "val/b.png"],
    "path: ../datasets/other\ntrain: ../images/train\n": ["a.png"],
    "train: images\\val\n": ["b.png"],
}


@pytest.mark.parametrize("text", YAML)
def test_a_description(tmp_path: Path, text: str) -> None:
    pytest.importorskip("yaml")
    write(tmp_path, "images/train/a.png", "images/val/b.png", labels__train__a=ROW, labels__val__b=ROW)
    (tmp_path / "data.yaml").write_text(text)
    assert [name for name, _ in summary(tmp_path / "data.yaml")] == YAML[text]


def test_a_split_without_labels_is_told(tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    write(tmp_path, "images/train/a.png", "images/test/b.png", labels__train__a=ROW)
    (tmp_path / "data.yaml").write_text("train: images/train\nval: images/val\ntest: images/test\n")
    found, problems = listed(tmp_path / "data.yaml")
    assert [annotation.name for annotation in found] == ["a.png"]
    assert problems[0] == f"{tmp_path}/data.yaml: val: there is no folder 'images/val'"
    assert problems[1].startswith(f"{tmp_path}/data.yaml: test: {tmp_path}/images/test has no labels of YOLO")
    assert len(problems) == 2


@pytest.mark.parametrize(
    ("shape", "row", "landmarks", "problem"),
    [
        ("[5, 2]", f"{ROW} {PAIRS}", True, None),
        ("[5, 3]", f"{ROW} {PAIRS}", False, "15 numbers; wanted 5: class cx cy w h, or 20: with points"),
        ("[2, 2]", f"{ROW} 0.1 0.1 0.2 0.2", False, "kpt_shape has 2 points, which give no landmarks; wanted 5"),
    ],
)
def test_kpt_shape(tmp_path: Path, shape: str, row: str, landmarks: bool, problem: str | None) -> None:
    pytest.importorskip("yaml")
    write(tmp_path, "images/a.png", labels__a=row)
    (tmp_path / "data.yaml").write_text(f"train: images\nkpt_shape: {shape}\n")
    (a,), problems = listed(tmp_path / "data.yaml")
    assert bool(np.isfinite(a.landmarks).any()) == landmarks
    assert [told.partition(": ")[2] for told in problems] == ([] if problem is None else [problem])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "is not YAML"),
        ("[" * 5000, "nests too deep"),
        ("- images\n", "has a list; wanted keys, among them train, val or test"),
        ("names: [face]\n", "names no folder of pictures; wanted train, val or test"),
        ("train: missing\n", "train: there is no folder 'missing'"),
        ("train: 3\n", "train has an int; wanted the path of a folder"),
        ("train: list.txt\n", "'list.txt' is a file; wanted a folder of pictures"),
        ("train: ../elsewhere/images\n", "leads out of"),
        ("path: /\ntrain: tmp\n", "leads out of"),
        ("train: images\nkpt_shape: 5\n", r"kpt_shape is not \[points, 2\] or \[points, 3\]"),
        ("a: &a [x, x]\nb: &b [*a, *a]\ntrain: {x: *b}\n", "train has a dict; wanted the path of a folder"),
    ],
)
def test_a_description_that_is_refused(tmp_path: Path, text: str, words: str) -> None:
    pytest.importorskip("yaml")
    (tmp_path / "tmp").mkdir()
    write(tmp_path, "elsewhere/images/a.png", "set/images/a.png", elsewhere__labels__a=ROW, set__labels__a=ROW)
    write(tmp_path / "set", list="images/a.png\n")
    (tmp_path / "set" / "data.yaml").write_text(text)
    with pytest.raises(ValueError, match=words) as raised:
        listed(tmp_path / "set" / "data.yaml")
    assert str(tmp_path / "set" / "data.yaml") in str(raised.value)
    assert "\n" not in str(raised.value)
    if "elsewhere" in text:
        assert summary(tmp_path / "set" / "data.yaml", outside=True) == [("a.png", 1)]


@pytest.mark.parametrize("command", ["detect", "faces"])
def test_a_description_without_its_package(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    (tmp_path / "data.yaml").write_text("train: images\n")
    (tmp_path / "found.csv").write_text("path,x1,y1,x2,y2,score\n")
    arguments = ["--json", str(tmp_path / "a.csv")] if command == "detect" else [str(tmp_path / "found.csv")]
    with pytest.raises(SystemExit) as exited:
        main(["evaluate", command, *arguments, "--annotations", str(tmp_path / "data.yaml")])
    assert exited.value.code == 2
    err = capsys.readouterr().err.splitlines()
    assert "a YAML file needs yaml" in err[-1]
    assert "pip install pyyaml" in err[-1]
    assert not any("Traceback" in line for line in err)


def test_sizes_are_those_of_upright_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = Image.new("RGB", (200, 100))
    exif = Image.Exif()
    exif[274] = 6
    pages = [Image.new("RGB", (30, 20))]
    for name, options in {
        "a.jpg": {"exif": exif},
        "a.png": {"exif": exif},
        "b.png": {},
        "a.webp": {"exif": exif},
        "a.tif": {"save_all": True, "append_images": pages},
        "a.gif": {"save_all": True, "append_images": [image.rotate(180)]},
    }.items():
        image.copy().save(tmp_path / name, **options)
    chunk = (tmp_path / "a.png").read_bytes()
    start = chunk.index(b"eXIf") - 4
    end = start + 12 + int.from_bytes(chunk[start : start + 4], "big")
    last = len(chunk) - 12
    (tmp_path / "late.png").write_bytes(chunk[:start] + chunk[end:last] + chunk[start:end] + chunk[last:])
    for path in tmp_path.iterdir():
        height, width = reading.first_page(path)[0].shape[:2]
        assert reading.size(path) == (width, height)
    # Nothing is decoded: pixels that are cut off do not matter.
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:-200])
    monkeypatch.setattr(Image.Image, "load", lambda _: pytest.fail("decoded"))
    assert reading.size(tmp_path / "cut.jpg") == (100, 200)
    assert reading.size(tmp_path / "b.png") == (200, 100)
    for content in (b"", b"away"):
        (tmp_path / "bad.jpg").write_bytes(content)
        with pytest.raises(OSError, match="not a picture"):
            reading.size(tmp_path / "bad.jpg")


def test_measuring(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, "images/a.png", "images/b.png", labels__a=ROW)
    detections = tmp_path / "found.csv"
    detections.write_text("path,x1,y1,x2,y2,score\na.png,80,20,120,30,0.9\nb.png,,,,,\n")
    assert main(["evaluate", "faces", str(detections), "--annotations", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "2 pictures" in out
    assert "1.0000" in out
