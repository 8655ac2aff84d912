"""The detector's options, methods and life: making, pickling, batches."""

from __future__ import annotations

import functools
import inspect
import os
import pickle
import re
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import load_file, save_file

import mtcnn_fast
from mtcnn_fast import MTCNN

EMBEDDED = Path(__file__).parents[1] / "src" / "weights" / "mtcnn.safetensors"
NAN = float("nan")


@pytest.fixture(scope="module")
def tensors() -> dict[str, NDArray[np.float32]]:
    return load_file(EMBEDDED)


def test_finds_the_face(device: str, astronaut: NDArray[np.uint8]) -> None:
    detector = MTCNN(device=device)
    assert detector.device == device
    faces = detector.detect(astronaut)
    assert len(faces) == 1
    np.testing.assert_allclose(faces[0].box, [178.8, 59.3, 267.6, 174.4], atol=0.1)
    eyes_nose_mouth = [[203.9, 100.8], [246.5, 102.9], [224.5, 129.0], [201.7, 139.7], [245.0, 141.7]]
    np.testing.assert_allclose(faces[0].landmarks, eyes_nose_mouth, atol=0.1)
    assert 0.99 < faces[0].score <= 1


def test_runs_the_instruction_set_asked_for(isa: str) -> None:
    assert MTCNN(device="cpu").isa == isa
    assert f"cpu ({isa})" in repr(MTCNN(device="cpu"))


def test_says_what_it_is() -> None:
    detector = MTCNN(device="cpu", num_threads=1, profile="mtcnn")
    assert detector.device == "cpu"
    assert detector.isa in mtcnn_fast.available_isas()
    assert detector.device_name == ""
    assert detector.precision == "fp32"
    assert detector.num_threads == 1
    assert "cpu" in repr(detector)
    assert "profile='mtcnn'" in repr(detector)
    devices = mtcnn_fast.available_devices()
    assert devices == ["cpu", *(f"cuda:{i}" for i in range(len(devices) - 1))]
    assert MTCNN().device == devices[:2][-1]
    assert MTCNN(device="cpu").num_threads >= 1
    with pytest.raises(AttributeError):
        detector.device = "cuda"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("option", "error"),
    [
        ({"min_face_size": 3.9}, ValueError),
        ({"min_face_size": NAN}, ValueError),
        ({"min_face_size": float("inf")}, ValueError),
        ({"min_face_size": 10**400}, ValueError),
        ({"min_face_size": "20"}, TypeError),
        ({"min_face_size": None}, TypeError),
        ({"min_face_size": True}, TypeError),
        ({"min_face_size": np.array([20])}, TypeError),
        ({"max_face_size": NAN}, ValueError),
        ({"max_face_size": -1}, ValueError),
        ({"max_face_size": "big"}, TypeError),
        ({"scale_factor": 0}, ValueError),
        ({"scale_factor": 1}, ValueError),
        ({"scale_factor": 0.991}, ValueError),
        ({"scale_factor": -0.5}, ValueError),
        ({"scale_factor": NAN}, ValueError),
        ({"scale_factor": 1j}, TypeError),
        ({"thresholds": 0.6}, TypeError),
        ({"thresholds": (0.6, 0.7)}, ValueError),
        ({"thresholds": (0.6, 0.7, 0.7, 0.7)}, ValueError),
        ({"thresholds": (0.6, 0.7, 1.1)}, ValueError),
        ({"thresholds": (-0.1, 0.7, 0.7)}, ValueError),
        ({"thresholds": (0.6, NAN, 0.7)}, ValueError),
        ({"thresholds": (0.6, "0.7", 0.7)}, TypeError),
        ({"thresholds": (0.6, None, 0.7)}, TypeError),
        ({"thresholds": (0.6, True, 0.7)}, TypeError),
        ({"thresholds": "abc"}, TypeError),
        ({"nms_thresholds": (0.5, 0.7, 0.7)}, ValueError),
        ({"nms_thresholds": (0.5, 0.7, 0.7, NAN)}, ValueError),
        ({"nms_thresholds": (0.5, 0.7, 0.7, 2)}, ValueError),
        ({"nms_thresholds": {0.5, 0.7, 0.8, 0.9}}, TypeError),
        ({"device": "gpu"}, ValueError),
        ({"device": "cuda:x"}, ValueError),
        ({"device": "cuda:"}, ValueError),
        ({"device": "cuda:-1"}, ValueError),
        ({"device": ""}, ValueError),
        ({"device": 0}, TypeError),
        ({"device": None}, TypeError),
        ({"device": "cuda:9"}, RuntimeError),
        ({"device": "cuda:99999999999999999999"}, RuntimeError),
        ({"channel_order": "RGB"}, ValueError),
        ({"channel_order": "brg"}, ValueError),
        ({"channel_order": None}, TypeError),
        ({"profile": "opencv"}, ValueError),
        ({"profile": None}, TypeError),
        ({"precision": "fp64"}, ValueError),
        ({"precision": 32}, TypeError),
        ({"landmarks": "mirror"}, ValueError),
        ({"landmarks": None}, TypeError),
        ({"num_threads": 0}, ValueError),
        ({"num_threads": -1}, ValueError),
        ({"num_threads": 2**40}, ValueError),
        ({"num_threads": 2.0}, TypeError),
        ({"num_threads": "2"}, TypeError),
        ({"num_threads": True}, TypeError),
        ({"weights": 7}, TypeError),
        ({"weights": b"abc"}, TypeError),
        ({"weights": {}}, ValueError),
        ({"weights": {1: np.zeros(1, np.float32)}}, TypeError),
        ({"weights": {"pnet.conv1.weight": [1.0]}}, TypeError),
        ({"weights": {"pnet.conv1.weight": np.zeros(1)}}, TypeError),
    ],
    ids=str,
)
def test_bad_options(option: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error) as raised:
        MTCNN(**{"device": "cpu", **option})
    # The message names the option, save where it is about what is not there.
    assert next(iter(option)) in str(raised.value) or error is RuntimeError
    if error is RuntimeError:
        assert re.search("CUDA|GPU", str(raised.value))


