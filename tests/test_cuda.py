"""What is CUDA's alone: images and results in a GPU's memory, streams, processes, and what is said where there is none.

On a real GPU, or on the emulated one (conftest.py). That the faces are those of the CPU is tested in the other files.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import mtcnn_fast
from conftest import EMULATED
from device_memory import ByDLPack, ByInterface, ByOldDLPack, OnDevice, values
from mtcnn_fast import MTCNN, Detections, DeviceDetections, _core
from resident import assert_no_growth, needs_statm, resident

Image = NDArray[np.uint8]

EXPORTS = [ByInterface, ByDLPack, ByOldDLPack]


@pytest.fixture(scope="module")
def shared() -> dict[str, MTCNN]:
    return {}


@pytest.fixture
def gpu(cuda: str, shared: dict[str, MTCNN]) -> MTCNN:
    """A detector on the GPU that finds the face of `face`; of few levels, for the emulator's sake."""
    return shared.setdefault(cuda, MTCNN(device=cuda, min_face_size=40))


def host(faces: DeviceDetections) -> Detections:
    return Detections(*(values(array, EMULATED) for array in faces.astuple()))


# --- Images in the GPU's memory ---------------------------------------------------------------------------------------

VIEWS = {
    "contiguous": lambda image: image,
    "crop": lambda image: image[7:111, 3:95],
    "upside down": lambda image: image[::-1],
    "turned": lambda image: image[::-1, ::-1],
    "channels reversed": lambda image: image[..., ::-1],
    "transposed": lambda image: image.transpose(1, 0, 2),
    "every second pixel": lambda image: image[::2, ::2],
    "one channel": lambda image: image[..., 1],
    "one channel, kept": lambda image: image[..., 1:2],
    "one row": lambda image: image[5:6],
}


@pytest.mark.parametrize("export", EXPORTS)
@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_images_on_the_device(gpu: MTCNN, face: Image, view: Any, export: type[OnDevice]) -> None:
    base = face.copy()
    seen = view(base)
    assert gpu.detect(export(gpu, seen, base)) == gpu.detect(seen)


@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_channels(cuda: str, face: Image, order: str) -> None:
    detector = MTCNN(device=cuda, min_face_size=40, channel_order=order)
    for image in (face.copy(), np.dstack([face, face[..., :1]])):
        assert detector.detect(ByDLPack(detector, image)) == detector.detect(image)
    assert len(detector.detect(ByDLPack(detector, face[..., :: 1 if order == "rgb" else -1].copy()))) == 1


def test_inspect(gpu: MTCNN, face: Image) -> None:
    found, expected = gpu.inspect(ByDLPack(gpu, face)), gpu.inspect(face)
    assert found["levels"] == expected["levels"]
    assert found["candidates"] == expected["candidates"]


def test_batches_of_both_kinds(gpu: MTCNN, face: Image) -> None:
    images = [face, face[:, ::-1].copy(), face[20:, 10:].copy(), face[:5, :5].copy(), face[..., 0].copy()]
    one_by_one = [gpu.detect(image) for image in images]
    assert [len(faces) for faces in one_by_one[:4]] == [1, 1, 1, 0]
    assert gpu.detect_batch(images) == one_by_one
    mixed = [image if i % 2 else EXPORTS[i % 3](gpu, image) for i, image in enumerate(images)]
    assert gpu.detect_batch(mixed) == one_by_one
    on_cpu = MTCNN(device="cpu", min_face_size=40).detect_batch(images)
    for faces, others in zip(one_by_one, on_cpu, strict=True):
        for array, other in zip(faces.astuple(), others.astuple(), strict=True):
            np.testing.assert_allclose(array, other, atol=1e-3)


