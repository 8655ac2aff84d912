"""WIDER FACE's average precision: against the protocol written out step by step, and reference figures."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mtcnn_fast.cli import main
from mtcnn_fast.evaluate import (
    PictureDetections,
    WiderGroundTruth,
    WiderResult,
    evaluate_wider,
    read_detections,
    read_published_curves,
    read_wider_ground_truth,
)
from mtcnn_fast.evaluate.wider import SETS

Rows = Sequence[Sequence[float]]


def ground_truth(pictures: Mapping[str, Rows], **members: Mapping[str, Sequence[int]]) -> WiderGroundTruth:
    """x, y, w, h of each picture's faces, and by set which of them count, from 0; all, where a set is not given."""
    boxes = {name: np.array(rows, np.float64).reshape(-1, 4) for name, rows in pictures.items()}
    chosen = {
        key: tuple(
            np.isin(np.arange(len(rows)), members[key].get(name, ()) if key in members else np.arange(len(rows)))
            for name, rows in boxes.items()
        )
        for key in SETS
    }
    return WiderGroundTruth(tuple(boxes), tuple(boxes.values()), chosen)


def detections(name: str, rows: Rows) -> PictureDetections:
    """Of x, y, w, h, score."""
    table = np.array(rows, np.float64).reshape(-1, 5)
    boxes = np.hstack((table[:, :2], table[:, :2] + table[:, 2:4])).astype(np.float32)
    return PictureDetections(name, boxes, table[:, 4], np.full((len(table), 5, 2), np.nan, np.float32))


def aps(result: WiderResult) -> dict[str, float]:
    return {name: curve.average_precision for name, curve in result.curves.items()}


def step_by_step(truth: WiderGroundTruth, found: Mapping[str, Rows], key: str) -> tuple[list[float], list[float]]:
    """evaluation.m, picture by picture, threshold by threshold."""
    scores = [row[4] for rows in found.values() for row in rows]
    low, high = min(scores), max(scores)
    totals = np.zeros((1000, 2))
    faces = 0
    for name, boxes, counts in zip(truth.names, truth.boxes, truth.members[key], strict=True):
        faces += int(counts.sum())
        rows = sorted(found.get(name, ()), key=lambda row: -row[4])
        if not rows or not len(boxes):
            continue
        taken, proposal, recalled = [0] * len(boxes), [1] * len(rows), []
        for h, (x, y, w, h_, _) in enumerate(rows):
            overlaps = []
            for gx, gy, gw, gh in boxes:
                iw = min(x + w, gx + gw) - max(x, gx) + 1
                ih = min(y + h_, gy + gh) - max(y, gy) + 1
                inner = iw * ih if iw > 0 and ih > 0 else 0
                overlaps.append(inner / ((w + 1) * (h_ + 1) + (gw + 1) * (gh + 1) - inner))
            best = overlaps.index(max(overlaps))
            if overlaps[best] >= 0.5:
                if not counts[best]:
                    taken[best], proposal[h] = -1, -1
                elif taken[best] == 0:
                    taken[best] = 1
            recalled.append(taken.count(1))
        for t in range(1, 1001):
            over = [i for i, row in enumerate(rows) if (row[4] - low) / (high - low) >= 1 - t / 1000]
            if over:
                totals[t - 1] += proposal[: over[-1] + 1].count(1), recalled[over[-1]]
    precision = [true / all_ if all_ else np.nan for all_, true in totals]
    return precision, [true / faces for _, true in totals]