def test_options_go_by_keyword() -> None:
    with pytest.raises(TypeError):
        MTCNN(20)  # type: ignore[misc]
    with pytest.raises(TypeError):
        MTCNN(min_size=20)  # type: ignore[call-arg]


def test_numbers_of_numpy_are_numbers() -> None:
    options: dict[str, Any] = {"min_face_size": np.int32(24), "thresholds": np.float32([0.5, 0.6, 0.7])}
    MTCNN(device="cpu", **options, scale_factor=np.float64(0.8), num_threads=np.int64(1))


def test_threads_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTCNN_FAST_NUM_THREADS", "1")
    assert MTCNN(device="cpu").num_threads == 1
    for value in ("0", "many", "1.5"):
        monkeypatch.setenv("MTCNN_FAST_NUM_THREADS", value)
        with pytest.raises(ValueError, match="MTCNN_FAST_NUM_THREADS"):
            MTCNN(device="cpu")


def test_instruction_set_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTCNN_FAST_ISA", "mmx")
    with pytest.raises(ValueError, match="mmx") as raised:
        MTCNN(device="cpu")
    assert all(isa in str(raised.value) for isa in mtcnn_fast.available_isas())


@pytest.mark.heavy
def test_options_matter(backend: str, astronaut: NDArray[np.uint8]) -> None:
    make = functools.partial(MTCNN, device=backend)
    assert len(make(min_face_size=300).detect(astronaut)) == 0
    assert len(make(max_face_size=40).detect(astronaut)) == 0
    assert len(make(thresholds=(0.1, 0.1, 0.1)).detect(astronaut)) > 1
    levels = [len(make(scale_factor=factor).inspect(astronaut)["levels"]) for factor in (0.5, 0.709, 0.9)]
    assert levels == sorted(set(levels))