@pytest.mark.parametrize("export", EXPORTS)
def test_batches_in_one_array(gpu: MTCNN, face: Image, export: type[OnDevice]) -> None:
    stack = np.stack([face, face[:, ::-1], face[::-1]])
    expected = gpu.detect_batch(stack)
    assert len(expected[0]) == len(expected[1]) == 1
    assert gpu.detect_batch(export(gpu, stack)) == gpu.detect_batch(export(gpu, stack[::-1], stack))[::-1] == expected
    assert gpu.detect_batch(export(gpu, stack[..., :1].copy())) == gpu.detect_batch(stack[..., :1])
    assert gpu.detect_batch(export(gpu, stack[:0])) == []
    with pytest.raises(ValueError, match=r"^images is a uint8 array of shape .*; detect takes one image"):
        gpu.detect_batch(export(gpu, face))
    with pytest.raises(ValueError, match=r"^image 0 .*images\.transpose\(0, 2, 3, 1\)"):
        gpu.detect_batch(export(gpu, stack.transpose(0, 3, 1, 2).copy()))
    with pytest.raises(TypeError, match=r"^image 0 is a float32 array of shape \(120, 100, 3\).*\(images \* 255\)"):
        gpu.detect_batch(export(gpu, stack.astype(np.float32)))
    assert gpu(ByInterface(gpu, stack)) == expected


BAD = [
    (np.zeros((40, 40, 3), np.float32), TypeError, ["float32", "(40, 40, 3)", "cuda:0", "uint8", "* 255"]),
    (np.zeros((3, 40, 40), np.float32), TypeError, ["float32", "transpose(1, 2, 0)"]),
    (np.zeros((40, 40, 3), np.int64), TypeError, ["int64", "uint8"]),
    (np.zeros((3, 40, 40), np.uint8), ValueError, ["(3, 40, 40)", "transpose(1, 2, 0)"]),
    (np.zeros((2, 40, 40, 3), np.uint8), ValueError, ["(2, 40, 40, 3)", "detect_batch"]),
    (np.zeros((40, 40, 2), np.uint8), ValueError, ["(40, 40, 2)"]),
    (np.zeros(40, np.uint8), ValueError, ["(40,)"]),
    (np.zeros((0, 40, 3), np.uint8), ValueError, ["(0, 40, 3)", "zero"]),
]


@pytest.mark.parametrize("export", EXPORTS)
@pytest.mark.parametrize(("array", "error", "words"), BAD)
def test_bad_images(
    gpu: MTCNN, array: NDArray[Any], error: type[Exception], words: list[str], export: type[OnDevice]
) -> None:
    with pytest.raises(error, match=r"^image ") as raised:
        gpu.detect(export(gpu, array))
    assert all(word in str(raised.value) for word in words), raised.value
    with pytest.raises(error, match=r"^image 1 "):
        gpu.detect_batch([np.zeros((20, 20), np.uint8), export(gpu, array)])


def test_repeated_rows_are_refused(gpu: MTCNN, face: Image) -> None:
    row = face[:1].copy()
    with pytest.raises(ValueError, match="image repeats"):
        gpu.detect(ByDLPack(gpu, np.broadcast_to(row, face.shape), row))


def test_memory_of_another_place_is_refused(gpu: MTCNN, face: Image) -> None:
    class Lying(ByInterface):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self.address = self.array.ctypes.data

    with pytest.raises(ValueError, match="image is at an address that is in no GPU's memory"):
        gpu.detect(Lying(gpu, face))

    class Elsewhere(ByDLPack):
        device = (2, 7)

    with pytest.raises(ValueError, match=r"image is .* on cuda:7; wanted it on the detector's device, cuda:0"):
        gpu.detect(Elsewhere(gpu, face))


def test_masks_are_refused(gpu: MTCNN, face: Image) -> None:
    image = ByInterface(gpu, face)
    image.mask = face
    with pytest.raises(ValueError, match="image has a mask"):
        gpu.detect(image)


def test_devices_that_are_not_cudas(detector: MTCNN) -> None:
    with pytest.raises(TypeError, match=r"^image 0 is .* DLPack's type 10; wanted one in the host's memory or"):
        detector.detect_batch([SimpleNamespace(__dlpack_device__=lambda: (10, 0))])


