"""The interface of InsightFace: its rules by name, and the package's own functions on this package's detector."""

from __future__ import annotations

import copy
import importlib
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import mtcnn_fast
from conftest import load
from mtcnn_fast.compat.insightface import Detector, Face, FaceAnalysis, face_align
from tool import load_tool

PICTURES = load_tool("make_compat_golden").pictures(load(Path(__file__).parent / "data" / "astronaut.jpg"))
IMAGE, THREE, NONE = (PICTURES[name][..., ::-1] for name in ("one", "three", "none"))  # BGR


class Recognition:
    """A model of InsightFace's kind that needs no weights."""

    taskname = "recognition"
    prepared: int | None = None

    def prepare(self, ctx_id: int) -> None:
        self.prepared = ctx_id

    def get(self, img: Any, face: Any) -> None:
        face.embedding = np.array([3.0, 4.0]) * img.shape[0]


@pytest.fixture
def app() -> FaceAnalysis:
    found = FaceAnalysis(allowed_modules=["detection"])
    found.prepare(ctx_id=0)
    return found


def test_detect() -> None:
    wanted = mtcnn_fast.MTCNN(thresholds=(0.6, 0.7, 0.5), channel_order="bgr").detect(THREE)
    boxes, points = Detector().detect(THREE)
    assert (boxes.shape, boxes.dtype, points.shape, points.dtype) == ((3, 5), np.float32, (3, 5, 2), np.float32)
    np.testing.assert_array_equal(boxes[:, :4], wanted.boxes)
    np.testing.assert_array_equal(boxes[:, 4], wanted.scores)
    np.testing.assert_array_equal(points, wanted.landmarks)
    boxes += 1  # can be written to
    points += 1
    np.testing.assert_array_equal(Detector().detect(THREE.astype(np.float32))[0], Detector().detect(THREE)[0])


def test_detect_without_a_face() -> None:
    boxes, points = Detector().detect(NONE)
    assert (boxes.shape, boxes.dtype, points.shape, points.dtype) == ((0, 5), np.float32, (0, 5, 2), np.float32)


