"""FDDB's ROC curves: against the protocol written out step by step, and the official program's own figures."""

from __future__ import annotations

import itertools
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mtcnn_fast.cli import main
from mtcnn_fast.datasets import Problems
from mtcnn_fast.evaluate import (
    FddbGroundTruth,
    FddbResult,
    PictureDetections,
    evaluate_fddb,
    read_detections,
    read_fddb_ground_truth,
    read_fddb_sizes,
)
from mtcnn_fast.evaluate.ellipses import rows as ellipse_rows

pytest.importorskip("scipy.optimize")

Rows = Sequence[Sequence[float]]


def ground_truth(pictures: Mapping[str, Rows]) -> FddbGroundTruth:
    """Major and minor radius, angle, centre."""
    return FddbGroundTruth(tuple(pictures), tuple(np.array(rows, float).reshape(-1, 5) for rows in pictures.values()))


def detections(name: str, rows: Rows) -> PictureDetections:
    """Of x, y, w, h, score."""
    table = np.array(rows, np.float64).reshape(-1, 5)
    boxes = np.hstack((table[:, :2], table[:, :2] + table[:, 2:4])).astype(np.float32)
    return PictureDetections(name, boxes, table[:, 4], np.full((len(table), 5, 2), np.nan, np.float32))


def masks(ellipses: Rows, rows: Rows, size: tuple[int, int]) -> tuple[list[NDArray[Any]], list[NDArray[Any]]]:
    """The regions as the official program draws them."""
    cv2: Any = pytest.importorskip("cv2")

    def region(draw: Any, *arguments: Any) -> NDArray[Any]:
        mask = np.zeros(size[::-1], np.uint8)
        draw(mask, *arguments)
        return mask.astype(bool)

    def drawn(x: float, y: float, w: float, h: float) -> NDArray[Any]:
        return region(cv2.rectangle, (round(x), round(y)), (round(x + w), round(y + h)), 1, -1)

    return [
        region(cv2.ellipse, (round(x), round(y)), (int(a), int(b)), math.degrees(angle), 0, 360, 1, -1)
        for a, b, angle, x, y in ellipses
    ], [drawn(*row[:4]) for row in rows]


def step_by_step(truth: Mapping[str, Rows], found: Mapping[str, Rows], size: tuple[int, int]) -> list[list[float]]:
    """score, false positives, discrete and continuous rate at each score, matches by trying them all."""
    faces = sum(map(len, truth.values()))
    curve = []
    for threshold in sorted({row[4] for rows in found.values() for row in rows}, reverse=True):
        count, true, overlap = 0, 0, 0.0
        for name, ellipses in truth.items():
            rows = [row for row in found.get(name, ()) if row[4] >= threshold]
            count += len(rows)
            faces_of, boxes_of = masks(ellipses, rows, size)
            iou = np.array([[(a & b).sum() / (a | b).sum() for b in boxes_of] for a in faces_of])
            if not iou.size:
                continue
            iou = iou if iou.shape[0] <= iou.shape[1] else iou.T
            matches = (
                iou[np.arange(len(iou)), list(chosen)]
                for chosen in itertools.permutations(range(iou.shape[1]), len(iou))
            )
            best = max(matches, key=np.sum)
            true += int((best > 0.5).sum())
            overlap += float(best.sum())
        curve.append([threshold, count - true, true / faces, overlap / faces])
    return curve


def points(result: FddbResult) -> NDArray[np.float64]:
    return np.column_stack((result.scores, result.false_positives, result.discrete, result.continuous))


