"""Crops of faces, in files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import mtcnn_fast
from mtcnn_fast import MTCNN, save_crops
from mtcnn_fast.cli import main

pytest.importorskip("tqdm")


def detect(*arguments: object) -> int:
    return main(["detect", "--device", "cpu", *map(str, arguments)])


def pixels(path: str | Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image)


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize(
    ("options", "side"), [([], 160), (["--size", 40], 40), (["--aligned"], 112), (["--aligned", "--size", 64], 64)]
)
def test_crops(pictures: Path, tmp_path: Path, options: list[Any], side: int) -> None:
    file, crops = tmp_path / "faces.jsonl", tmp_path / "new" / "crops"
    assert detect(pictures, "--json", file, "--crops", crops, *options) == 0
    none, first, second = records(file)
    assert none["crops"] == []
    assert (first["crops"], second["crops"]) == (
        [str(crops / "a" / "face-face0.png")],
        [str(crops / "b" / "face-face0.png")],
    )
    assert len(list(crops.rglob("*.*"))) == 2
    detector = MTCNN(device="cpu")
    image = mtcnn_fast.read(pictures / "a" / "face.jpg")
    cut = detector.align if "--aligned" in options else detector.crop
    np.testing.assert_array_equal(pixels(first["crops"][0]), cut(image, detector.detect(image), side)[0])


def test_crops_of_one_name_and_of_pages(pictures: Path, tmp_path: Path, astronaut: NDArray[np.uint8]) -> None:
    crops = tmp_path / "crops"
    page = Image.fromarray(astronaut)
    page.save(pictures / "pages.tif", save_all=True, append_images=[page])
    assert (
        detect(pictures / "a" / "face.jpg", pictures / "b" / "face.jpg", pictures / "pages.tif", "--crops", crops) == 0
    )
    assert sorted(path.name for path in crops.iterdir()) == [
        "face-face0-2.png",
        "face-face0.png",
        "pages-page0-face0.png",
        "pages-page1-face0.png",
    ]


def test_crops_below_the_pictures_can_be_repeated(pictures: Path) -> None:
    outputs = ["--crops", pictures / "crops"]
    for _ in range(2):
        assert detect(pictures, *outputs) == 0
    assert len(list((pictures / "crops").rglob("*.*"))) == 2


def test_resume_makes_missing_crops_only(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, crops = tmp_path / "faces.jsonl", tmp_path / "crops"
    crops.mkdir()
    (crops / "b").touch()  # no folder can be made here
    assert detect(pictures, "--json", file, "--crops", crops) == 1
    err = capsys.readouterr().err
    assert f"face.jpg: not cropped: {crops}/b is no folder" in err
    assert "1 not cropped" in err
    assert [record.get("crops") for record in records(file)] == [[], [str(crops / "a" / "face-face0.png")], None]
    (crops / "b").unlink()
    before = (crops / "a" / "face-face0.png").stat().st_mtime_ns
    assert detect(pictures, "--json", file, "--crops", crops, "--resume") == 0
    assert (crops / "a" / "face-face0.png").stat().st_mtime_ns == before
    assert records(file)[2]["crops"] == [str(crops / "b" / "face-face0.png")]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--aligned"], "--aligned: it is about --crops"),
        (["--size", "64"], "--size: it is about --crops"),
        (["--crops", "crops", "--size", "0"], "size"),
        (["--crops", "crops", "--size", "x"], "invalid int"),
        (["--crops", __file__], "test_crops.py is no folder"),
        (["--crops", ""], "it is empty"),
        (["--crops", "out", "--draw", "out"], "is the folder of --draw"),
    ],
)
def test_wrong_options(
    pictures: Path,
    options: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(pictures)
    with pytest.raises(SystemExit) as ended:
        detect("c.png", *options)
    assert ended.value.code == 2
    assert words in capsys.readouterr().err
    assert not (pictures / "crops").exists()


def test_save_crops(tmp_path: Path) -> None:
    crops = np.arange(2 * 3 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3, 3)
    paths = save_crops(crops, tmp_path / "a" / "b", "anna")
    assert paths == [tmp_path / "a" / "b" / "anna-face0.png", tmp_path / "a" / "b" / "anna-face1.png"]
    for path, crop in zip(paths, crops, strict=True):
        np.testing.assert_array_equal(pixels(path), crop)
    assert save_crops(crops[:0], tmp_path) == []
    (bgr, _) = save_crops(crops[..., ::-1], tmp_path, channel_order="bgr")
    assert bgr == tmp_path / "face0.png"
    np.testing.assert_array_equal(pixels(bgr), crops[0])
    alpha = np.concatenate([crops[..., ::-1], crops[..., :1]], axis=3)
    np.testing.assert_array_equal(pixels(save_crops(alpha, tmp_path, channel_order="bgr")[0])[..., :3], crops[0])
    for order in ("rgb", "bgr"):
        (gray, _) = save_crops(crops[..., :1], tmp_path, channel_order=order)
        np.testing.assert_array_equal(pixels(gray), crops[0, ..., 0])


def test_save_crops_refuses(tmp_path: Path) -> None:
    crops = np.zeros((1, 4, 4, 3), np.uint8)
    (tmp_path / "file").touch()
    arguments: Any
    for arguments, error, words in (
        ((crops[0], tmp_path), ValueError, "crops has shape"),
        ((crops[..., :2], tmp_path), ValueError, "crops has shape"),
        ((crops.astype(float), tmp_path), TypeError, "crops is a float64 array"),
        (([crops], tmp_path), TypeError, "crops is"),
        ((crops, tmp_path, "a/b"), ValueError, "stem is 'a/b'"),
        ((crops, tmp_path, 5), TypeError, "stem is 5"),
        ((crops, tmp_path, "a", "grb"), ValueError, "channel_order is 'grb'"),
        ((crops, tmp_path / "file"), OSError, "file is no folder"),
    ):
        with pytest.raises(error, match=words):
            save_crops(*arguments)
