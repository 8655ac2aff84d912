#!/usr/bin/env python3
"""What blurring a video misses, on clips whose truth is known (clips.py, with the paths of tracking.py).

A true face is missed in a frame if less than four fifths of its box, as far as that is in the picture, are in a region
that is hidden. Compared are: this detector in every frame; `LookBack`, as `mtcnn-fast blur` runs it, for each `every`;
and the package deface in its defaults, in a process of its own. Frames per second are of finding and hiding, without
decoding and encoding, by processor time on one thread. The share of the picture that is hidden shows what that costs.

    python bench/blurring.py DATA --deface PYTHON --json blurring.json

PYTHON is an interpreter that has deface. deface takes onnxruntime where it finds that and the package onnx, else
OpenCV.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from clips import Boxes, Frame
from numpy.typing import NDArray
from tracking import add_clip_arguments, chosen_clips
from work import cpu_model

from mtcnn_fast import MTCNN, __version__
from mtcnn_fast.blurring import GAUSSIAN, WIDEN, ellipse, hide, regions
from mtcnn_fast.looking_back import LookBack, SettledFrame

_LEAST_COVERED = 0.8


class Way(Protocol):
    """Hides faces: takes a frame, and gives the rectangles of the ellipses in those frames that are done."""

    seconds: float

    def update(self, image: NDArray[np.uint8]) -> list[Boxes]: ...
    def finish(self) -> list[Boxes]: ...


class EveryFrame:
    """Detection in every frame."""

    def __init__(self, detector: MTCNN) -> None:
        self._detector = detector
        self.seconds = 0.0

    def update(self, image: NDArray[np.uint8]) -> list[Boxes]:
        begin = time.process_time()
        boxes = self._detector.detect(image).boxes.astype(np.float64)
        hide(image, boxes, GAUSSIAN, WIDEN, 0)
        self.seconds += time.process_time() - begin
        return [regions(boxes, WIDEN)]

    def finish(self) -> list[Boxes]:
        return []


class LookingBack:
    """`LookBack`."""

    def __init__(self, detector: MTCNN, every: int) -> None:
        self._look_back: LookBack[None] = LookBack(detector, every=every)
        self.seconds = 0.0

    def update(self, image: NDArray[np.uint8]) -> list[Boxes]:
        return self._timed(lambda: self._look_back.update(None, image))

    def finish(self) -> list[Boxes]:
        return self._timed(self._look_back.finish)

    def _timed(self, step: Callable[[], list[SettledFrame[None]]]) -> list[Boxes]:
        begin = time.process_time()
        settled = step()
        for frame in settled:
            hide(frame.image, frame.boxes, GAUSSIAN, WIDEN, 0)
        self.seconds += time.process_time() - begin
        return [regions(frame.boxes, WIDEN) for frame in settled]


class Deface:
    """The package deface, by an interpreter that has it (deface_worker.py)."""

    def __init__(self, python: Path, stack: ExitStack) -> None:
        command = [str(python), str(Path(__file__).with_name("deface_worker.py"))]
        self._process = stack.enter_context(
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parent)
        )
        self.about = self._answer()["about"]
        self.seconds = 0.0

    def update(self, image: NDArray[np.uint8]) -> list[Boxes]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(image.shape).encode() + b"\n" + image.tobytes())
        self._process.stdin.flush()
        answer = self._answer()
        self.seconds += answer["seconds"]
        return [np.array(answer["regions"], np.float64).reshape(-1, 4)]

    def finish(self) -> list[Boxes]:
        return []

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("the interpreter of --deface has ended; see above")
        return json.loads(line)


@dataclass
class Score:
    """What a way did with a clip."""

    clip: str
    way: str
    frames: int
    true: int
    missed: int
    missed_per_1000_frames: float
    frames_per_second: float
    hidden: float
    """Share of the pixels."""


def covered(truth: Boxes, hidden: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The share of each box, as far as it is in the picture, that is hidden."""
    height, width = hidden.shape
    corners = np.rint(np.clip(truth, 0, (width, height) * 2)).astype(int)
    return np.array([hidden[y1:y2, x1:x2].mean() for x1, y1, x2, y2 in corners])


def measure(clip: str, frames: Iterator[Frame], ways: dict[str, Way]) -> list[Score]:
    """Takes a clip through each way."""
    truth: list[Boxes] = []
    done: dict[str, list[Boxes]] = {name: [] for name in ways}
    shape: tuple[int, ...] = ()
    begins = {name: way.seconds for name, way in ways.items()}
    for frame in frames:
        truth.append(frame.boxes)
        shape = frame.image.shape[:2]
        for name, way in ways.items():
            done[name] += way.update(frame.image.copy())
    scores = []
    for name, way in ways.items():
        done[name] += way.finish()
        missed, hidden_pixels = 0, 0
        for boxes, shown in zip(truth, done[name], strict=True):
            hidden = np.zeros(shape, np.bool_)
            for region in shown:
                rows, columns, inside = ellipse(region, shape)
                hidden[rows, columns] |= inside
            missed += int((covered(boxes, hidden) < _LEAST_COVERED).sum())
            hidden_pixels += int(hidden.sum())
        count = len(truth)
        scores.append(
            Score(
                clip=clip,
                way=name,
                frames=count,
                true=sum(map(len, truth)),
                missed=missed,
                missed_per_1000_frames=1000 * missed / count,
                frames_per_second=count / (way.seconds - begins[name]),
                hidden=hidden_pixels / (count * shape[0] * shape[1]),
            )
        )
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, nargs="+", default=[10], help="frames between searches")
    parser.add_argument("--deface", type=Path, metavar="PYTHON", help="interpreter that has deface (default: left out)")
    add_clip_arguments(parser)
    arguments = parser.parse_args()
    detector = MTCNN(device="cpu", num_threads=1)
    chosen = chosen_clips(parser, arguments, detector)
    about = f"mtcnn_fast {__version__}, {detector.isa}, one thread, min_face_size 20, 640x480, seed {arguments.seed}"
    scores = []
    with ExitStack() as stack:
        deface = None if arguments.deface is None else Deface(arguments.deface, stack)
        print(about if deface is None else f"{about}; {deface.about}")
        print("| clip | way | true faces | missed | missed per 1,000 frames | frames per second | hidden |")
        print("|---|---|---|---|---|---|---|")
        for name, make in chosen:
            ways: dict[str, Way] = {"every frame": EveryFrame(detector)}
            ways |= {f"every {every}": LookingBack(detector, every) for every in arguments.every}
            if deface is not None:
                ways["deface"] = deface
            for score in measure(name, make(), ways):
                scores.append(score)
                print(
                    f"| {name} | {score.way} | {score.true} | {score.missed} | {score.missed_per_1000_frames:.1f} | "
                    f"{score.frames_per_second:.1f} | {100 * score.hidden:.1f} % |",
                    flush=True,
                )
    if arguments.json:
        record = {"about": about, "deface": None if deface is None else deface.about}
        record["processor"] = cpu_model()
        text = json.dumps({**record, "scores": [asdict(score) for score in scores]}, indent=1)
        arguments.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