@pytest.mark.heavy
def test_max_faces_and_clip(backend: str, astronaut: NDArray[np.uint8]) -> None:
    detector = MTCNN(device=backend, thresholds=(0.1, 0.1, 0.1), nms_thresholds=(1, 1, 1, 1))
    image = np.ascontiguousarray(astronaut[70:200, 190:300])
    faces = detector.detect(image)
    assert len(faces) > 2
    assert np.all(np.diff(faces.scores) <= 0)
    for max_faces in (0, 1, 2, len(faces), 10**9):
        assert detector.detect(image, max_faces=max_faces) == faces[:max_faces]
    assert faces.boxes.min() < 0
    height, width = image.shape[:2]
    clipped = detector.detect(image, clip=True)
    np.testing.assert_array_equal(clipped.boxes, np.clip(faces.boxes, 0, np.float32([width, height, width, height])))
    np.testing.assert_array_equal(clipped.landmarks, faces.landmarks)


def test_options_of_a_call_go_by_keyword(detector: MTCNN, face: NDArray[np.uint8]) -> None:
    for call, image in ((detector.detect, face), (detector.detect_batch, [face])):
        with pytest.raises(TypeError, match="positional"):
            call(image, 1)
        names = list(inspect.signature(call).parameters)
        assert set(names) - {"progress"} == {names[0], "max_faces", "clip", "stream", "part", "output"}


def test_call(detector: MTCNN, face: NDArray[np.uint8]) -> None:
    expected = detector.detect(face)
    assert detector(face) == detector(image=face) == expected
    assert detector(Image.fromarray(face)) == expected
    assert detector([face, face]) == detector((face, face)) == detector(np.stack([face, face])) == [expected] * 2
    assert detector([]) == []
    assert detector(face, max_faces=0) == expected[:0]
    assert detector([face], max_faces=0, clip=True, progress=False) == [expected[:0]]
    with pytest.raises(TypeError, match="progress"):
        detector(face, progress=True)
    for bad, words in (
        (None, "image is None"),
        (face.astype(np.float32), "image is a float32"),
        ([None], "image 0 is None"),
        (np.zeros((1, 3, 40, 40), np.uint8), "image 0 has shape"),
    ):
        with pytest.raises((TypeError, ValueError), match=words):
            detector(bad)


@pytest.mark.parametrize(
    ("selection", "error"),
    [
        ({"max_faces": -1}, ValueError),
        ({"max_faces": 2**70}, ValueError),
        ({"max_faces": 1.0}, TypeError),
        ({"max_faces": True}, TypeError),
        ({"max_faces": "1"}, TypeError),
        ({"clip": 1}, TypeError),
        ({"clip": None}, TypeError),
        ({"part": None}, TypeError),
        ({"part": 1}, TypeError),
        ({"part": "01"}, TypeError),
        ({"part": (0, 1.0)}, TypeError),
        ({"part": (False, 2)}, TypeError),
        ({"part": (0, 1, 2)}, ValueError),
        ({"part": (0, 0)}, ValueError),
        ({"part": (-1, 2)}, ValueError),
        ({"part": (2, 2)}, ValueError),
        ({"part": (0, 2**40)}, ValueError),
    ],
)
def test_bad_selections(
    detector: MTCNN, face: NDArray[np.uint8], selection: dict[str, Any], error: type[Exception]
) -> None:
    for call, image in ((detector.detect, face), (detector.detect_batch, []), (detector.detect_batch, [face])):
        with pytest.raises(error, match=next(iter(selection))):
            call(image, **selection)


@pytest.mark.heavy
def test_batches(detector: MTCNN, astronaut: NDArray[np.uint8], face: NDArray[np.uint8]) -> None:
    images = [face, astronaut, face[:5, :5], face[..., 0], astronaut[::3, ::2], np.zeros((30, 40, 3), np.uint8)] * 6
    expected = [detector.detect(image) for image in images]
    assert [len(faces) for faces in expected[:3]] == [1, 1, 0]
    assert detector.detect_batch(images) == expected
    assert detector.detect_batch(tuple(images[::-1])) == expected[::-1]
    stack = np.stack([face, face[::-1], face[:, ::-1]])
    assert detector.detect_batch(stack) == [detector.detect(image) for image in stack]
    assert detector.detect_batch([]) == []
    assert detector.detect_batch(stack[:0]) == []
    best = detector.detect_batch(images, max_faces=0)
    assert best == [faces[:0] for faces in expected]