def test_equals_the_protocol_step_by_step() -> None:
    rng = np.random.default_rng(2)
    size = (90, 70)
    truth: dict[str, Any] = {}
    found: dict[str, Any] = {}
    for i in range(10):
        n = int(rng.integers(1, 4))
        centres = rng.uniform((15, 15), (85, 65), (n, 2))  # some lie beyond the border in part
        radii = np.sort(rng.uniform(6, 25, (n, 2)))[:, ::-1]
        truth[f"a/{i}"] = np.hstack((radii, rng.uniform(-2, 2, (n, 1)), centres)).tolist()
        m = int(rng.integers(0, 5))
        near = centres[rng.integers(0, n, m)]
        sides = rng.uniform(10, 50, (m, 2))
        scores = rng.integers(0, 6, (m, 1)) / 5
        found[f"a/{i}"] = np.hstack((near - sides / 2 + rng.normal(0, 3, (m, 2)), sides, scores)).tolist()
    del found["a/9"]
    given = [detections(name, rows) for name, rows in found.items()]
    sizes = dict.fromkeys(truth, size)
    result = evaluate_fddb(given, ground_truth(truth), sizes)
    np.testing.assert_allclose(points(result), step_by_step(truth, found, size), rtol=1e-12)
    assert result.coverage.missing == ("a/9",)
    # In any order.
    backwards = [detections(name, rows[::-1]) for name, rows in reversed(found.items())]
    np.testing.assert_allclose(points(evaluate_fddb(backwards, ground_truth(truth), sizes)), points(result), rtol=1e-12)
    np.testing.assert_allclose(
        points(evaluate_fddb(given, ground_truth(truth))), step_by_step(truth, found, (450, 450)), rtol=1e-12
    )


def test_ellipses_equal_opencv() -> None:
    cv2: Any = pytest.importorskip("cv2")
    generator = np.random.default_rng(0)
    size = (240, 200)
    beyond = 0
    for i in range(300):
        radii = tuple(generator.integers(0, 90, 2).tolist())
        degrees = float(generator.uniform(-400, 400))
        # Every second one may reach beyond the border.
        center = (120, 100) if i % 2 else tuple(generator.integers(-20, 260, 2).tolist())
        drawn = np.zeros(size[::-1], np.uint8)
        cv2.ellipse(drawn, center, radii, degrees, 0, 360, 1, -1)
        first, last = ellipse_rows(center, radii, round(degrees), size).T[..., None]
        across = np.arange(size[0])
        differing = int((((across >= first) & (across < last)) != drawn.astype(bool)).sum())
        assert differing <= (0 if i % 2 else 2)
        beyond += differing
    assert beyond <= 5


def test_known_values() -> None:
    truth = ground_truth({"a/b": [(40, 40, 0, 200, 200)], "a/c": [(40, 40, 0, 200, 200)]})
    box = (160, 160, 80, 80)
    found = [detections("a/b", [(*box, 0.9), (*box, 0.9), (0, 0, 10, 10, 0.5)]), detections("a/c", [(*box, 0.7)])]
    result = evaluate_fddb(found, truth)
    np.testing.assert_array_equal(result.scores, [0.9, 0.7, 0.5])
    np.testing.assert_array_equal(result.false_positives, [1, 1, 2])
    np.testing.assert_array_equal(result.discrete, [0.5, 1, 1])
    # A circle in its square.
    np.testing.assert_allclose(result.continuous, np.array([0.5, 1, 1]) * math.pi / 4, rtol=0.01)
    assert [result.at(n)[0] for n in (0, 1, 2, 1000)] == [0, 1, 1, 1]


def test_matches_have_the_greatest_sum() -> None:
    left, right = (20, 20, 0, 100, 100), (20, 20, 0, 112, 100)
    between, exact = (84, 80, 42, 40, 0.9), (80, 80, 40, 40, 0.8)

    def iou(face: Sequence[float], row: Sequence[float]) -> float:
        return float(evaluate_fddb([detections("a/b", [row])], ground_truth({"a/b": [face]})).continuous[0])

    # The surer detection prefers the left face, but leaves it to the other.
    assert iou(left, between) > iou(right, between) > 0.5
    both = evaluate_fddb([detections("a/b", [between, exact])], ground_truth({"a/b": [left, right]}))
    assert both.discrete.tolist() == [0.5, 1]
    np.testing.assert_allclose(
        both.continuous * 2, [iou(left, between), iou(right, between) + iou(left, exact)], rtol=1e-12
    )


def test_the_angle_is_the_major_axis() -> None:
    upright, lying = (20, 30, 40, 140, 1), (30, 20, 140, 40, 1)
    truth = ground_truth({"a/b": [(70, 20, math.pi / 2, 40, 100)]})
    assert evaluate_fddb([detections("a/b", [upright])], truth).discrete.tolist() == [1]
    assert evaluate_fddb([detections("a/b", [lying])], truth).discrete.tolist() == [0]