def test_pytorchs_tensors(gpu: MTCNN, face: Image) -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("PyTorch sees no CUDA device")
    expected = gpu.detect(face)
    tensor = torch.from_numpy(face.copy()).cuda()
    planes = tensor.permute(2, 0, 1).contiguous()
    stream = torch.cuda.Stream()
    for image in (tensor, planes.permute(1, 2, 0), tensor.flip(0).flip(0), tensor.cpu(), tensor.cpu().pin_memory()):
        assert gpu.detect(image) == expected
    assert gpu(torch.stack([tensor, tensor])) == gpu.detect_batch([tensor, tensor.cpu()]) == [expected] * 2
    with pytest.raises(ValueError, match=r"in a GPU's memory, and the detector runs on the CPU; .*: image\.cpu\(\)"):
        MTCNN(device="cpu").detect(tensor)
    with pytest.raises(ValueError, match=r"image is a torch.Tensor in a GPU's memory; .*: image\.cpu\(\)"):
        gpu.crop(tensor, expected)
    with pytest.raises(TypeError, match="float32") as raised:
        gpu.detect(planes.float())
    assert "(image.permute(1, 2, 0) * 255).round().to(torch.uint8)" in str(raised.value)
    assert "image.permute(1, 2, 0).round().to(torch.uint8)" in str(raised.value)
    assert gpu.detect(planes.float().permute(1, 2, 0).round().to(torch.uint8)) == expected
    with torch.cuda.stream(stream):
        late = torch.zeros_like(tensor)
        torch.cuda._sleep(100_000_000)  # the values come long after the call has begun
        late.copy_(tensor)
        assert gpu.detect(late) == expected
        assert gpu.detect(late, stream=stream) == expected
    faces = gpu.detect(tensor, output="device")
    for array, other in zip(faces.astuple(), expected.astuple(), strict=True):
        np.testing.assert_array_equal(torch.from_dlpack(array).cpu().numpy(), other)


# --- Streams ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "stream",
    [
        None,
        0,
        1,
        2,
        SimpleNamespace(cuda_stream=1),
        SimpleNamespace(ptr=2),
        SimpleNamespace(__cuda_stream__=lambda: (0, 1)),
        SimpleNamespace(__cuda_stream__=(0, 2)),
    ],
    ids=str,
)
def test_streams(gpu: MTCNN, face: Image, stream: Any) -> None:
    expected = gpu.detect(face)
    image = ByDLPack(gpu, face)
    assert gpu.detect(image, stream=stream) == expected
    # Its producer has the same stream wait; null is what __dlpack__ calls 1.
    assert image.streams[-1] in (1, 2)
    for own in (None, 1, 2):
        other = ByInterface(gpu, face)
        other.stream = own
        assert gpu.detect_batch([other, face], stream=stream) == [expected, expected]


@pytest.mark.parametrize(
    ("stream", "error"),
    [
        ("1", TypeError),
        (1.0, TypeError),
        (True, TypeError),
        (object(), TypeError),
        (-1, ValueError),
        (2**64, ValueError),
    ],
)
def test_bad_streams(detector: MTCNN, face: Image, stream: Any, error: type[Exception]) -> None:
    for call, images in ((detector.detect, face), (detector.detect_batch, [face])):
        with pytest.raises(error, match="stream is"):
            call(images, stream=stream)


def test_stream_zero_of_an_array_is_refused(gpu: MTCNN, face: Image) -> None:
    image = ByInterface(gpu, face)
    image.stream = 0
    with pytest.raises(ValueError, match="image is to be waited for on stream 0"):
        gpu.detect(image)


# --- Results in the GPU's memory --------------------------------------------------------------------------------------


def test_results_on_the_device(gpu: MTCNN, face: Image) -> None:
    nothing = np.zeros((50, 60, 3), np.uint8)
    expected = gpu.detect_batch([face, nothing, face[..., 1]])
    found = gpu.detect_batch([face, nothing, face[..., 1]], output="device")
    assert [host(faces) for faces in found] == expected
    assert [len(faces) for faces in found] == [1, 0, 1]
    one = gpu.detect(ByDLPack(gpu, face), output="device")
    assert host(one) == expected[0]
    assert one.astuple() == (one.boxes, one.scores, one.landmarks)
    assert repr(one) == "<DeviceDetections: 1 face on cuda:0>"
    assert len(gpu.detect(face, max_faces=0, output="device")) == 0
    assert gpu.detect_batch([], output="device") == []