def test_the_number_of_faces() -> None:
    detector = Detector()
    (large,) = detector.detect(THREE, max_num=1, metric="max")[0]
    assert large[0] > 256
    assert large[2] - large[0] > 80
    # By InsightFace's formula.
    boxes, points = detector.detect(THREE)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    offsets = (boxes[:, :2] + boxes[:, 2:4]) / 2 - np.array([THREE.shape[1] // 2, THREE.shape[0] // 2])
    order = np.argsort(areas - 2 * np.sum(offsets**2, axis=1))[::-1]
    for count in (1, 2):
        chosen = detector.detect(THREE, None, count)
        np.testing.assert_array_equal(chosen[0], boxes[order[:count]])
        np.testing.assert_array_equal(chosen[1], points[order[:count]])
    # No more faces than that: they are in the order of their scores.
    for count in (0, 3, 4):
        np.testing.assert_array_equal(detector.detect(THREE, None, count, "max")[0], boxes)


def test_prepare_and_attributes() -> None:
    detector = Detector(device="cpu", min_face_size=40, nms_thresholds=(0.9, 1, 1, 1))
    assert (detector.taskname, detector.det_thresh, detector.nms_thresh) == ("detection", 0.5, 0.4)
    detector.prepare(-1, input_size=(640, 640), det_thresh=0.1, nms_thresh=1)
    assert detector.input_size == (640, 640)
    assert len(detector.detect(IMAGE)[0]) > 1  # several boxes of one face
    detector.prepare(0)
    assert (detector.det_thresh, detector.nms_thresh) == (0.1, 1)
    detector.nms_thresh = 0.4
    assert len(detector.detect(IMAGE)[0]) == 1
    detector.det_thresh = 1
    assert len(detector.detect(IMAGE)[0]) == 0
    assert len(pickle.loads(pickle.dumps(Detector())).detect(IMAGE)[0]) == 1


def test_get(app: FaceAnalysis) -> None:
    boxes, points = Detector().detect(THREE)
    faces = app.get(THREE)
    np.testing.assert_array_equal([face.bbox for face in faces], boxes[:, :4])
    np.testing.assert_array_equal([face.det_score for face in faces], boxes[:, 4])
    np.testing.assert_array_equal([face.kps for face in faces], points)
    assert [sorted(face) for face in faces] == [["bbox", "det_score", "kps"]] * 3
    assert len(app.get(THREE, max_num=2, det_metric="max")) == 2
    assert app.get(NONE) == []
    app.prepare(ctx_id=0, det_thresh=1, det_size=(640, 640))
    assert app.get(THREE) == []


def test_get_runs_other_models(app: FaceAnalysis) -> None:
    model = Recognition()
    app.models["recognition"] = model
    app.prepare(ctx_id=-1)
    assert model.prepared == -1
    (face,) = app.get(IMAGE)
    np.testing.assert_allclose(face.normed_embedding, [0.6, 0.8])
    assert face.embedding_norm == 5 * 512


def test_arguments_of_face_analysis() -> None:
    arguments = {"providers": ["CPUExecutionProvider"], "provider_options": [{}], "sess_options": None}
    with pytest.warns(UserWarning, match="faces are detected, and not recognised"):
        app = FaceAnalysis("buffalo_s", "models", **arguments, min_face_size=300)
    assert app.get(IMAGE) == []
    for modules in (["detection", "recognition"], [], ["genderage"]):
        with pytest.raises(ValueError, match=r"allowed_modules is .*; wanted \[.detection.\]; InsightFace's"):
            FaceAnalysis(allowed_modules=modules)


def test_draw_on(app: FaceAnalysis) -> None:
    pytest.importorskip("cv2", reason="OpenCV is not installed")
    drawn = app.draw_on(THREE, app.get(THREE))
    faces = mtcnn_fast.MTCNN(thresholds=(0.6, 0.7, 0.5), channel_order="bgr").detect(THREE)
    np.testing.assert_array_equal(drawn, mtcnn_fast.draw(THREE, faces))
    np.testing.assert_array_equal(app.draw_on(NONE, []), NONE)


def test_a_face_is_a_dictionary() -> None:
    face = Face({"bbox": [0, 0, 1, 1]}, det_score=0.5)
    assert (face.bbox, face["det_score"], face.age, face.sex, face.normed_embedding) == ([0, 0, 1, 1], 0.5, *[None] * 3)
    face.gender = 1
    assert (face["gender"], face.sex) == (1, "M")
    face["gender"] = 0
    assert face.sex == "F"
    for other in (copy.deepcopy(face), pickle.loads(pickle.dumps(face))):
        assert type(other) is Face
        assert other == face


@pytest.mark.parametrize("size", [112, 224])
def test_crops_are_those_of_align(size: int) -> None:
    faces = mtcnn_fast.MTCNN(channel_order="bgr").detect(THREE)
    for face in faces:
        crop, similarity = face_align.norm_crop2(THREE, face.landmarks, size)
        wanted = mtcnn_fast.MTCNN().align(THREE, face, size)[0]
        assert np.abs(crop.astype(int) - wanted).max() <= 1
        np.testing.assert_array_equal(crop, face_align.norm_crop(THREE, landmark=face.landmarks, image_size=size))
        np.testing.assert_array_equal(similarity, face_align.estimate_norm(face.landmarks, size))


def test_crops_of_128_have_a_wider_border() -> None:
    landmarks = mtcnn_fast.MTCNN(channel_order="bgr").detect(IMAGE)[0].landmarks
    wide, narrow = (face_align.norm_crop(IMAGE, landmarks, size).astype(int) for size in (128, 112))
    assert np.abs(wide[:112, 8:120] - narrow).max() <= 1


BAD = [
    (lambda: Detector(det_thresh=2), ValueError, r"det_thresh is 2\.0; wanted 0 to 1"),
    (lambda: Detector(thresholds=(0.6, 0.7, 0.7)), TypeError, "thresholds is given; this interface has one"),
    (lambda: Detector(least=4), TypeError, "least"),
    (lambda: Detector().prepare(0, det_thresh="high"), TypeError, "det_thresh is 'high'"),
    (lambda: Detector().prepare("cpu"), TypeError, "ctx_id is 'cpu'"),  # type: ignore[arg-type]
    (lambda: Detector().detect(IMAGE, metric="best"), ValueError, "metric is 'best'; wanted one of"),
    (lambda: Detector().detect(IMAGE, max_num=1.5), TypeError, "max_num is 1.5"),  # type: ignore[arg-type]
    (lambda: Detector().detect(None), TypeError, "image is None, which is what cv2.imread gives"),
    (lambda: Detector().detect("a.jpg"), TypeError, "image is a str.*mtcnn_fast.read"),
    (lambda: Detector().detect(Image.fromarray(IMAGE)), TypeError, "wanted an array in BGR order"),
    (lambda: face_align.norm_crop(IMAGE, np.zeros((4, 2))), ValueError, r"lmk has shape \(4, 2\); wanted \(5, 2\)"),
    (lambda: face_align.norm_crop(IMAGE, [[1, 2]] * 5), TypeError, "lmk is .*; wanted a floating-point NumPy array"),
    (lambda: face_align.estimate_norm(np.ones((5, 2))), ValueError, "wanted five finite points that differ"),
    (lambda: face_align.estimate_norm(np.full((5, 2), np.nan)), ValueError, "wanted five finite points that differ"),
    (lambda: face_align.estimate_norm(np.eye(5)[:, :2], 100), ValueError, "image_size is 100; wanted a multiple"),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD, ids=[message for _, _, message in BAD])
def test_bad_arguments_are_told(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


@pytest.fixture(scope="module")
def package() -> Any:
    pytest.importorskip("insightface", reason="insightface is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of the packages that it imports
        importlib.import_module("insightface.utils.face_align")
        return importlib.import_module("insightface")


def test_the_package_takes_the_detector(package: Any, app: FaceAnalysis) -> None:
    detector = Detector()
    # Without its constructor, which loads networks from a folder.
    real = package.app.FaceAnalysis.__new__(package.app.FaceAnalysis)
    real.addons, real.det_model = {}, detector
    real.models = {"detection": detector, "recognition": Recognition()}
    app.models["recognition"] = Recognition()
    for prepare in ({}, {"det_thresh": 0.9}, {"det_size": (320, 320)}):
        real.prepare(0, **prepare)
        app.prepare(0, **prepare)
        for arguments in ((THREE,), (THREE, 2), (THREE, 1, "max"), (NONE,)):
            ours, theirs = app.get(*arguments), real.get(*arguments)
            assert len(ours) == len(theirs)
            for our, their in zip(ours, theirs, strict=True):
                assert sorted(our) == sorted(their)
                for name, value in our.items():
                    np.testing.assert_array_equal(value, their[name])
                assert our.embedding_norm == their.embedding_norm


@pytest.mark.parametrize("size", [112, 128, 224, 256, 512])
def test_crops_are_those_of_the_package(package: Any, size: int) -> None:
    faces = mtcnn_fast.MTCNN(channel_order="bgr").detect(THREE)
    for landmarks in faces.landmarks:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scikit-image's, of a method that the package uses
            wanted, similarity = package.utils.face_align.norm_crop2(THREE, landmarks, size)
        crop, found = face_align.norm_crop2(THREE, landmarks, size)
        np.testing.assert_allclose(found, similarity, atol=1e-3)
        assert np.abs(crop.astype(int) - wanted).max() <= 1
