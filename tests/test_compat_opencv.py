"""The interface of OpenCV's FaceDetectorYN: its rules by name, and the same calls on the real class."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import mtcnn_fast
from conftest import load
from mtcnn_fast.compat.opencv import FaceDetectorYN, FaceDetectorYN_create
from tool import load_tool

PICTURES = load_tool("make_compat_golden").pictures(load(Path(__file__).parent / "data" / "astronaut.jpg"))
IMAGE, THREE, NONE = (PICTURES[name][..., ::-1] for name in ("one", "three", "none"))  # BGR
SIZE = (512, 512)


def create(image: Any = IMAGE, **options: Any) -> FaceDetectorYN:
    return FaceDetectorYN.create("", "", image.shape[1::-1], **options)


def test_rows_are_the_columns_of_opencv() -> None:
    wanted = mtcnn_fast.MTCNN(thresholds=(0.6, 0.7, 0.9), channel_order="bgr").detect(THREE)
    count, faces = create(THREE).detect(THREE)
    assert count == 1
    assert faces is not None
    assert (faces.shape, faces.dtype) == ((3, 15), np.float32)
    np.testing.assert_array_equal(faces, wanted.to_opencv())
    assert faces[0, -1] >= faces[1, -1]
    faces += 1  # can be written to


def test_an_image_without_a_face_and_no_image() -> None:
    assert create().detect(NONE) == (1, None)
    assert create().detect(None) == (0, None)
    assert create().detect(IMAGE[:0]) == (0, None)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32])
def test_other_numbers_are_rounded(dtype: Any) -> None:
    np.testing.assert_array_equal(create().detect(IMAGE.astype(dtype))[1], create().detect(IMAGE)[1])


def test_thresholds_and_the_number_of_faces() -> None:
    detector = create(THREE, score_threshold=0.5)
    assert detector.detect(THREE)[1].shape == (3, 15)  # type: ignore[union-attr]
    detector.setTopK(1)
    assert detector.detect(THREE)[1].shape == (1, 15)  # type: ignore[union-attr]
    detector.setTopK(0)
    assert detector.detect(THREE)[1].shape == (3, 15)  # type: ignore[union-attr]
    detector.setScoreThreshold(1)
    assert detector.detect(THREE) == (1, None)
    # The detector's own suppression switched off leaves several boxes of one face.
    detector = create(nms_threshold=1, score_threshold=0.1, nms_thresholds=(0.9, 1, 1, 1))
    assert len(detector.detect(IMAGE)[1]) > 1  # type: ignore[arg-type]
    detector.setNMSThreshold(0.3)
    assert len(detector.detect(IMAGE)[1]) == 1  # type: ignore[arg-type]


def test_it_is_set_and_copied() -> None:
    detector = FaceDetectorYN_create("model.onnx", "", [320, 240], 0.8, 0.2, 10, 0, 0, min_face_size=300)
    assert detector.getInputSize() == (320, 240)
    assert (detector.getScoreThreshold(), detector.getNMSThreshold(), detector.getTopK()) == (0.8, 0.2, 10)
    detector.setInputSize(np.array(SIZE))
    assert detector.detect(IMAGE) == (1, None)  # the face is smaller than 300 pixels
    assert pickle.loads(pickle.dumps(create())).detect(IMAGE)[1].shape == (1, 15)


@pytest.fixture(scope="module")
def real(data: Path) -> Any:
    """OpenCV's own, with its network."""
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
    model = data / "more_training" / "models" / "yunet_2026may.onnx"
    if not hasattr(cv2, "FaceDetectorYN") or not model.exists():
        pytest.skip("there is no FaceDetectorYN, or no network for it")
    return cv2.FaceDetectorYN.create(str(model), "", SIZE)