@pytest.mark.parametrize("version", [None, (0, 8), (1, 0), (1, 2)])
def test_results_by_dlpack(gpu: MTCNN, face: Image, version: tuple[int, int] | None) -> None:
    for faces in (gpu.detect(face, output="device"), gpu.detect(face[:5], output="device")):
        n = len(faces)
        for array, shape, strides in zip(
            faces.astuple(), ((n, 4), (n,), (n, 5, 2)), ((4, 1), (1,), (10, 2, 1)), strict=True
        ):
            assert array.__dlpack_device__() == (2, 0)
            assert array.shape == shape
            capsule = array.__dlpack__(stream=1, max_version=version)
            assert ('"dltensor_versioned"' in repr(capsule)) == (version is not None and version[0] == 1)
            address = array.__cuda_array_interface__["data"][0]
            assert _core.read_dlpack(capsule) == (address, shape, strides, (2, 32, 1), (2, 0))
            assert address % 256 == 0
            for refused in ({"copy": True}, {"dl_device": (1, 0)}):
                with pytest.raises(BufferError):
                    array.__dlpack__(**refused)


def test_results_outlive_the_detector(cuda: str, face: Image) -> None:
    detector = MTCNN(device=cuda, min_face_size=40)
    expected = detector.detect(face)
    boxes = detector.detect(face, output="device").boxes
    capsule = detector.detect(face, output="device").landmarks.__dlpack__()
    del detector
    gc.collect()
    np.testing.assert_array_equal(values(boxes, EMULATED), expected.boxes)
    address, shape, *_ = _core.read_dlpack(capsule)
    interface = {"typestr": "<f4", "strides": None, "version": 3, "shape": shape, "data": (address, False)}
    landmarks = SimpleNamespace(__cuda_array_interface__=interface)
    np.testing.assert_array_equal(values(landmarks, EMULATED), expected.landmarks)


def test_bad_outputs(detector: MTCNN, face: Image) -> None:
    for output, error in (("cpu", ValueError), (None, TypeError)):
        with pytest.raises(error, match="output is"):
            detector.detect(face, output=output)  # type: ignore[call-overload]


# --- Detectors on the CPU ---------------------------------------------------------------------------------------------


def test_the_cpu_takes_nothing_of_a_gpus(face: Image) -> None:
    detector = MTCNN(device="cpu")
    interface = {"shape": (20, 20, 3), "typestr": "|u1", "data": (4096, False), "version": 3}
    for image in (
        SimpleNamespace(__cuda_array_interface__=interface),
        SimpleNamespace(__dlpack_device__=lambda: (2, 0)),
    ):
        with pytest.raises(
            ValueError, match=r"^image is a types\.SimpleNamespace in a GPU's memory; wanted one in the"
        ):
            detector.crop(image, np.zeros((0, 4), np.float32))
        with pytest.raises(ValueError, match=r"^images is in a GPU's memory, and the detector runs on the CPU"):
            detector.detect_batch(image)
        with pytest.raises(ValueError, match=r"^image 1 is in a GPU's memory, and the detector runs on the CPU"):
            detector.detect_batch([face, image])
    with pytest.raises(ValueError, match="stream is given, and the detector runs on the CPU"):
        detector.detect(face, stream=1)
    with pytest.raises(ValueError, match="output is 'device', and the detector runs on the CPU"):
        detector.detect(face, output="device")


# --- Several GPUs -----------------------------------------------------------------------------------------------------

CONTEXTS = """
import ctypes, os
import numpy as np
from mtcnn_fast import MTCNN, available_devices
driver = ctypes.CDLL(os.environ["DRIVER"])
def has_context(device):
    flags, active = ctypes.c_uint(), ctypes.c_int()
    assert driver.cuDevicePrimaryCtxGetState(device, ctypes.byref(flags), ctypes.byref(active)) == 0
    return bool(active.value)
detector = MTCNN(device="cuda:1")
assert detector.device == "cuda:1" in available_devices()
found = detector.detect(np.zeros((40, 50, 3), np.uint8), output="device")
assert len(found) == 0 and found.boxes.device == "cuda:1"
del found, detector
assert has_context(1) and not has_context(0)
"""