@pytest.mark.heavy
def test_progress(detector: MTCNN, face: NDArray[np.uint8], capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tqdm")
    images = [face] * 40
    expected = detector.detect_batch(images)
    assert capsys.readouterr() == ("", "")
    assert detector.detect_batch(images, progress=True) == expected
    out, err = capsys.readouterr()
    assert out == ""
    assert "40/40" in err


def test_progress_without_tqdm(detector: MTCNN, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert detector.detect_batch([]) == []
    with pytest.raises(ImportError, match=r'pip install "mtcnn_fast\[cli\]"'):
        detector.detect_batch([], progress=True)


def test_inspect(detector: MTCNN, astronaut: NDArray[np.uint8]) -> None:
    report = detector.inspect(astronaut)
    assert list(report) == ["levels", "candidates", "confirmed", "milliseconds"]
    assert list(report["candidates"]) == ["cells", "rnet", "onet", "faces"]
    assert list(report["milliseconds"]) == ["pnet", "nms", "rnet", "onet", "total"]
    assert all(milliseconds >= 0 for milliseconds in report["milliseconds"].values())
    first = report["levels"][0]
    assert list(first) == ["scale", "height", "width", "windows", "candidates", "after_nms"]
    assert first["scale"] == 12 / 20
    assert (first["height"], first["width"], first["windows"]) == (308, 308, 149**2)
    for level in report["levels"]:
        assert level["windows"] >= level["candidates"] >= level["after_nms"]
    counts = report["candidates"]
    assert counts["cells"] == sum(level["candidates"] for level in report["levels"])
    assert counts["cells"] >= counts["rnet"] >= counts["onet"] >= counts["faces"] == 1
    nothing = detector.inspect(astronaut[:5, :5])
    assert nothing["levels"] == []
    assert nothing["candidates"] == {"cells": 0, "rnet": 0, "onet": 0, "faces": 0}


@pytest.mark.parametrize(
    "options", [{}, {"channel_order": "bgr", "min_face_size": 30, "profile": "mtcnn", "num_threads": 1}]
)
def test_pickling(backend: str, options: dict[str, Any], face: NDArray[np.uint8]) -> None:
    detector = MTCNN(device=backend, **options)
    again = pickle.loads(pickle.dumps(detector))
    assert (again.device, repr(again)) == (backend, repr(detector))
    assert again.detect(face) == detector.detect(face)


def test_weights_of_a_file(
    tmp_path: Path, backend: str, face: NDArray[np.uint8], tensors: dict[str, NDArray[np.float32]]
) -> None:
    make = functools.partial(MTCNN, device=backend)
    path = tmp_path / "wéights.safetensors"
    save_file(tensors, path)
    expected = make().detect(face)
    for weights in (path, str(path), tensors):
        assert make(weights=weights).detect(face) == expected
    tensors = dict(tensors)
    tensors["onet.box.bias"] = tensors["onet.box.bias"] + np.float32(0.1)
    save_file(tensors, path)
    changed = make(weights=path)
    assert changed.detect(face) != expected
    path.unlink()
    assert pickle.loads(pickle.dumps(changed)).detect(face) == changed.detect(face)


def test_weights_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, face: NDArray[np.uint8], tensors: dict[str, NDArray[np.float32]]
) -> None:
    monkeypatch.chdir(tmp_path)
    tensors = {**tensors, "onet.box.bias": tensors["onet.box.bias"] + np.float32(0.1)}
    save_file(tensors, "2016")
    named, by_default = (MTCNN(device="cpu", weights=weights) for weights in ("2016", None))
    assert named.options == by_default.options
    assert named.detect(face) == by_default.detect(face)
    for path in ("./2016", Path("2016")):
        assert MTCNN(device="cpu", weights=path).detect(face) != by_default.detect(face)
    with pytest.raises(FileNotFoundError, match="no such set of networks; this package has '2016': '2026'"):
        MTCNN(device="cpu", weights="2026")


def test_weights_do_not_follow_the_arrays_given(backend: str, tensors: dict[str, NDArray[np.float32]]) -> None:
    weights = {name: tensor.copy() for name, tensor in tensors.items()}
    detector = MTCNN(device=backend, weights=weights)
    weights["onet.box.bias"][:] = 7
    again = pickle.loads(pickle.dumps(detector))
    image = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    assert again.detect(image) == detector.detect(image)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda t: t.pop("rnet.fc.bias"), "rnet.fc.bias"),
        (lambda t: t.update({"rnet.extra": np.zeros(3, np.float32)}), "rnet.extra"),
        (lambda t: t.update({"pnet.conv1.weight": t["pnet.conv1.weight"][:5]}), "pnet.conv1.weight"),
        (lambda t: t.update({"pnet.conv1.weight": t["pnet.conv1.weight"].ravel()}), "pnet.conv1.weight"),
        (lambda t: t["onet.fc.weight"].__setitem__((3, 4), NAN), "onet.fc.weight"),
        (lambda t: t["onet.box.bias"].__setitem__(0, np.inf), "onet.box.bias"),
        (lambda t: t.update({"pnet.face.bias": t["pnet.face.bias"].astype(np.float64)}), "pnet.face.bias"),
        (lambda t: t.update({"pnet.face.bias": t["pnet.face.bias"].astype(np.float16)}), "pnet.face.bias"),
    ],
)
def test_bad_weights(tmp_path: Path, tensors: dict[str, NDArray[np.float32]], change: Any, named: str) -> None:
    weights = {name: tensor.copy() for name, tensor in tensors.items()}
    change(weights)
    save_file(weights, tmp_path / "weights.safetensors")
    with pytest.raises(ValueError, match=named.replace(".", r"\.")):
        MTCNN(device="cpu", weights=tmp_path / "weights.safetensors")


