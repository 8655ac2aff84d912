"""The same results whatever runs beside: threads, forks, spawned processes, other sizes; and no growing memory."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from conftest import EMULATED
from mtcnn_fast import MTCNN, Detections
from resident import assert_no_growth, needs_statm, resident


def content(faces: Detections) -> bytes:
    return b"".join(array.tobytes() for array in faces.astuple())


@pytest.mark.heavy
def test_eight_threads_share_a_detector(backend: str, face: NDArray[np.uint8]) -> None:
    detector = MTCNN(device=backend, min_face_size=40)
    images = [face, face[:, ::-1], face[10:, 5:], np.ascontiguousarray(face[::-1]), face[..., 1]]
    expected = [content(detector.detect(image)) for image in images]
    assert sum(map(bool, expected)) >= 3

    def work(thread: int) -> int:
        wrong = 0
        for call in range(1000):
            which = (call + thread) % len(images)
            wrong += content(detector.detect(images[which])) != expected[which]
        return wrong

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(work, range(8))) == [0] * 8


@pytest.mark.parametrize("num_threads", [1, 2, 3, 16])
def test_the_number_of_threads_changes_nothing(isa: str, astronaut: NDArray[np.uint8], num_threads: int) -> None:
    many = {"thresholds": (0.3, 0.3, 0.3), "nms_thresholds": (1, 1, 1, 1)}
    expected = MTCNN(device="cpu", num_threads=1, **many).detect(astronaut)
    assert len(expected) > 10
    assert content(MTCNN(device="cpu", num_threads=num_threads, **many).detect(astronaut)) == content(expected)


@pytest.mark.heavy
@pytest.mark.parametrize("group", [1, 2, 7, 60])
def test_grouping_into_batches_changes_nothing(device: str, astronaut: NDArray[np.uint8], group: int) -> None:
    detector = MTCNN(device=device, min_face_size=40)
    random = np.random.default_rng(group)
    corners = random.integers(0, 200, (60, 2))
    images = [astronaut[y : y + 250, x : x + 300] for x, y in corners]
    expected = [content(detector.detect(image)) for image in images]
    found = []
    for start in range(0, 60, group):
        found += detector.detect_batch(images[start : start + group])
    assert [content(faces) for faces in found] == expected


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_detects(astronaut: NDArray[np.uint8]) -> None:
    """On the CPU; test_cuda.py has what a GPU's detector says."""
    detector = MTCNN(device="cpu")
    expected = detector.detect_batch([astronaut] * 4)
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as children:
        jobs = [children.submit(_detect_in_child, detector, astronaut) for _ in range(4)]
        assert [job.result(timeout=60) for job in jobs] == expected
    # The same memory, not a pickled copy of the detector.
    child = os.fork()
    if child == 0:
        os._exit(0 if detector.detect_batch([astronaut] * 4) == expected else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert detector.detect_batch([astronaut] * 4) == expected


def test_a_spawned_process_detects(backend: str, face: NDArray[np.uint8]) -> None:
    detector = MTCNN(device=backend, min_face_size=30, num_threads=1)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as children:
        assert children.submit(detector.detect, face).result(timeout=60) == detector.detect(face)


def test_a_fresh_interpreter_unpickles(detector: MTCNN, face: NDArray[np.uint8]) -> None:
    script = (
        "import pickle, sys; d, i = pickle.load(sys.stdin.buffer); sys.stdout.buffer.write(pickle.dumps(d.detect(i)))"
    )
    run = subprocess.run([sys.executable, "-c", script], input=pickle.dumps((detector, face)), capture_output=True)
    assert run.returncode == 0, run.stderr.decode()
    assert pickle.loads(run.stdout) == detector.detect(face)


def _detect_in_child(detector: MTCNN, image: NDArray[np.uint8]) -> Detections:
    return detector.detect(image)


@needs_statm
@pytest.mark.heavy
def test_memory_does_not_grow(backend: str, astronaut: NDArray[np.uint8]) -> None:
    detector = MTCNN(device=backend, min_face_size=30)
    random = np.random.default_rng(5)

    def growth(calls: int) -> float:
        used = []
        for call, (height, width) in enumerate(random.integers(12, 400, (calls, 2))):
            image = astronaut[:height, :width]
            if call % 10:
                detector.detect(image)
            else:
                detector.detect_batch([image, image.T[0]])
            if call % 100 == 99:
                used.append(resident())
        # The workspaces have met the largest sizes after a few hundred calls.
        half = len(used) // 2
        return max(used[half:]) - max(used[:half])

    assert_no_growth(growth, 2000, 4e6, driver=backend != "cpu" and not EMULATED)


@needs_statm
def test_memory_of_detectors_is_given_back(backend: str) -> None:
    image = np.zeros((30, 30, 3), np.uint8)

    def growth(calls: int) -> float:
        used = []
        for call in range(calls):
            MTCNN(device=backend).detect(image)
            if call % 50 == 49:
                used.append(resident())
        return used[-1] - used[0]

    assert_no_growth(growth, 150, 8e6, driver=backend != "cpu" and not EMULATED)


class FirstCalls:
    """Memory that grows with the first `few` calls only."""

    def __init__(self, few: int) -> None:
        self.left = few

    def __call__(self, calls: int) -> float:
        grown = min(calls, self.left)
        self.left -= grown
        return grown


def test_growth_is_believed_when_twice_the_calls_confirm_it() -> None:
    assert_no_growth(FirstCalls(100), 100, 10, driver=True)
    for growth, driver in ((FirstCalls(100), False), (float, True)):
        with pytest.raises(AssertionError, match="and 10 are allowed"):
            assert_no_growth(growth, 100, 10, driver=driver)