def test_the_first_gpu_stays_unused(cuda: str) -> None:
    driver = "libcuda.so.1"
    if EMULATED:
        driver = os.environ["MTCNN_FAST_CUDA_LIBRARY"]
    elif len(mtcnn_fast.available_devices()) < 3:
        pytest.skip("there is one GPU")
    environment = {**os.environ, "SIMT_DEVICE_COUNT": "2", "DRIVER": driver}
    run = subprocess.run([sys.executable, "-c", CONTEXTS], env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


# --- Threads, processes, memory ---------------------------------------------------------------------------------------


def test_threads_share_a_detector(gpu: MTCNN, face: Image) -> None:
    images = [face, face[:, ::-1], face[10:, 5:], face[..., 1]]
    expected = [gpu.detect(image) for image in images]
    calls = 2 if EMULATED else 500

    def work(thread: int) -> bool:
        return all(gpu.detect(images[(call + thread) % 4]) == expected[(call + thread) % 4] for call in range(calls))

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(work, range(4)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_is_told_to_spawn(gpu: MTCNN, face: Image) -> None:
    expected = gpu.detect(face)
    left = gpu.detect(face, output="device")
    child = os.fork()
    if child == 0:
        try:
            gpu.detect(face)
        except RuntimeError as error:
            del left
            on_cpu = MTCNN(device="cpu", min_face_size=40).detect(face)
            os._exit(0 if "spawn" in str(error) and len(on_cpu) == 1 else 2)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert gpu.detect(face) == expected == host(left)


def test_a_spawned_worker_makes_its_own(gpu: MTCNN, face: Image) -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as children:
        assert children.submit(gpu.detect, face).result(timeout=120) == gpu.detect(face)


@needs_statm
def test_memory_does_not_grow(gpu: MTCNN, astronaut: Image) -> None:
    """The host's; with the emulator, the device's is part of it."""
    random = np.random.default_rng(5)
    calls, most = (200, 60) if EMULATED else (5000, 400)

    def growth(calls: int) -> float:
        used = []
        for call, (height, width) in enumerate(random.integers(1, most, (calls, 2))):
            image = astronaut[:height, :width].copy()
            output: Any = "device" if call % 2 else "host"
            gpu.detect_batch([image, ByDLPack(gpu, image)], output=output)
            if call % (calls // 20) == 0:
                used.append(resident())
        return max(used[10:]) - max(used[:10])

    assert_no_growth(growth, calls, 4e6, driver=not EMULATED)


# --- Where there is no GPU --------------------------------------------------------------------------------------------

REPORT = """
import mtcnn_fast
from mtcnn_fast import _core
assert mtcnn_fast.available_devices() == ["cpu"]
assert mtcnn_fast.MTCNN().device == "cpu"
try:
    mtcnn_fast.MTCNN(device="cuda")
except RuntimeError as error:
    assert str(error).startswith("device is 'cuda', but "), error
    assert str(error).endswith("; or use device='cpu' or 'auto'"), error
    assert _core.cuda_status() in str(error)
    print(error)
"""


def said_with(**variables: str) -> str:
    run = subprocess.run(
        [sys.executable, "-c", REPORT], env={**os.environ, **variables}, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_without_a_backend(tmp_path: Path) -> None:
    said = said_with(MTCNN_FAST_CUDA_LIBRARY=str(tmp_path / "none.so"))
    assert "this build of mtcnn_fast has no CUDA backend" in said


def test_with_a_backend_that_cannot_be_loaded(tmp_path: Path) -> None:
    (tmp_path / "broken.so").write_text("not a library")
    assert "its CUDA backend cannot be loaded" in said_with(MTCNN_FAST_CUDA_LIBRARY=str(tmp_path / "broken.so"))


@pytest.mark.skipif(not EMULATED, reason="only the emulator can be told to lack something")
@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"SIMT_DRIVER": "0"}, ["no NVIDIA driver", "CUDA 13"]),
        ({"SIMT_DRIVER": "12080"}, ["for CUDA 12.8", "CUDA 13", "update the driver"]),
        ({"SIMT_DEVICE_COUNT": "0"}, ["finds no GPU"]),
    ],
    ids=str,
)
def test_without_a_driver_or_a_device(variables: dict[str, str], words: list[str]) -> None:
    said = said_with(**variables)
    assert all(word in said for word in words), said


def test_an_index_beyond_the_last(cuda: str) -> None:
    count = len(mtcnn_fast.available_devices()) - 1
    with pytest.raises(RuntimeError, match=f"device is 'cuda:{count}', but .*there (is 1 GPU|are {count} GPUs)"):
        MTCNN(device=f"cuda:{count}")
    assert _core.cuda_status() is None


def test_windows_are_the_cpus(cuda: str, face: NDArray[np.uint8]) -> None:
    with pytest.raises(RuntimeError, match="use device='cpu'"):
        MTCNN(device=cuda).windows(face)
