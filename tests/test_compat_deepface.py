"""The detector for DeepFace: its rules on a stand-in for the package, and the package's own functions."""

from __future__ import annotations

import dataclasses
import importlib
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import mtcnn_fast
from conftest import load
from mtcnn_fast.compat.deepface import Client, register

PATH = Path(__file__).parent / "data" / "astronaut.jpg"
IMAGE = load(PATH)[..., ::-1]  # BGR
NONE = np.zeros_like(IMAGE)

REGION = ["x", "y", "w", "h", "left_eye", "right_eye", "confidence"]
LATER = [*REGION, "nose", "mouth_right", "mouth_left"]


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str]], ModuleType]:
    """Puts a package with what `register` and `Client` use in the place of DeepFace; gives its module of models."""

    def install(fields: list[str]) -> ModuleType:
        names = ["deepface", "deepface.models", "deepface.models.Detector", "deepface.modules"]
        modules = {name: ModuleType(name) for name in [*names, "deepface.modules.modeling"]}
        for name, module in modules.items():
            monkeypatch.setitem(sys.modules, name, module)
        region = dataclasses.make_dataclass("FacialAreaRegion", fields)
        vars(modules["deepface.models.Detector"])["FacialAreaRegion"] = region
        modeling = modules["deepface.modules.modeling"]

        def build_model(task: str, model_name: str) -> Any:
            built = vars(modeling).setdefault("cached_models", {task: {}})
            if model_name not in built[task]:
                raise ValueError(model_name)
            return built[task][model_name]

        vars(modeling)["build_model"] = build_model
        return modeling

    return install


@pytest.mark.parametrize("fields", [REGION, LATER])
def test_faces_are_regions(stand_in: Callable[[list[str]], ModuleType], fields: list[str]) -> None:
    stand_in(fields)
    face = mtcnn_fast.MTCNN(channel_order="bgr").detect(IMAGE)[0]
    (region,) = Client().detect_faces(IMAGE)
    found = dataclasses.asdict(region)
    assert list(found) == fields
    assert {type(found[name]) for name in "xywh"} == {int}
    assert found["confidence"] == face.score
    # To half a pixel, because whole pixels are given.
    np.testing.assert_allclose([found["x"], found["y"]], face.box[:2], atol=0.51)
    np.testing.assert_allclose([found["x"] + found["w"], found["y"] + found["h"]], face.box[2:], atol=0.51)
    # The left eye of the person is on the right side of the image.
    points = {"left_eye": face.right_eye, "right_eye": face.left_eye, "nose": face.nose}
    points |= {"mouth_left": face.mouth_right, "mouth_right": face.mouth_left}
    for name in points.keys() & set(fields):
        np.testing.assert_allclose(found[name], points[name], atol=0.51)
        assert [type(value) for value in found[name]] == [int, int]
    assert Client().detect_faces(NONE) == []
    assert Client().detect_faces(IMAGE.astype(np.float32)) == [region]


def test_register(stand_in: Callable[[list[str]], ModuleType]) -> None:
    modeling = stand_in(LATER)
    register()
    register("fastmtcnn", min_face_size=300)
    assert len(modeling.build_model("face_detector", "mtcnn_fast").detect_faces(IMAGE)) == 1
    assert modeling.build_model("face_detector", "fastmtcnn").detect_faces(IMAGE) == []
    register("fastmtcnn")
    assert len(modeling.build_model("face_detector", "fastmtcnn").detect_faces(IMAGE)) == 1


def test_what_cannot_be_registered_is_told(
    stand_in: Callable[[list[str]], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    modeling = stand_in(LATER)
    with pytest.raises(TypeError, match="channel_order is given; images of DeepFace are BGR"):
        register(channel_order="rgb")
    with pytest.raises(ValueError, match="min_face_size"):
        register(min_face_size=1)
    with pytest.raises(TypeError, match="name is 3"):
        register(3)  # type: ignore[arg-type]
    assert not hasattr(modeling, "cached_models") or not modeling.cached_models["face_detector"]
    monkeypatch.setattr(modeling, "build_model", lambda task, model_name: object())
    with pytest.raises(RuntimeError, match="this version of deepface does not take other detectors"):
        register()
    monkeypatch.setitem(sys.modules, "deepface.modules.modeling", None)
    with pytest.raises(ImportError, match=r"register needs deepface.modules.modeling .*: pip install deepface"):
        register()


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """deepface.DeepFace, which makes a folder when it is imported."""
    pytest.importorskip("deepface", reason="deepface is not installed")
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of the packages that it imports
        patch.setenv("DEEPFACE_HOME", str(tmp_path_factory.mktemp("deepface")))
        return importlib.import_module("deepface.DeepFace")


@pytest.mark.parametrize("name", ["mtcnn_fast", "mtcnn", "fastmtcnn"])
def test_extract_faces_of_the_package(package: Any, name: str) -> None:
    register(name)
    (found,) = package.extract_faces(str(PATH), detector_backend=name, align=False)
    (region,) = Client().detect_faces(IMAGE)
    assert found["facial_area"].items() <= dataclasses.asdict(region).items()
    assert found["confidence"] == round(region.confidence, 2)
    np.testing.assert_array_equal(
        np.rint(found["face"] * 255),
        IMAGE[region.y : region.y + region.h, region.x : region.x + region.w, ::-1],
    )


def test_the_package_aligns_the_faces(package: Any) -> None:
    register()
    # Turned by an angle at which the detector finds the face; eyes that were exchanged would turn it upside down.
    cv2 = importlib.import_module("cv2")
    turn = cv2.getRotationMatrix2D((225, 120), 15, 1)
    turned = cv2.warpAffine(np.ascontiguousarray(IMAGE), turn, (512, 512))
    (found,) = package.extract_faces(turned, detector_backend="mtcnn_fast", align=True)
    (aligned,) = Client().detect_faces(cv2.resize(np.rint(found["face"][..., ::-1] * 255).astype(np.uint8), (240, 300)))
    assert aligned.left_eye[0] > aligned.right_eye[0]
    assert abs(aligned.left_eye[1] - aligned.right_eye[1]) < 0.1 * (aligned.left_eye[0] - aligned.right_eye[0])


def test_the_package_raises_its_error_without_a_face(package: Any) -> None:
    register()
    with pytest.raises(ValueError, match="Face could not be detected"):
        package.extract_faces(NONE, detector_backend="mtcnn_fast")
    (found,) = package.extract_faces(NONE, detector_backend="mtcnn_fast", enforce_detection=False)
    assert found["confidence"] == 0
