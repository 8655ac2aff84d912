"""The interface of facenet-pytorch: results recorded from it by tools/make_compat_golden.py, and its rules by name."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from conftest import load
from promise import check_promise
from tool import load_tool

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from mtcnn_fast.compat import facenet_pytorch  # noqa: E402 - after the skip
from mtcnn_fast.compat.facenet_pytorch import MTCNN, extract_face  # noqa: E402

TOOL = load_tool("make_compat_golden")
HERE = Path(__file__).parent
PICTURES = TOOL.pictures(load(HERE / "data" / "astronaut.jpg"))
ONE, THREE = PICTURES["one"], PICTURES["three"]
# A face and none in images of one size; `THREE` has another size.
NONE = PICTURES["none"]


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    with np.load(HERE / "golden" / "facenet_pytorch.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def mtcnn() -> Any:
    return MTCNN(image_size=48)


def new(**options: Any) -> Any:
    return MTCNN(image_size=48, **options)


@pytest.mark.parametrize("kind", ["pil", "array", "tensor"])
@pytest.mark.parametrize("picture", ["one", "three"])
def test_faces_and_crops_are_those_of_the_package(golden: dict[str, Any], picture: str, kind: str) -> None:
    recorded = {name: golden[f"{picture}/{kind}/{name}"] for name in ("boxes", "probs", "points", "crops")}
    detector = MTCNN(image_size=TOOL.SIZE, margin=TOOL.MARGIN, post_process=False, keep_all=True)
    image = TOOL.as_kind(PICTURES[picture], kind)
    boxes, probs, points = detector.detect(image, landmarks=True)
    np.testing.assert_allclose(boxes.astype(float), recorded["boxes"], atol=0.05)
    np.testing.assert_allclose(probs.astype(float), recorded["probs"], atol=1e-3)
    np.testing.assert_allclose(points.astype(float), recorded["points"], atol=0.05)
    # Crops of the recorded boxes, because a box that rounds differently gives another crop.
    crops = detector.extract(image, recorded["boxes"], None).numpy()
    assert np.abs(crops - recorded["crops"]).max() <= 1


PEERS = json.loads((HERE / "golden" / "peers.json").read_text())
RUNS = [run for run in PEERS["runs"] if run["peer"] == "facenet-pytorch"]


@pytest.mark.parametrize("run", RUNS, ids=lambda run: str(run["options"]["min_face_size"]))
def test_faces_of_photographs_are_those_of_the_package(data: Path, run: dict[str, Any]) -> None:
    detector = MTCNN(**run["options"])

    def detect(image: np.ndarray[Any, Any]) -> Any:
        boxes, probs, points = detector.detect(image, landmarks=True)
        if boxes is None:
            return np.empty((0, 4)), np.empty(0), np.empty((0, 5, 2))
        return boxes.astype(float), probs.astype(float), points.astype(float)

    check_promise(run["results"], detect, data)


@pytest.mark.parametrize("method", TOOL.SELECTIONS)
@pytest.mark.parametrize("picture", ["one", "three"])
def test_selected_faces_are_those_of_the_package(golden: dict[str, Any], picture: str, method: str) -> None:
    image = TOOL.as_kind(PICTURES[picture], "pil")
    detector = new()
    box, prob, points = detector.select_boxes(*detector.detect(image, landmarks=True), image, method=method)
    np.testing.assert_allclose(box.astype(float), golden[f"{picture}/{method}/box"], atol=0.05)
    assert prob == pytest.approx(float(golden[f"{picture}/{method}/prob"]), abs=1e-3)
    assert points.shape == (1, 5, 2)


def test_arguments_by_position_and_by_default() -> None:
    detector = MTCNN(160, 0, 20, [0.6, 0.7, 0.7], 0.709, True, True, None, False, None)
    default = MTCNN()
    names = ("image_size", "margin", "min_face_size", "thresholds", "factor", "post_process", "select_largest")
    for name in (*names, "selection_method", "keep_all", "device"):
        assert getattr(detector, name) == getattr(default, name)
    assert default.selection_method == "largest"
    assert MTCNN(select_largest=False).selection_method == "probability"
    assert MTCNN(selection_method="center_weighted_size").selection_method == "center_weighted_size"


def test_it_is_a_module() -> None:
    detector = new().eval().to("cpu")
    assert next(detector.parameters()).device == torch.device("cpu")
    assert not any(parameter.requires_grad for parameter in detector.parameters())
    for changed in (detector.double(), detector.half(), copy.deepcopy(detector), pickle.loads(pickle.dumps(detector))):
        assert changed(ONE).shape == (3, 48, 48)
    with pytest.raises(AttributeError, match="outside of PyTorch"):
        _ = detector.pnet


def test_device() -> None:
    assert new().device == torch.device("cpu")
    assert new(device="cpu").device == "cpu"
    with pytest.warns(UserWarning, match="device is 'mps', which mtcnn_fast does not use"):
        detector = new(device=torch.device("mps"))
    assert detector.detect(ONE)[0].shape == (1, 4)


def test_attributes_count_when_they_are_changed() -> None:
    detector = new()
    detector.keep_all = True
    assert detector(THREE).shape == (3, 3, 48, 48)
    detector.image_size, detector.post_process = 32, False
    crops = detector(THREE)
    assert crops.shape == (3, 3, 32, 32)
    assert crops.min() >= 0
    detector.min_face_size = 120
    assert detector(THREE).shape == (1, 3, 32, 32)
    detector.thresholds = [0.6, 0.7, 1.0]
    assert detector(THREE) is None


def test_wrong_options_are_told_when_it_is_made() -> None:
    with pytest.raises(ValueError, match="min_face_size"):
        new(min_face_size=1)
    with pytest.raises(ValueError, match="thresholds"):
        new(thresholds=[0.6, 0.7])


def test_detect_one_image(mtcnn: Any) -> None:
    assert len(mtcnn.detect(ONE)) == 2
    boxes, probs, points = mtcnn.detect(THREE, landmarks=True)
    assert (boxes.shape, probs.shape, points.shape) == ((3, 4), (3,), (3, 5, 2))
    assert {array.dtype for array in (boxes, probs, points)} == {np.dtype(object)}
    assert json.dumps([boxes[0][0], probs[0], points[0].tolist()])
    sizes = [(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in boxes]
    assert sizes == sorted(sizes, reverse=True)
    probs = new(select_largest=False).detect(THREE)[1]
    assert list(probs) == sorted(probs, reverse=True)


def test_detect_one_image_without_a_face(mtcnn: Any) -> None:
    for image in (NONE, np.zeros((5, 5, 3), np.uint8)):
        boxes, probs, points = mtcnn.detect(image, landmarks=True)
        assert boxes is None
        assert points is None
        assert (probs.shape, probs.dtype, probs[0]) == ((1,), np.dtype(object), None)


@pytest.mark.parametrize("make", [list, tuple, np.stack, lambda images: torch.from_numpy(np.stack(images))])
def test_detect_a_batch_of_equal_numbers(mtcnn: Any, make: Any) -> None:
    boxes, probs, points = mtcnn.detect(make([ONE, ONE[:, ::-1]]), landmarks=True)
    assert (boxes.shape, probs.shape, points.shape) == ((2, 1, 4), (2, 1), (2, 1, 5, 2))
    assert {array.dtype for array in (boxes, probs, points)} == {np.dtype(object)}
    assert list(boxes[0][0]) == list(mtcnn.detect(ONE)[0][0])


def test_detect_a_ragged_batch(mtcnn: Any) -> None:
    boxes, probs, points = mtcnn.detect([THREE, NONE, ONE], landmarks=True)  # of two sizes
    assert (boxes.shape, probs.shape, points.shape) == ((3,), (3,), (3,))
    assert boxes[0].shape == (3, 4)
    assert boxes[0].dtype == probs[0].dtype == points[0].dtype == np.float32
    assert (boxes[1], probs[1], points[1]) == (None, [None], None)
    boxes[0] += 1  # can be written to


def test_detect_a_batch_without_faces(mtcnn: Any) -> None:
    boxes, probs, points = mtcnn.detect([NONE, NONE], landmarks=True)
    assert (boxes.shape, probs.shape, points.shape) == ((2,), (2, 1), (2,))
    assert [*boxes, *probs.ravel(), *points] == [None] * 6


def test_inputs_of_all_kinds_give_the_same_faces(mtcnn: Any) -> None:
    wanted = mtcnn.detect(ONE)[0].astype(float)
    floats = ONE.astype(np.float32)
    tensor = torch.from_numpy(ONE.copy())
    for image in (Image.fromarray(ONE), floats, ONE.astype(np.int64), tensor, tensor.float(), tensor.half()):
        np.testing.assert_array_equal(mtcnn.detect(image)[0].astype(float), wanted)
        np.testing.assert_array_equal(mtcnn.detect([image])[0][0].astype(float), wanted)


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        ([], ValueError, "empty batch"),
        (np.full((40, 40, 3), np.nan), ValueError, "image is a float64 array.* not finite"),
        ([ONE, None], TypeError, "image 1 is"),
        (np.moveaxis(ONE, 2, 0), ValueError, "shape"),
        ("picture.jpg", TypeError, "image is a str.*mtcnn_fast.read"),
    ],
)
def test_bad_images_are_told(mtcnn: Any, image: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        mtcnn.detect(image)


def test_call_with_one_image(mtcnn: Any) -> None:
    crop, prob = mtcnn(ONE, return_prob=True)
    assert (crop.shape, crop.dtype) == ((3, 48, 48), torch.float32)
    assert type(prob) is float
    assert -1 < crop.min() < crop.max() < 1
    assert mtcnn(NONE, return_prob=True) == (None, None)
    crops, probs = new(keep_all=True)(THREE, return_prob=True)
    assert (crops.shape, probs.shape) == ((3, 3, 48, 48), (3,))
    crops, probs = new(keep_all=True)(NONE, return_prob=True)
    assert crops is None
    assert list(probs) == [None]


def test_call_with_a_batch(mtcnn: Any) -> None:
    crops, probs = mtcnn([ONE, ONE], return_prob=True)
    assert [crop.shape for crop in crops] == [(3, 48, 48)] * 2
    assert (probs.shape, probs.dtype) == ((2, 1), np.dtype(object))
    crops, probs = mtcnn([ONE, NONE], return_prob=True)
    assert crops[0].shape == (3, 48, 48)
    assert crops[1] is None
    assert (probs.shape, probs[1, 0]) == ((2, 1), None)
    crops, probs = new(keep_all=True)([THREE, NONE, ONE], return_prob=True)
    assert [None if crop is None else len(crop) for crop in crops] == [3, None, 1]
    assert probs.shape == (3,)


BOXES = np.array([[0, 0, 50, 50], [10, 10, 70, 70], [190, 190, 210, 210]], np.float32)
PROBS = np.array([0.99, 0.8, 0.95], np.float32)
POINTS = np.arange(30, dtype=np.float32).reshape(3, 5, 2)


@pytest.mark.parametrize(
    ("method", "row"),
    [("probability", 0), ("largest", 1), ("largest_over_threshold", 0), ("center_weighted_size", 2)],
)
@pytest.mark.parametrize("kind", ["pil", "array", "tensor"])
def test_select_boxes(mtcnn: Any, method: str, row: int, kind: str) -> None:
    image = TOOL.as_kind(np.zeros((400, 400, 3), np.uint8), kind)
    box, prob, points = mtcnn.select_boxes(BOXES, PROBS, POINTS, image, method=method)
    np.testing.assert_array_equal(box, BOXES[[row]])
    assert prob == PROBS[row]
    np.testing.assert_array_equal(points, POINTS[[row]])
    found = mtcnn.select_boxes([BOXES] * 2, [PROBS] * 2, [POINTS] * 2, [image] * 2, method=method)
    assert [array.shape for array in found] == [(2, 1, 4), (2, 1), (2, 1, 5, 2)]


def test_select_boxes_gives_points_and_probability_of_the_box_that_it_gives(mtcnn: Any) -> None:
    box, prob, points = mtcnn.select_boxes(BOXES[1:], PROBS[1:], POINTS[1:], ONE, "largest_over_threshold")
    assert box[0].tolist() == BOXES[2].tolist()
    assert prob == PROBS[2]
    assert points[0].tolist() == POINTS[2].tolist()


def test_select_boxes_without_a_face(mtcnn: Any) -> None:
    arguments = (BOXES, PROBS, POINTS, ONE)
    assert mtcnn.select_boxes(*arguments, "largest_over_threshold", threshold=1) == (None, None, None)
    boxes, probs, points = mtcnn.select_boxes([None, BOXES], [[None], PROBS], [None, POINTS], [ONE, ONE])
    assert (boxes.shape, probs.shape, points.shape) == ((2,), (2, 1), (2,))
    assert (boxes[0], probs[0, 0], points[0]) == (None, None, None)
    assert boxes[1].shape == (1, 4)


def test_unknown_method_is_told(mtcnn: Any) -> None:
    with pytest.raises(ValueError, match="method is 'best'; wanted one of"):
        mtcnn.select_boxes(BOXES, PROBS, POINTS, ONE, method="best")


@pytest.mark.parametrize("kind", ["pil", "array", "tensor"])
def test_extract_face(kind: str, tmp_path: Path) -> None:
    image = TOOL.as_kind(ONE, kind)
    box = [200.7, 100.2, 300.9, 220.4]
    crop = extract_face(image, box, image_size=40, save_path=str(tmp_path / "new" / "face.png"))
    assert (crop.shape, crop.dtype, crop.device.type) == ((3, 40, 40), torch.float32, "cpu")
    written = load(tmp_path / "new" / "face.png")
    np.testing.assert_array_equal(written, crop.numpy().transpose(1, 2, 0))
    # Half of the margin on each side: the box grows by 8 / (40 - 8) of its side, and is then truncated.
    with_margin = extract_face(image, [20, 40, 84, 104], image_size=40, margin=8)
    np.testing.assert_array_equal(with_margin, extract_face(image, [12, 32, 92, 112], image_size=40))
    # What is outside of the image is cut off.
    np.testing.assert_array_equal(extract_face(image, [-9, -9, 50, 50]), extract_face(image, [0, 0, 50, 50]))


def test_extract_face_of_a_whole_image_is_the_image() -> None:
    image = ONE[:40, :40]
    for kind in ("pil", "array", "tensor"):
        crop = extract_face(TOOL.as_kind(image, kind), [0, 0, 40, 40], image_size=40)
        np.testing.assert_array_equal(crop.numpy().transpose(1, 2, 0), image)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("cut", [(150, 131), (149, 40), (60, 200), (33, 50), (96, 96), (48, 48), (300, 49)])
def test_arrays_are_resized_as_opencv_does(cut: tuple[int, int], dtype: Any) -> None:
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
    height, width = cut
    image = ONE[:height, 200 : 200 + width].astype(dtype)
    wanted = cv2.resize(image, (48, 48), interpolation=cv2.INTER_AREA)
    crop = extract_face(image, [0, 0, width, height], image_size=48).numpy().transpose(1, 2, 0)
    assert np.abs(crop - wanted.astype(np.float32)).max() <= 1


def test_extract_face_tells_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="margin is 160; wanted less than image_size"):
        extract_face(ONE, [0, 0, 50, 50], margin=160)
    with pytest.raises(ValueError, match=r"box is \[600.0, .* holds no pixel of the image of 512 x 512"):
        extract_face(ONE, [600, 0, 650, 50])
    with pytest.raises(TypeError, match=r"img is 'face\.jpg'"):
        extract_face("face.jpg", [0, 0, 50, 50])


def test_save_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    new()(Image.fromarray(ONE), save_path="bare.png")
    crops = new(keep_all=True, post_process=False)(THREE, save_path="all/face.png")
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.png")) == [
        "all/face.png",
        "all/face_2.png",
        "all/face_3.png",
        "bare.png",
    ]
    for crop, name in zip(crops, ("face", "face_2", "face_3"), strict=True):
        np.testing.assert_array_equal(load(tmp_path / "all" / f"{name}.png"), crop.numpy().transpose(1, 2, 0))


def test_written_crops_are_not_standardized(tmp_path: Path) -> None:
    crop = new()(ONE, save_path=tmp_path / "face.png")
    written = torch.from_numpy(load(tmp_path / "face.png").transpose(2, 0, 1).astype(np.float32))
    torch.testing.assert_close(crop, facenet_pytorch.fixed_image_standardization(written))


def test_save_path_of_a_batch(mtcnn: Any, tmp_path: Path) -> None:
    paths = [str(tmp_path / f"{name}.jpg") for name in "abc"]
    mtcnn([ONE, NONE, THREE], save_path=paths)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jpg", "c.jpg"]
    for wrong in (paths[0], paths[:2]):
        with pytest.raises(ValueError, match="paths; wanted 3, one per image"):
            mtcnn([ONE, NONE, ONE], save_path=wrong)


def test_standardization_and_prewhiten() -> None:
    levels = torch.tensor([0.0, 127.5, 255.0])
    assert facenet_pytorch.fixed_image_standardization(levels).tolist() == [-0.99609375, 0, 0.99609375]
    white = facenet_pytorch.prewhiten(levels)
    assert float(white.mean()) == pytest.approx(0, abs=1e-6)
    assert float(white.std()) == pytest.approx(1)
    assert facenet_pytorch.prewhiten(torch.ones(4)).tolist() == [0] * 4


def test_collate_pil() -> None:
    assert facenet_pytorch.training.collate_pil([("a", 1), ("b", 2)]) == (["a", "b"], [1, 2])


@pytest.mark.parametrize("name", ["InceptionResnetV1", "PNet", "RNet", "ONet"])
def test_networks_are_refused(name: str) -> None:
    with pytest.raises(ImportError, match=f"has no {name}, only face detection; .*pip install"):
        getattr(facenet_pytorch, name)
    assert not hasattr(facenet_pytorch, "other")


def test_only_this_module_imports_torch() -> None:
    program = "import sys, mtcnn_fast.compat; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
