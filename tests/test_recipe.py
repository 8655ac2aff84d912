"""Annotations that bench/training makes of two detectors' boxes, and the division of pictures."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

pytest.importorskip("torch")
pytest.importorskip("pydantic")

from mtcnn_fast import MTCNN
from mtcnn_fast.datasets import Annotation, read
from mtcnn_fast.train.teachers import TeacherDetections

TRAINING = Path(__file__).parents[1] / "bench" / "training"


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, ModuleType]]:
    """bench/training's modules. They have short names, so they are forgotten afterwards."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(TRAINING))
    import derived
    import lists

    yield {"derived": derived, "lists": lists}
    for name in set(sys.modules) - before:
        if Path(getattr(sys.modules[name], "__file__", None) or "/").parent == TRAINING:
            del sys.modules[name]


def found(*rows: tuple[int, float, tuple[float, float, float, float]]) -> TeacherDetections:
    return TeacherDetections(
        np.array([box for *_, box in rows], np.float64).reshape(-1, 4),
        np.array([score for _, score, _ in rows], np.float64),
        np.array([teacher for teacher, *_ in rows], np.int64),
    )


def test_what_two_detectors_take_for_a_face(modules: dict[str, ModuleType]) -> None:
    agreed = modules["derived"].agreed
    boxes = agreed(
        found(
            (0, 0.9, (0, 0, 20, 20)),
            (1, 0.5, (2, 0, 20, 20)),
            (1, 0.9, (0, 0, 20, 12)),  # of the same face, and further from the other's box
            (0, 0.9, (50, 0, 70, 20)),
            (1, 0.4, (50, 0, 70, 20)),  # not sure
            (1, 0.9, (90, 0, 110, 20)),
            (0, 0.9, (102, 0, 122, 20)),  # beside it
        )
    )
    np.testing.assert_array_equal(boxes, [[1, 0, 20, 20]])
    assert agreed(found()).shape == (0, 4)
    assert agreed(found((0, 0.9, (0, 0, 20, 20)))).shape == (0, 4)


def test_landmarks_are_of_faces(modules: dict[str, ModuleType], astronaut: NDArray[np.uint8]) -> None:
    net = MTCNN(device="cpu", landmarks="mirrored")
    (face,) = net.detect(astronaut)
    boxes = np.stack([face.box, [10, 400, 60, 450]]).astype(np.float32)
    points = modules["derived"].landmarks(net, astronaut, boxes)
    np.testing.assert_allclose(points[0], face.landmarks, atol=0.05 * (face.box[2] - face.box[0]))
    assert np.isnan(points[1]).all()


def test_documents_are_read_back(modules: dict[str, ModuleType], tmp_path: Path) -> None:
    points = np.stack([np.arange(10, dtype=np.float32).reshape(5, 2) + 0.25, np.full((5, 2), np.nan, np.float32)])
    boxes = np.array([[1.5, 2, 30, 40], [5, 5, 9.25, 8]], np.float32)
    one = Annotation("a/b.jpg", tmp_path / "a/b.jpg", boxes, points, np.array([False, True]))
    (tmp_path / "faces.json").write_text(json.dumps(modules["derived"].coco([one])))
    (back,) = read(tmp_path / "faces.json", images=tmp_path)
    assert (back.name, back.path, back.complete) == (one.name, one.path, True)
    np.testing.assert_array_equal(back.boxes, boxes)
    np.testing.assert_array_equal(back.landmarks, points)
    assert back.ignored.tolist() == [False, True]


def test_pictures_get_their_shape_back(modules: dict[str, ModuleType], tmp_path: Path) -> None:
    of_set, folder = tmp_path / "set", tmp_path / "wider"
    (of_set / "images").mkdir(parents=True)
    folder.mkdir()
    Image.new("RGB", (40, 40)).save(of_set / "images" / "a.jpg")
    (of_set / "original_sizes.tsv").write_text(
        "file\toriginal_path\torig_w\torig_h\tn_faces\na.jpg\tb/a.jpg\t300\t200\t1\n"
    )
    label = np.array([[10, 10, 20, 30]], np.float32)
    one = Annotation(
        "a.jpg", of_set / "images" / "a.jpg", label, np.full((1, 5, 2), np.nan, np.float32), np.zeros(1, bool)
    )
    rows: dict[str, list[dict[str, Any]]] = {
        "set/images/a.jpg": [{"by": "a", "box": [0, 0, 4, 4], "score": 0.5}],
        "b": [],
    }
    (made,), detections = modules["derived"].unstretched(of_set, folder, {"a.jpg": one}, rows)
    assert (made.name, made.path) == ("a.png", folder / "a.png")
    np.testing.assert_array_equal(made.boxes, [[15, 10, 30, 30]])
    assert detections == {"wider/a.png": [{"by": "a", "box": [0, 0, 6, 4], "score": 0.5}]}
    with Image.open(made.path) as picture:
        assert picture.size == (60, 40)


def test_a_photograph_that_comes_twice_is_not_on_both_sides(modules: dict[str, ModuleType]) -> None:
    names = [f"maksssksksss{number}.jpg" for number in (156, 1, 2, 545, 61, 3)]
    divided = modules["lists"].divided(names, 4)
    assert divided["validation"] == [names[0], names[4]]
    assert divided["sources"] == names[1:3] + names[5:]