HEADER = b'{"pnet.conv1.weight":{"dtype":"F32","shape":[10,3,3,3],"data_offsets":[0,1080]}}'


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00" * 7,
        b"\x00" * 8,
        b"\xff" * 100,
        b"PK\x03\x04 not safetensors at all",
        (2**40).to_bytes(8, "little") + b"{}",
        (2**63).to_bytes(8, "little") + b"{}",
        len(HEADER).to_bytes(8, "little") + HEADER,
        len(HEADER).to_bytes(8, "little") + HEADER[:-5],
        len(HEADER).to_bytes(8, "little") + HEADER + b"\x00" * 1000,
        len(HEADER).to_bytes(8, "little") + HEADER + b"\x00" * 2000,
        len(HEADER).to_bytes(8, "little") + HEADER.replace(b"1080", b"9999") + b"\x00" * 1080,
        len(HEADER).to_bytes(8, "little") + HEADER.replace(b"[10,", b"[99,") + b"\x00" * 1080,
        len(HEADER).to_bytes(8, "little") + HEADER.replace(b"F32", b"X32") + b"\x00" * 1080,
        (len(HEADER) + 1).to_bytes(8, "little")
        + HEADER.replace(b"F32", b"BF16").replace(b"1080", b"0540")
        + b"\x00" * 540,
        b"\x02" + b"\x00" * 7 + b"{}",
        b"\x02" + b"\x00" * 7 + b"[]",
    ],
)
def test_hostile_weight_files(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "hostile.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"hostile\.safetensors|pnet"):
        MTCNN(device="cpu", weights=path)


@pytest.mark.parametrize("share", [0.0001, 0.1, 0.5, 0.999999])
def test_truncated_weight_files(tmp_path: Path, share: float) -> None:
    content = EMBEDDED.read_bytes()
    path = tmp_path / "short.safetensors"
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ValueError, match=r"short\.safetensors"):
        MTCNN(device="cpu", weights=path)


def test_weight_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors"):
        MTCNN(device="cpu", weights=tmp_path / "none.safetensors")
    with pytest.raises(OSError, match=tmp_path.name):
        MTCNN(device="cpu", weights=tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="no signals to send to oneself")
@pytest.mark.heavy
def test_an_interrupt_does_no_harm(detector: MTCNN, astronaut: NDArray[np.uint8]) -> None:
    expected = detector.detect(astronaut)
    images = [astronaut] * 20_000
    timer = threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        detector.detect_batch(images)
    timer.join()
    assert detector.detect_batch([astronaut] * 3) == [expected] * 3