def test_nothing_found() -> None:
    truth = ground_truth({"a/b": [(20, 20, 0, 100, 100)], "a/c": []})
    for found in ([], [detections("a/b", []), detections("a/c", [])]):
        result = evaluate_fddb(found, truth)
        assert (result.faces, len(result.scores), result.at(100)) == (1, 0, (0, 0))
    with pytest.raises(ValueError, match="sizes lacks 1 pictures of the ground truth, such as a/c"):
        evaluate_fddb([], truth, {"a/b": (9, 9)})
    result = evaluate_fddb([detections("a/c", [(0, 0, 9, 9, 1), (5000, 0, 9, 9, 2)])], truth)
    assert result.false_positives.tolist() == [1, 2]


LIST = (
    "2002/08/11/big/img_591\n1\n40 30 1.5 100 100  1\n2002/08/26/big/img_265\n2\n20 10 -1 50 50  1\n20 10 1 150 50  1\n"
)


def test_ground_truth_files(tmp_path: Path) -> None:
    (tmp_path / "FDDB-fold-02-ellipseList.txt").write_text("x/y\n0\n")
    (tmp_path / "FDDB-fold-01-ellipseList.txt").write_bytes(LIST.replace("\n", "\r\n").encode())
    (tmp_path / "FDDB-fold-01.txt").write_text("2002/08/11/big/img_591\n")
    truth = read_fddb_ground_truth(tmp_path)
    assert truth.names == ("2002/08/11/big/img_591", "2002/08/26/big/img_265", "x/y")
    assert [len(rows) for rows in truth.ellipses] == [1, 2, 0]
    np.testing.assert_array_equal(truth.ellipses[0], [[40, 30, 1.5, 100, 100]])
    assert read_fddb_ground_truth(tmp_path / "FDDB-fold-01-ellipseList.txt").names == truth.names[:2]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_ground_truth_of_windows(encoding: str, end: str, tmp_path: Path) -> None:
    folder = tmp_path / "folds" / "in" / "a"
    folder.mkdir(parents=True)
    (folder / "fold-ellipseList.TXT").write_bytes(LIST.replace("/", "\\").replace("\n", end).encode(encoding))
    # What is not of its kind is passed over; a pipe is not waited for.
    (folder / "._fold-ellipseList.txt").write_bytes(b"of macOS")
    (folder / "FDDB-fold-01.txt").write_text("2002/08/11/big/img_591\n")
    os.mkfifo(folder / "pipe-ellipseList.txt")
    notes = Problems()
    truth = read_fddb_ground_truth(tmp_path / "folds", notes)
    assert truth.names == ("2002/08/11/big/img_591", "2002/08/26/big/img_265")
    (note,) = notes
    assert note.startswith(f"{tmp_path / 'folds'}: passed over: 1 .txt, 1 of macOS")


@pytest.mark.parametrize(
    "content",
    [
        "a\n0\na\n0\n",
        "a\n1\n",
        "a\n1\n1 2 3 4 5\n",
        "a\n1\n40 30 nan 1 1 1\n",
        "a\n1\n0 30 1 1 1 1\n",
        "a\nb\n",
        "a\n1\n1e9 1 1 1 1 1",
    ],
)
def test_bad_ground_truth_files(content: str, tmp_path: Path) -> None:
    path = tmp_path / "ellipseList.txt"
    path.write_text(content)
    with pytest.raises(ValueError, match="is no list of FDDB's ellipses"):
        read_fddb_ground_truth(path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"there is no \*ellipseList.txt in"):
        read_fddb_ground_truth(tmp_path)


