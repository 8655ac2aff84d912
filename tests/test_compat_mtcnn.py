"""The interface of mtcnn: results recorded from release 0.1.1 by tools/make_mtcnn_golden.py, and its rules by name."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from conftest import load
from mtcnn_fast.compat import mtcnn as package
from mtcnn_fast.compat.mtcnn import MTCNN
from mtcnn_fast.compat.mtcnn.exceptions import InvalidImage
from mtcnn_fast.compat.mtcnn.stages import StageONet, StagePNet, StageRNet
from mtcnn_fast.compat.mtcnn.utils.images import load_image, load_images_batch
from mtcnn_fast.compat.mtcnn.utils.plotting import plot, plot_bbox, plot_landmarks
from tool import load_tool

TOOL = load_tool("make_mtcnn_golden")
HERE = Path(__file__).parent
ASTRONAUT = HERE / "data" / "astronaut.jpg"
PICTURES = load_tool("make_compat_golden").pictures(load(ASTRONAUT))
ONE, THREE, NONE = PICTURES["one"], PICTURES["three"], PICTURES["none"]
# Of a face as TOOL.row gives it: box, confidence, points.
COLUMNS, CONFIDENCE = 15, 4
GOLDEN = json.loads((HERE / "golden" / "mtcnn.json").read_text())


@pytest.fixture(scope="module")
def first() -> MTCNN:
    return MTCNN()


@pytest.fixture(scope="module")
def second() -> MTCNN:
    return MTCNN(device="CPU:0")


def rows(faces: list[dict[str, Any]]) -> NDArray[np.float64]:
    return np.array([TOOL.row(face) for face in faces], float).reshape(-1, COLUMNS)


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("run", GOLDEN["pictures"], ids=lambda run: f"{len(run['options'])} options")
def test_faces_are_those_of_the_package(run: dict[str, Any], name: str) -> None:
    found = rows(MTCNN(**run["options"]).detect_faces(PICTURES[name]))
    np.testing.assert_allclose(found, np.array(run["faces"][name]).reshape(-1, COLUMNS), atol=1e-5)


@pytest.mark.parametrize("run", GOLDEN["photographs"], ids=lambda run: str(run["options"]["min_face_size"]))
def test_faces_of_photographs_are_those_of_the_package(data: Path, run: dict[str, Any]) -> None:
    cv2 = pytest.importorskip("cv2", reason="OpenCV, whose decoder the recorded results need, is not installed")
    detector = MTCNN(**run["options"])
    theirs = ours = same = 0
    for name, recorded in run["faces"].items():
        found = rows(detector.detect_faces(np.ascontiguousarray(cv2.imread(str(data / name))[:, :, ::-1])))
        theirs, ours = theirs + len(recorded), ours + len(found)
        for face in np.array(recorded).reshape(-1, COLUMNS):
            # Truncation makes one of what lies just below and above an integer.
            differences = np.abs(found - face)
            differences[:, CONFIDENCE] /= 0.005
            same += bool((differences <= 1).all(axis=1).any())
    # Of a small set, one face of doubt.
    assert theirs - same <= max(1, 0.005 * theirs)
    assert ours - same <= max(1, 0.005 * theirs)


def test_the_release_is_told_by_the_arguments() -> None:
    for detector in (MTCNN(), MTCNN(None, 20, [0.6, 0.7, 0.7], 0.709), MTCNN(min_face_size=20)):
        (face,) = detector.detect_faces(ONE)
        assert face["box"] == [179, 60, 88, 114]
        assert face["keypoints"]["nose"] == (224, 128)
    for detector in (MTCNN("face_and_landmarks_detection"), MTCNN(device="CPU:0"), MTCNN(stages=list(MTCNN().stages))):
        (face,) = detector.detect_faces(ONE)
        assert face["box"] == [180, 60, 88, 114]
        assert face["keypoints"]["nose"] == [225, 129]


def test_faces_are_numbers_of_python(first: MTCNN, second: MTCNN) -> None:
    for detector in (first, second):
        (face,) = detector.detect_faces(ONE)
        assert type(face["confidence"]) is float
        assert {type(value) for value in (*face["box"], *face["keypoints"]["left_eye"])} == {int}
        assert json.loads(json.dumps(face)).keys() == {"box", "confidence", "keypoints"}


def test_attributes() -> None:
    detector = MTCNN(device="CPU:0")
    assert detector.device == "CPU:0"
    assert [stage.id for stage in detector.stages] == [1, 2, 3]
    assert detector.get_stage(2) is detector.get_stage(stage_name="Stage RNET") is detector.stages[1]
    assert detector.get_stage(4) is None
    assert package.__version__ == "1.0.0"


def test_min_face_size_can_be_set() -> None:
    detector = MTCNN()
    assert detector.min_face_size == 20
    detector.min_face_size = 120
    assert detector.detect_faces(THREE) == MTCNN(min_face_size=120).detect_faces(THREE)
    assert len(detector.detect_faces(THREE)) == 1
    detector.min_face_size = "none"
    assert detector.min_face_size == 20
    assert len(detector.detect_faces(THREE)) == 3


def test_options_of_a_call(second: MTCNN) -> None:
    assert len(second.detect_faces(THREE, min_face_size=120)) == 1
    assert second.detect_faces(THREE, threshold_onet=1.0) == []
    assert len(second.detect_faces(THREE, threshold_pnet=0.5, nms_pnet1=0.6, nms_onet=0.6, scale_factor=0.8)) == 3
    assert second.predict(THREE, min_size=10, batch_stack_justification="topleft") == second.detect_faces(THREE)
    assert len(second.detect_faces(THREE)) == 3


def test_images_of_all_kinds(second: MTCNN) -> None:
    wanted = second.detect_faces(ONE)

    class Tensor:
        shape = ONE.shape

        def __array__(self, *_: Any, **__: Any) -> NDArray[np.float32]:
            return ONE.astype(np.float32)

    content = ASTRONAUT.read_bytes()
    for image in (
        ASTRONAUT,
        str(ASTRONAUT),
        content,
        bytearray(content),
        ONE.astype(float),
        Tensor(),
        Image.open(ASTRONAUT),
    ):
        assert second.detect_faces(image) == wanted
    assert second.detect_faces(img=ONE) == wanted


def test_a_list_is_a_batch(second: MTCNN) -> None:
    found = second.detect_faces([THREE, NONE, str(ASTRONAUT), b"no picture"])
    assert [len(faces) for faces in found] == [3, 0, 1, 0]
    assert found[0] == second.detect_faces(THREE)
    assert second.detect_faces([]) == []
    assert second.detect_faces(b"no picture") == []


def test_rows_of_numbers(second: MTCNN) -> None:
    table = second.detect_faces([NONE, THREE], output_type="numpy", box_format="xyxy")
    assert (table.shape, table.dtype) == ((3, 16), np.float64)
    assert table[:, 0].tolist() == [1, 1, 1]
    for row, face in zip(table, second.detect_faces(THREE, box_format="xyxy"), strict=True):
        assert np.rint(row[1:5]).tolist() == face["box"]
        assert row[5] == face["confidence"]
        eye = face["keypoints"]["right_eye"]
        assert [round(row[7]), round(row[12])] == eye
    sized = second.detect_faces([NONE, THREE], output_type="numpy")
    np.testing.assert_allclose(sized[:, 3:5], table[:, 3:5] - table[:, 1:3])
    for empty in (NONE, [], b"no picture", np.zeros((5, 5, 3), np.uint8)):
        assert second.detect_faces(empty, output_type="numpy").shape == (0, 16)


def test_without_landmarks() -> None:
    detectors = (MTCNN("face_detection_only"), MTCNN([StagePNet, StageRNet]), MTCNN(stages=[StagePNet(), StageRNet()]))
    for detector in detectors:
        (face,) = detector.detect_faces(ONE)
        assert face.keys() == {"box", "confidence"}
        assert detector.detect_faces(ONE, output_type="numpy").shape == (1, 6)


def test_boxes_are_cut_to_the_image(first: MTCNN, second: MTCNN) -> None:
    image = ONE[70:180, 180:255]  # narrower than the box of the face in it

    def box(detector: MTCNN, **options: Any) -> Any:
        return detector.detect_faces(image, box_format="xyxy", threshold_pnet=0.5, threshold_rnet=0.5, **options)[0][
            "box"
        ]

    whole = box(second, fit_to_image=False)
    assert whole == box(second, postprocess=False)
    assert whole[0] < 0 < 75 < whole[2]
    assert box(second) == [0, 0, 74, whole[3]]
    assert box(first) == [0, 0, *np.trunc(box(first, fit_to_image=False)[2:])]


def test_landmarks_are_cut_to_the_image(second: MTCNN) -> None:
    image = ONE[50:130, 150:250]  # the mouth is below

    def mouth(**options: Any) -> Any:
        return second.detect_faces(image, **options)[0]["keypoints"]["mouth_left"][1]

    assert mouth() > 80
    assert mouth(limit_boundaries_landmarks=True) == 79
    assert mouth(limit_boundaries_landmarks=True, fit_to_image=False) > 80


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: MTCNN(stages="all"), ValueError, "stages is 'all' .*wanted one of"),
        (lambda: MTCNN([StagePNet, StageONet]), ValueError, "StageRNet"),
        (lambda: MTCNN(device="TPU:0"), ValueError, "device is 'TPU:0' .*wanted 'CPU:0' or 'GPU:N'"),
        (lambda: MTCNN(min_face_size=20, device="CPU:0"), TypeError, "min_face_size"),
        (lambda: MTCNN("mtcnn_weights.npy"), ValueError, "pickled objects.*wanted None"),
        (lambda: MTCNN(steps_threshold=[0.6]), ValueError, "steps_threshold has 1 numbers; wanted 3"),
        (lambda: MTCNN(steps_threshold=0.6), TypeError, "steps_threshold is 0.6"),
        (lambda: MTCNN(stages=3), ValueError, "stages is 3 .*wanted one of"),
        (lambda: MTCNN(min_face_size=1), ValueError, "min_face_size"),
    ],
)
def test_wrong_arguments_are_told(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("image", "options", "error", "message"),
    [
        (None, {}, InvalidImage, "image is None .*cv2.imread"),
        (7, {}, InvalidImage, "image is 7"),
        ("missing.jpg", {}, InvalidImage, "No such file"),
        (__file__, {}, InvalidImage, "not a picture"),
        ([ONE, None], {}, InvalidImage, "image 1 is None"),
        (ONE[..., :2], {}, ValueError, "image has shape"),
        (np.full((40, 40, 3), np.inf), {}, ValueError, "not finite"),
        (ONE, {"threshold": 0.5}, TypeError, "no option 'threshold'; wanted one of .*threshold_onet"),
        (ONE, {"box_format": "yxyx"}, ValueError, "box_format is 'yxyx'; wanted one of"),
        (ONE, {"output_type": "pandas"}, ValueError, "output_type is 'pandas'"),
        (ONE, {"batch_stack_justification": "middle"}, ValueError, "batch_stack_justification is 'middle'"),
        (ONE, {"threshold_onet": 2}, ValueError, "thresholds"),
    ],
)
def test_bad_input_is_told(
    first: MTCNN, image: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        first.detect_faces(image, **options)


def test_it_can_be_pickled(second: MTCNN) -> None:
    assert pickle.loads(pickle.dumps(second)).detect_faces(ONE) == second.detect_faces(ONE)


def test_load_image() -> None:
    image = load_image(str(ASTRONAUT))
    assert (image.shape, image.dtype, image.max()) == ((512, 512, 3), np.float32, 255)
    np.testing.assert_array_equal(load_image(ASTRONAUT.read_bytes(), dtype=np.uint8), ONE)
    assert load_image(ONE) is ONE
    assert [image.shape for image in load_images_batch([ASTRONAUT, ONE])] == [(512, 512, 3)] * 2


def test_plot(second: MTCNN) -> None:
    yellow = (255, 255, 0)
    faces = second.detect_faces(THREE)
    drawn = plot(THREE.astype(np.float32), faces)
    assert drawn is not None
    assert drawn.dtype == np.uint8
    for face in faces:
        x, y, width, height = face["box"]
        nose_x, nose_y = face["keypoints"]["nose"]
        for column, row in ((x, y), (x + width, y + height), (x, y + 5), (nose_x - 2, nose_y + 2)):
            assert tuple(drawn[row, column]) == yellow
        assert tuple(drawn[nose_y + 3, nose_x]) == tuple(THREE[nose_y + 3, nose_x])
    table = second.detect_faces(THREE, output_type="numpy")
    np.testing.assert_array_equal(plot(THREE, np.rint(table)), drawn)
    assert plot(THREE, []) is None
    np.testing.assert_array_equal(plot(THREE, faces[0]), plot(THREE, np.rint(table[0])))


def test_drawing_is_cut_to_the_image() -> None:
    image = np.zeros((20, 20, 3))
    framed = plot_bbox(image, [-5, 10, 50, 50], "#f00", normalize_color=True, input_as_width_height=False)
    assert np.argwhere(framed[..., 0] == 1)[:, 0].tolist() == [10] * 20
    dotted = plot_landmarks(image, {"nose": [0, 0], "left_eye": [-9, -9]}, keypoints="nose, left_eye", brush_size=1)
    assert np.count_nonzero(dotted[..., 0]) == 4
    assert plot_landmarks(image, {"box": [0, 0, 5, 5], "confidence": 1.0}) is image
    with pytest.raises(ValueError, match="color is 'yellow'; wanted #RRGGBB"):
        plot_bbox(image, [0, 0, 5, 5], "yellow")


def test_tensorflow_and_torch_are_not_imported() -> None:
    program = "import sys, mtcnn_fast.compat.mtcnn; sys.exit('tensorflow' in sys.modules or 'torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