def test_equals_the_protocol_step_by_step() -> None:
    rng = np.random.default_rng(1)
    pictures: dict[str, Any] = {}
    found: dict[str, Any] = {}
    for i in range(12):
        n = int(rng.integers(0, 8)) if i else 0  # the first has nothing labelled
        faces = np.hstack((rng.integers(0, 60, (n, 2)), rng.integers(8, 30, (n, 2))))
        near = np.repeat(faces, 3, axis=0) + rng.integers(-3, 4, (3 * n, 4))
        far = np.hstack((rng.integers(0, 60, (5, 2)), rng.integers(1, 30, (5, 2))))
        boxes = np.vstack((near, far))
        # Few different scores, so that some are equal, of a range that is not [0, 1].
        scores = rng.integers(-20, 20, (len(boxes), 1)) / 7
        pictures[f"e/{i}"] = faces.tolist()
        found[f"e/{i}"] = np.hstack((boxes, scores)).tolist()
    del found["e/11"]
    members = {
        key: {name: np.flatnonzero(rng.random(len(rows)) < share).tolist() for name, rows in pictures.items()}
        for key, share in zip(SETS, (0.3, 0.6, 1), strict=True)
    }
    truth = ground_truth(pictures, **members)
    result = evaluate_wider((detections(name, rows) for name, rows in found.items()), truth)
    for key in SETS:
        precision, recall = step_by_step(truth, found, key)
        np.testing.assert_allclose(result.curves[key].precision, precision, rtol=1e-12)
        np.testing.assert_allclose(result.curves[key].recall, recall, rtol=1e-12)
        assert 0 < result.curves[key].average_precision < 1
    assert result.coverage.missing == ("e/11",)


def test_known_values() -> None:
    truth = ground_truth({"e/a": [(0, 0, 10, 10), (50, 50, 10, 10)]}, easy={"e/a": [0]}, medium={"e/a": [1]})
    found = [(0, 0, 10, 10, 1.0), (0, 0, 10, 9, 0.5), (50, 50, 10, 10, 0.0)]
    # On hard: true, false (the face is taken), true. On easy the last counts neither way, on medium the first two.
    assert aps(evaluate_wider([detections("e/a", found)], truth)) == pytest.approx(
        {"easy": 1, "medium": 1, "hard": 0.5 * 1 + 0.5 * 2 / 3}
    )


def test_coordinates_are_inclusive() -> None:
    truth = ground_truth({"e/a": [(0, 0, 9, 9)]})
    # Of 10 x 10 pixels 5 x 10, which is .5; without the + 1 it would be 36 of 81.
    assert aps(evaluate_wider([detections("e/a", [(0, 0, 4, 9, 1)])], truth))["hard"] == 1
    assert aps(evaluate_wider([detections("e/a", [(0, 0, 3.9, 9, 1)])], truth))["hard"] == 0


def test_nothing_found_and_one_score() -> None:
    truth = ground_truth({"e/a": [(0, 0, 9, 9)], "e/b": []})
    for found in ([], [detections("e/a", [])]):
        result = evaluate_wider(found, truth)
        assert aps(result) == dict.fromkeys(SETS, 0)
        assert np.isnan(result.curves["hard"].precision).all()
    assert evaluate_wider([], truth).coverage.missing == ("e/a", "e/b")
    assert aps(evaluate_wider([detections("e/a", [(0, 0, 9, 9, 0.3)])], truth)) == dict.fromkeys(SETS, 1)


def cells(values: Sequence[Any]) -> NDArray[np.object_]:
    """As MATLAB has them: (n, 1) of anything."""
    array = np.empty((len(values), 1), object)
    for i, value in enumerate(values):
        array[i, 0] = value
    return array


def write_ground_truth(folder: Path, members: Mapping[str, Sequence[Sequence[int]]]) -> Path:
    """Two events, of two pictures and of one; members from 1, as MATLAB counts."""
    scipy_io = pytest.importorskip("scipy.io")
    faces = [[[1, 2, 30, 40], [50, 60, 20, 20]], [[5, 5, 9, 9]], [[7, 8, 90, 90]]]
    boxes = [np.array(rows, np.int32) for rows in faces]
    for key, listed in members.items():
        indices = [np.array(rows, np.uint8).reshape(-1, 1) for rows in listed]
        scipy_io.savemat(
            folder / f"wider_{key}_val.mat",
            {
                "event_list": cells(["0--Parade", "1--Handshaking"]),
                "file_list": cells([cells(["p1", "p2"]), cells(["h1"])]),
                "face_bbx_list": cells([cells(boxes[:2]), cells(boxes[2:])]),
                "gt_list": cells([cells(indices[:2]), cells(indices[2:])]),
            },
        )
    return folder


MEMBERS = {"easy": [[1], [], []], "medium": [[1], [1], []], "hard": [[1, 2], [1], [1]]}