def test_sizes(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    Image.new("RGB", (30, 20)).save(tmp_path / "a" / "b.jpg")
    assert read_fddb_sizes(tmp_path, ["a/b"]) == {"a/b": (30, 20)}
    with pytest.raises(OSError, match=r"a/c: there is no such picture"):
        read_fddb_sizes(tmp_path, ["a/c"])
    # Any suffix will do, and the size is that of the upright picture.
    sideways = Image.Exif()
    sideways[0x0112] = 6
    Image.new("RGB", (30, 20)).save(tmp_path / "a" / "c.PNG", exif=sideways)
    (tmp_path / "a" / "._c.jpg").write_bytes(b"of macOS")
    os.mkfifo(tmp_path / "a" / "d.jpg")
    assert read_fddb_sizes(tmp_path, ["a/c"]) == {"a/c": (20, 30)}
    problems = Problems()
    (tmp_path / "a" / "e.jpg").write_bytes(b"no picture")
    assert read_fddb_sizes(tmp_path, ["a/b", "a/d", "a/e"], problems) == {"a/b": (30, 20)}
    assert [told.rpartition("/")[2].partition(":")[0] for told in problems] == ["d", "e.jpg"]
    Image.new("RGB", (9, 9)).save(tmp_path / "a" / "b.png")
    with pytest.raises(ValueError, match=r"b\.jpg and .*b\.png are both the picture 'a/b'"):
        read_fddb_sizes(tmp_path, ["a/b"])
    with pytest.raises(NotADirectoryError, match="nowhere"):
        read_fddb_sizes(tmp_path / "nowhere", ["a/b"])


def evaluate(*arguments: object) -> int:
    return main(["evaluate", "fddb", *map(str, arguments)])


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    truth, found = tmp_path / "ellipseList.txt", tmp_path / "found.txt"
    truth.write_text(LIST)
    found.write_text("2002/08/11/big/img_591.jpg\n2\n60 70 80 60 .9\n300 300 9 9 .8\n2002/08/26/big/img_265\n0\n")
    plot, figures = tmp_path / "roc.png", tmp_path / "figures.json"
    options = ["--ground-truth", truth, "--plot", plot, "--json", figures, "--false-positives", 0, 10]
    assert evaluate(found, *options) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0] == "2 pictures, 3 faces; 1 false positives in all"
    assert lines[1].split() == ["false", "positives", "0", "10"]
    assert lines[2].split() == ["discrete", "0.3333", "0.3333"]
    assert lines[3].split()[0] == "continuous"
    assert err == ""
    assert plot.read_bytes().startswith(b"\x89PNG")
    document = json.loads(figures.read_text())
    assert document["false_positives"] == [0, 1]
    assert document["at"][0]["discrete"] == pytest.approx(1 / 3)

    # A picture that cannot be read costs no other.
    (tmp_path / "images" / "2002/08/11/big").mkdir(parents=True)
    Image.new("RGB", (300, 300)).save(tmp_path / "images" / "2002/08/11/big/img_591.png")
    assert evaluate(found, "--ground-truth", truth, "--images", tmp_path / "images") == 1
    out, err = capsys.readouterr()
    assert out.startswith("2 pictures, 3 faces; 1 false positives in all\n")
    assert err.splitlines() == [
        f"{tmp_path}/images/2002/08/26/big/img_265: there is no such picture, of any suffix",
        "1 pictures, whose regions end at 450 x 450 pixels, could not be used",
    ]
    with pytest.raises(SystemExit, match="2"):
        evaluate(found, "--ground-truth", truth, "--images", tmp_path / "images" / "2002")
    assert "img_591: there is no such picture" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        evaluate(found, "--ground-truth", truth, "--false-positives", "-1")
    assert "wanted 0 or more" in capsys.readouterr().err


def test_official_figures(data: Path) -> None:
    """The official program's curve of MTCNN's detections; it clipped regions at the borders of pictures not here."""
    folder = data / "fddb_eval" / "mtcnn_hualitlc"
    truth = read_fddb_ground_truth(data / "fddb_eval" / "FDDB-folds")
    result = evaluate_fddb(read_detections(folder / "predict.txt"), truth)
    assert (result.coverage.pictures, result.faces) == (2845, 5171)
    assert (result.coverage.missing, result.coverage.unknown) == ((), ())
    assert [result.at(n)[0] for n in (10, 50, 100, 200, 308)] == pytest.approx(
        [0.7188, 0.8782, 0.9018, 0.9180, 0.9217], abs=1e-3
    )
    # Lowest score first, and at the end a point without detections.
    discrete = np.loadtxt(folder / "tempDiscROC.txt")[-2::-1]
    continuous = np.loadtxt(folder / "tempContROC.txt")[-2::-1]
    np.testing.assert_allclose(result.scores, discrete[:, 2], atol=1e-6)
    np.testing.assert_allclose(result.discrete, discrete[:, 0], atol=1.01 / 5171)
    np.testing.assert_allclose(result.false_positives, discrete[:, 1], atol=1)
    np.testing.assert_allclose(result.continuous, continuous[:, 0], atol=1e-3)
