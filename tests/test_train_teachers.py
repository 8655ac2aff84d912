"""Teachers' detections: their file, what they keep out of the background, and the face targets they give."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch")

import torch

from mtcnn_fast.datasets import Annotation, Problems
from mtcnn_fast.datasets.annotated_set import AnnotatedSet
from mtcnn_fast.train import networks
from mtcnn_fast.train.distillation import wanted_faces
from mtcnn_fast.train.generate import generate
from mtcnn_fast.train.networks import normalise
from mtcnn_fast.train.run_options import RunOptions
from mtcnn_fast.train.samples import LANDMARK, NEGATIVE, PART, POSITIVE, OtherSamplesError, SampleStore
from mtcnn_fast.train.teachers import Teachers
from mtcnn_fast.train.windows import LabelledFaces, Recipe


def detection(by: str, box: list[float], score: float) -> dict[str, Any]:
    return {"by": by, "box": box, "score": score, "landmarks": []}


def write(path: Path, rows: dict[str, list[dict[str, Any]]]) -> Path:
    text = "\n".join(json.dumps({"path": name, "detections": found}) for name, found in rows.items())
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


ROWS = {
    "a/x.jpg": [detection("yunet", [0, 0, 20, 20], 0.9)],
    "x.jpg": [],
    "b/y.jpg": [detection("centerface", [5, 5, 9, 9], 0.3)],
}


@pytest.mark.parametrize("name", ["teachers.jsonl", "teachers.jsonl.gz"])
def test_pictures_are_found_by_the_last_parts_of_their_path(tmp_path: Path, name: str) -> None:
    teachers = Teachers(write(tmp_path / name, ROWS))
    assert teachers.names == ["yunet", "centerface"]
    counts = {
        path: None if (found := teachers.of(Path(path))) is None else len(found.boxes)
        for path in ("/data/a/x.jpg", "a/x.jpg", "/data/c/x.jpg", "b/y.jpg", "y.jpg", "/data/b/x/y.jpg")
    }
    assert counts == {
        "/data/a/x.jpg": 1,
        "a/x.jpg": 1,
        "/data/c/x.jpg": 0,
        "b/y.jpg": 1,
        "y.jpg": None,
        "/data/b/x/y.jpg": None,
    }


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"path": "a.jpg"}', "teachers:1: 'detections' is missing; wanted path and detections"),
        (b'{"path": "a.jpg", "detections": []}\n[]', "teachers:2: "),
        (b"{", "teachers:1: "),
        (b'{"path": "a.jpg", "detections": [{"by": "a", "box": [1, 2, 1, 4], "score": 1}]}', "wanted x1 y1 x2 y2 with"),
        (b'{"path": "a.jpg", "detections": [{"by": "a", "box": [1, 2, 3, 4], "score": 2}]}', "score is 2.*; wanted 0"),
        (b"\x1f\x8bnothing", "is a damaged gzip file"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "teachers").write_bytes(content)
    with pytest.raises(ValueError, match=words):
        Teachers(tmp_path / "teachers")


def test_the_verdict_is_that_of_the_least_sure_teacher(tmp_path: Path) -> None:
    found = [
        detection("a", [0, 0, 20, 20], 0.9),
        detection("a", [0, 0, 18, 20], 0.95),
        detection("b", [1, 0, 20, 20], 0.6),
        detection("a", [100, 0, 120, 20], 0.8),  # the second face, which b has not found
        detection("b", [200, 0, 220, 20], 0.25),  # faces without a label
        detection("a", [300, 0, 320, 20], 0.15),  # not sure enough
    ]
    teachers = Teachers(write(tmp_path / "teachers", {"a.jpg": found}))
    faces = LabelledFaces.of(
        np.array([[0, 0, 20, 20], [100, 0, 120, 20]], np.float32),
        np.full((2, 5, 2), np.nan, np.float32),
        np.zeros(2, bool),
        Recipe(),
    )
    detections = teachers.of(Path("a.jpg"))
    assert detections is not None
    judged = teachers.judged(faces, detections, 0.2)
    np.testing.assert_array_equal(judged.boxes, [*faces.boxes, [200, 0, 220, 20]])
    np.testing.assert_array_equal(judged.compared, judged.boxes)
    assert judged.usable.tolist() == [True, True, False]
    np.testing.assert_allclose(judged.verdicts, [0.6, 0, np.nan])


@pytest.fixture
def picture(tmp_path: Path) -> Annotation:
    """Red background, a green face, a blue one that is not labelled."""
    image = np.zeros((200, 300, 3), np.uint8)
    image[..., 0] = 255
    image[60:120, 60:120] = (0, 255, 0)
    image[60:120, 125:185] = (0, 0, 255)
    Image.fromarray(image).save(tmp_path / "a.png")
    labelled, points = np.array([[60, 60, 120, 120]], np.float32), np.full((1, 5, 2), 90, np.float32)
    return Annotation("a.png", tmp_path / "a.png", labelled, points, np.zeros(1, bool))


RECIPE = Recipe(background=500, near=100)


def samples(picture: Annotation, folder: Path, problems: Problems | None = None, **options: Any) -> SampleStore:
    made = RunOptions(workers=1, problems=problems or Problems())
    sets = [AnnotatedSet([]), AnnotatedSet([picture], name="set", **options)]
    return generate(sets, folder, size=12, recipe=RECIPE, options=made)


def blue(store: SampleStore) -> float:
    """The largest share of a negative that the face without a label fills."""
    negatives = store.batch(np.flatnonzero(store.kinds == NEGATIVE)).images
    assert len(negatives) > 50
    return float((negatives[..., 2] > 128).mean((1, 2)).max())


def test_no_negative_is_learned_where_a_teacher_sees_a_face(picture: Annotation, tmp_path: Path) -> None:
    found = [detection("a", [60, 60, 120, 120], 0.7), detection("b", [125, 60, 185, 120], 0.3)]
    teachers = write(tmp_path / "teachers", {"a.png": found})
    assert blue(samples(picture, tmp_path / "without")) > 0.5
    assert blue(samples(picture, tmp_path / "least", teachers=teachers, teacher_score=0.4)) > 0.5
    store = samples(picture, tmp_path / "with", teachers=teachers)
    assert blue(store) < 0.5
    assert set(store.sets().tolist()) == {1}
    faces = np.isin(store.kinds, (POSITIVE, PART))
    # Teacher b has not found the labelled face.
    assert (store.verdicts()[faces] == 0).all()
    assert np.isnan(store.verdicts()[~faces]).all()
    with pytest.raises(OtherSamplesError, match="holds samples made otherwise"):
        samples(picture, tmp_path / "with", teachers=teachers, teacher_score=0.4)
    write(teachers, {"a.png": found[:1]})
    with pytest.raises(OtherSamplesError, match="other annotations"):
        samples(picture, tmp_path / "with", teachers=teachers)


def test_a_picture_that_no_teacher_has_seen_is_not_complete(picture: Annotation, tmp_path: Path) -> None:
    teachers, problems = write(tmp_path / "teachers", {"b.png": []}), Problems()
    store = samples(picture, tmp_path / "unseen", problems, teachers=teachers)
    other = samples(picture, tmp_path / "incomplete", complete=False)
    np.testing.assert_array_equal(store.batch(np.arange(len(store))).images, other.batch(np.arange(len(other))).images)
    assert list(problems) == [f"{teachers}: 1 pictures of set are not in it, and count as incomplete"]


@pytest.mark.parametrize("score", [0.0, 0.999])
def test_wanted_faces(picture: Annotation, tmp_path: Path, score: float) -> None:
    teachers = write(tmp_path / "teachers", {"a.png": [detection("a", [60, 60, 120, 120], score)]})
    store = samples(picture, tmp_path / "samples", teachers=teachers)
    network = networks.network("pnet", 4)
    wanted = wanted_faces(store, network, 0.25, torch.device("cpu"))
    every = store.batch(np.arange(len(store)))
    with torch.no_grad():
        images = normalise(torch.from_numpy(every.images).permute(0, 3, 1, 2))
        own = network(images).face.softmax(1)[:, 1].numpy()
    verdict = np.maximum(own, score)
    expected = np.select(
        [store.kinds == kind for kind in (NEGATIVE, POSITIVE, PART, LANDMARK)],
        [np.zeros(len(store)), 0.75 + 0.25 * verdict, 0.375 + 0.25 * verdict, np.full(len(store), np.nan)],
    )
    np.testing.assert_allclose(wanted, expected, atol=1e-6)