def test_ground_truth_files(tmp_path: Path) -> None:
    truth = read_wider_ground_truth(write_ground_truth(tmp_path, MEMBERS))
    assert truth.names == ("0--Parade/p1", "0--Parade/p2", "1--Handshaking/h1")
    np.testing.assert_array_equal(truth.boxes[0], [[1, 2, 30, 40], [50, 60, 20, 20]])
    assert {key: [member.tolist() for member in members] for key, members in truth.members.items()} == {
        "easy": [[True, False], [False], [False]],
        "medium": [[True, False], [True], [False]],
        "hard": [[True, True], [True], [True]],
    }


def test_bad_ground_truth_files(tmp_path: Path) -> None:
    scipy_io = pytest.importorskip("scipy.io")
    write_ground_truth(tmp_path, {key: MEMBERS[key] for key in ("easy", "medium")})
    with pytest.raises(FileNotFoundError, match=r"wider_hard_val\.mat"):
        read_wider_ground_truth(tmp_path)
    path = tmp_path / "wider_hard_val.mat"
    for members in ([[3], [], []], [[0], [], []], [[1, 1], [], []]):
        write_ground_truth(tmp_path, {"hard": members})
        with pytest.raises(ValueError, match=r"wider_hard_val\.mat is not WIDER FACE's ground truth"):
            read_wider_ground_truth(tmp_path)
    scipy_io.savemat(path, {"event_list": 1})
    with pytest.raises(ValueError, match=r"wider_hard_val\.mat is not WIDER FACE's ground truth: KeyError"):
        read_wider_ground_truth(tmp_path)
    write_ground_truth(tmp_path, {"hard": MEMBERS["hard"]})
    content = scipy_io.loadmat(path)
    content["event_list"][0, 0] = "2--Demonstration"
    scipy_io.savemat(path, {key: value for key, value in content.items() if not key.startswith("__")})
    with pytest.raises(ValueError, match=r"has other pictures or faces than wider_easy_val\.mat"):
        read_wider_ground_truth(tmp_path)
    whole = path.read_bytes()
    for damaged in (b"", b"not MATLAB" * 100, whole[: len(whole) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"wider_hard_val\.mat is not a whole MATLAB file"):
            read_wider_ground_truth(tmp_path)


def write_published(folder: Path) -> Path:
    scipy_io = pytest.importorskip("scipy.io")
    folder.mkdir()
    for key, precision in zip(SETS, (1, 0.5, 0.25), strict=True):
        curve = np.column_stack((np.full(1000, precision), np.linspace(0, 1, 1000)))
        scipy_io.savemat(folder / f"wider_pr_info_X_{key}_val.mat", {"pr_cruve": curve, "legend_name": "X"})
        scipy_io.savemat(folder / f"Test_{key}.mat", {})
    return folder


def test_published_curves(tmp_path: Path) -> None:
    curves = read_published_curves(write_published(tmp_path / "curves"))
    assert {(one.set, one.label): one.curve.average_precision for one in curves} == pytest.approx(
        {("easy", "X"): 1, ("medium", "X"): 0.5, ("hard", "X"): 0.25}
    )
    (tmp_path / "none").mkdir()
    with pytest.raises(ValueError, match="has no published curves"):
        read_published_curves(tmp_path / "none")
    (tmp_path / "none" / "Val_easy.mat").write_bytes(b"")
    with pytest.raises(ValueError, match="is not a published curve of WIDER FACE"):
        read_published_curves(tmp_path / "none")


def test_a_folder_of_published_curves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is no curve is told, and costs no other; two curves of one name are an error."""
    scipy_io = pytest.importorskip("scipy.io")
    pytest.importorskip("h5py")
    folder = write_published(tmp_path / "curves")
    (folder / "deep").mkdir()
    (folder / "deep" / "Val_easy.MAT").write_bytes(b"no MATLAB")
    (folder / "deep" / "hard_val.mat").write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(400))
    (folder / "._wider_pr_info_X_easy_val.mat").write_bytes(b"of macOS")
    os.mkfifo(folder / "pipe_easy_val.mat")
    truth, found = write_ground_truth(tmp_path, MEMBERS), write_detections(tmp_path / "found.txt")
    assert evaluate(found, "--ground-truth", truth, "--curves", folder) == 1
    out, err = capsys.readouterr()
    assert out.splitlines()[-1].split() == ["AP,", "X", "1.0000", "0.5000", "0.2500"]
    passed_over, *told = err.splitlines()
    assert passed_over.startswith(f"{folder}: passed over: 3 .mat, ")
    assert told[0].startswith(f"{folder}/deep/Val_easy.MAT: it is not a published curve of WIDER FACE: ")
    assert told[1].startswith(f"{folder}/deep/hard_val.mat: it is not a published curve of WIDER FACE: ")
    assert told[2:] == ["2 published curves could not be used"]

    (folder / "deep" / "Val_easy.MAT").unlink()
    (folder / "deep" / "hard_val.mat").unlink()
    curve = np.column_stack((np.full(1000, 0.5), np.linspace(0, 1, 1000)))
    scipy_io.savemat(folder / "deep" / "easy_val.mat", {"pr_cruve": curve, "legend_name": "X"})
    with pytest.raises(ValueError, match=r"easy_val\.mat and .*easy_val\.mat are both the easy set's curve of 'X'"):
        read_published_curves(folder)
    with pytest.raises(NotADirectoryError, match="nowhere"):
        read_published_curves(folder / "nowhere")


def test_published_curves_of_matlab_7_3(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    # MATLAB puts its own header before HDF5's.
    header = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM"
    with h5py.File(tmp_path / "Val_hard.mat", "w", userblock_size=512) as file:
        file["pr_cruve"] = np.vstack((np.full(1000, 0.5), np.linspace(0, 1, 1000)))
        file["legend_name"] = np.array([[ord(letter)] for letter in "Détecteur"], np.uint16)
    with (tmp_path / "Val_hard.mat").open("r+b") as raw:
        raw.write(header)
    (found,) = read_published_curves(tmp_path)
    assert (found.set, found.label) == ("hard", "Détecteur")
    assert found.curve.average_precision == pytest.approx(0.5)


def write_detections(path: Path) -> Path:
    path.write_text("0--Parade/p1.jpg\n2\n1 2 30 40 .9\n0 0 5 5 .8\n0--Parade/p2.jpg\n0\n1--Handshaking/h1.jpg\n0\n")
    return path


def evaluate(*arguments: object) -> int:
    return main(["evaluate", "wider", *map(str, arguments)])


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    truth = write_ground_truth(tmp_path, MEMBERS)
    found = write_detections(tmp_path / "found.txt")
    plot, figures = tmp_path / "curves.png", tmp_path / "figures.json"
    published = write_published(tmp_path / "curves")
    options = ["--ground-truth", truth, "--curves", published, "--plot", plot, "--json", figures]
    assert evaluate(found, *options) == 0
    out, err = capsys.readouterr()
    assert [line.split() for line in out.splitlines()] == [
        ["easy", "medium", "hard"],
        ["faces", "1", "2", "4"],
        ["AP,", "detections", "1.0000", "0.5000", "0.2500"],
        ["AP,", "X", "1.0000", "0.5000", "0.2500"],
    ]
    assert err == f"{published}: passed over: 3 .mat\n"
    assert plot.read_bytes().startswith(b"\x89PNG")
    document = json.loads(figures.read_text())
    assert (document["pictures"], document["missing"], document["unknown"]) == (3, [], [])
    assert document["sets"]["medium"]["average_precision"] == 0.5
    assert len(document["sets"]["hard"]["precision"]) == len(document["sets"]["hard"]["recall"]) == 1000


def test_labels_that_matplotlib_reads_otherwise(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    scipy_io = pytest.importorskip("scipy.io")
    truth, found = write_ground_truth(tmp_path, MEMBERS), write_detections(tmp_path / "found.txt")
    (tmp_path / "curves").mkdir()
    curve = np.column_stack((np.full(1000, 0.5), np.linspace(0, 1, 1000)))
    for i, label in enumerate(("_x", "$\\frac", "detections")):
        scipy_io.savemat(tmp_path / "curves" / f"{i}_easy_val.mat", {"pr_cruve": curve, "legend_name": label})
    options = ["--ground-truth", truth, "--curves", tmp_path / "curves", "--plot", tmp_path / "curves.png"]
    assert evaluate(found, *options) == 0
    out, err = capsys.readouterr()
    assert [line.split(", ")[1].split("  ")[0] for line in out.splitlines()[2:]] == [
        "detections",
        "_x",
        "$\\frac",
        "detections (published)",
    ]
    assert err == ""


def test_the_order_of_detections_does_not_matter(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth, found = write_ground_truth(tmp_path, MEMBERS), tmp_path / "found.txt"
    pictures = ["x/0--Parade/p1.jpg\n1\n9 9 9 9 .9\n", "0--Parade/p1\n1\n1 2 30 40 .8\n", "1--Handshaking/h1\n0\n"]
    told = set()
    for order in itertools.permutations(pictures):
        found.write_text("".join(order))
        assert evaluate(found, "--ground-truth", truth) == 1
        told.add(tuple(sorted("".join(capsys.readouterr()).splitlines())))
    assert len(told) == 1
    told.clear()
    for order in itertools.permutations([*pictures[::2], "y/0--Parade/p1.jpg\n0\n"]):
        found.write_text("".join(order))
        with pytest.raises(SystemExit, match="2"):
            evaluate(found, "--ground-truth", truth)
        told.add(capsys.readouterr().err)
    (message,) = told
    assert "'0--Parade/p1' is one labelled picture, to which the detections of each of" in message


def test_command_tells_of_what_does_not_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = write_ground_truth(tmp_path, MEMBERS)
    found = tmp_path / "found.txt"
    found.write_text("0--Parade/p1\n2\n1 2 30 40 .9\n0 0 5 5\n0--Parade/p9\n0\n")
    assert evaluate(found, "--ground-truth", truth) == 1
    assert capsys.readouterr().err.splitlines() == [
        f"{found}:4: the row has 4 numbers; wanted x y w h score",
        "1 entries of the detections could not be used",
        "2 of 3 pictures are not among the detections, and count as if nothing was found: "
        "0--Parade/p2, 1--Handshaking/h1",
        "1 pictures of the detections are not in the ground truth, and do not count: 0--Parade/p9",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing", "--ground-truth", "."], "wider_easy_val.mat"),
        (["missing", "--ground-truth", "truth"], "there are no detections at missing"),
        (["truth", "--ground-truth", "truth"], "has no .txt files"),
        (["missing", "--ground-truth", "truth", "--curves", "truth"], "is not a published curve"),
        (["missing", "--ground-truth", "truth", "--json", "nowhere/x.json"], "there is no folder for nowhere/x.json"),
    ],
)
def test_command_errors(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "truth").mkdir()
    write_ground_truth(tmp_path / "truth", MEMBERS)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        evaluate(*arguments)
    assert message in capsys.readouterr().err


def test_reference_figures(data: Path) -> None:
    """RetinaFace's detections by two independent evaluators: .9448374, .9244707 and .8153250."""
    pytest.importorskip("scipy.io")
    truth = read_wider_ground_truth(data / "wider_face_eval" / "ground_truth_mat")
    found = list(read_detections(data / "wider_face_eval" / "retinaface_mnet025_val_predictions.tar.gz"))
    expected = pytest.approx({"easy": 0.94484, "medium": 0.92447, "hard": 0.81533}, abs=1e-5)
    result = evaluate_wider(found, truth)
    assert aps(result) == expected
    assert dict(result.faces) == {"easy": 7211, "medium": 13319, "hard": 31958}
    assert (result.coverage.pictures, result.coverage.missing, result.coverage.unknown) == (3226, (), ())

    rng = np.random.default_rng(0)
    shuffled = []
    for index in rng.permutation(len(found)):
        order = rng.permutation(len(found[index].scores))
        shuffled.append(replace(found[index], boxes=found[index].boxes[order], scores=found[index].scores[order]))
    assert aps(evaluate_wider(shuffled, truth)) == expected


def test_authors_curves_of_mtcnn(data: Path) -> None:
    pytest.importorskip("scipy.io")
    pytest.importorskip("h5py")
    curves = read_published_curves(data / "wider_face_eval" / "mtcnn_official_pr_curves")
    assert {one.set: one.curve.average_precision for one in curves} == pytest.approx(
        {"easy": 0.849, "medium": 0.826, "hard": 0.598}, abs=1e-3
    )
    assert {one.label for one in curves} == {"Multitask Cascade CNN"}