CALLS: dict[str, Callable[[Any], Any]] = {
    "a face": lambda detector: detector.detect(IMAGE),
    "by keyword": lambda detector: detector.detect(image=IMAGE),
    "gray": lambda detector: detector.detect(IMAGE[..., 1]),
    "alpha": lambda detector: detector.detect(np.dstack([IMAGE, IMAGE[..., :1]])),
    "floats": lambda detector: detector.detect(IMAGE.astype(np.float32)),
    "no face": lambda detector: detector.detect(NONE),
    "no image": lambda detector: detector.detect(None),
    "no pixels": lambda detector: detector.detect(np.zeros((0, 0, 3), np.uint8)),
    "the size": lambda detector: detector.getInputSize(),
    "the most faces": lambda detector: detector.getTopK(),
    "another size": lambda detector: detector.detect(IMAGE[:300]),
    "a path": lambda detector: detector.detect("picture.jpg"),
    "a size of floats": lambda detector: detector.setInputSize((320.5, 240)),
    "a size of one number": lambda detector: detector.setInputSize(320),
    "a score of text": lambda detector: detector.setScoreThreshold("high"),
    "a score of True": lambda detector: detector.setScoreThreshold(True),
    "faces of a float": lambda detector: detector.setTopK(2.5),
}

SINCE_5 = ("gray", "alpha")  # an error of the network in OpenCV 4


@pytest.mark.parametrize("name", CALLS)
def test_results_have_the_form_of_the_package(name: str, real: Any) -> None:
    if name in SINCE_5 and sys.modules["cv2"].__version__.startswith("4."):
        pytest.skip("OpenCV 4 takes only images of three channels")

    def outcome(detector: Any) -> Any:
        try:
            result = CALLS[name](detector)
        except Exception as error:
            return type(error)
        if not isinstance(result, tuple) or result[1] is None or isinstance(result[1], int):
            return result
        return result[0], result[1].shape, result[1].dtype

    assert outcome(create()) == outcome(real)


def test_boxes_and_landmarks_mean_the_same_as_in_the_package(real: Any) -> None:
    # Two networks differ by a few pixels of a face of 89 x 115.
    np.testing.assert_allclose(create().detect(IMAGE)[1][:, :14], real.detect(IMAGE)[1][:, :14], atol=7)  # type: ignore[index]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"score_threshold": 5}, ValueError, r"score_threshold is 5\.0; wanted 0 to 1"),
        ({"nms_threshold": -1}, ValueError, "nms_threshold is -1"),
        ({"input_size": (1, 2, 3)}, ValueError, "input_size has 3 numbers; wanted 2"),
        ({"input_size": (-1, 2)}, ValueError, r"input_size\[0\] is -1; wanted at least 0"),
        ({"thresholds": (0.6, 0.7, 0.7)}, TypeError, "thresholds is given; this interface has one threshold"),
        ({"channel_order": "rgb"}, TypeError, "channel_order is given"),
        ({"min_face_size": 1}, ValueError, "min_face_size"),
        ({"least_face": 1}, TypeError, "least_face"),
    ],
)
def test_bad_arguments_are_told(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        FaceDetectorYN.create("", "", **{"input_size": SIZE, **arguments})


BAD_IMAGES = [
    (IMAGE[:300], ValueError, r"image has the size \(512, 300\), and input_size is \(512, 512\); setInputSize"),
    ("picture.jpg", TypeError, "image is a str.*mtcnn_fast.read"),
    (Image.fromarray(IMAGE[..., ::-1]), TypeError, "image is a PIL image; wanted an array in BGR order"),
    (np.full((512, 512, 3), np.nan), ValueError, "not finite"),
    (np.zeros((512, 512, 2), np.uint8), ValueError, "shape"),
]


@pytest.mark.parametrize(("image", "error", "message"), BAD_IMAGES)
def test_bad_images_are_told(image: Any, error: type[Exception], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "cv2", raising=False)
    with pytest.raises(error, match=message):
        create().detect(image)
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
    with pytest.raises(cv2.error, match=message):
        create().detect(image)
