#!/usr/bin/env python3
"""The tracker beside detection in every frame, on clips whose truth is known (clips.py).

For each clip and each way: the share of the true faces that is shown; the share of shown faces that the detector finds
in that frame or that are true; how often the id of a true face that stays in the picture changes; the frames from the
detector's first sight of a face to the first that is shown; how much boxes tremble (the median distance, in thousandths
of a side, that a box moves against the truth from a frame to the next); and the processor time, of that of detection in
every frame, with its 50, 95 and 100 % points over the frames. The ways take turns at each frame. A way searches each
N-th frame as a whole, or spreads the search over N frames.

    python bench/tracking.py DATA --json tracking.json

In the environment of contestants (bench/README.md), --facenet-pytorch also times facenet-pytorch, one frame of ten,
in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from clips import Frame, crossings, pans
from numpy.typing import NDArray
from photographs import DATA, load, pairs
from work import Work, cpu_model
from workers import Worker

from mtcnn_fast import MTCNN, Detections, Tracker, Tracks, __version__, read

_LEAST_IOU = 0.5
_MIN_FACE_SIZE = 20
# Of every so many frames, other packages get one.
_SAMPLED = 10
# Of the work per frame.
_POINTS = (50, 95, 100)


@dataclass(frozen=True)
class Way:
    """How a tracker searches."""

    every: int
    spread: bool

    def __str__(self) -> str:
        return f"{'spread over' if self.spread else 'every'} {self.every}"


@dataclass
class Score:
    """The measures of one clip and one way. Shares are of 1."""

    clip: str
    every: int
    spread: bool
    true: int
    shown: float
    detected: float
    precision: float
    changes: int
    late: float
    tremble: float
    work: float
    work_points: list[float]
    """Those of `_POINTS`."""
    milliseconds: float
    detector_milliseconds: float
    """Of a search of the whole frame."""


@dataclass
class Counts:
    """What is counted over the frames of a clip."""

    true: int = 0
    detected: int = 0
    seen: int = 0
    shown: int = 0
    right: int = 0
    changes: int = 0
    seconds: list[float] = field(default_factory=list)
    detector_seconds: list[float] = field(default_factory=list)
    last_id: dict[int, int] = field(default_factory=dict)
    first_seen: dict[int, int] = field(default_factory=dict)
    first_detected: dict[int, int] = field(default_factory=dict)
    errors: dict[int, dict[int, NDArray[np.float64]]] = field(default_factory=lambda: defaultdict(dict))

    def add(self, time: int, frame: Frame, found: Detections, tracks: Tracks) -> None:
        """Counts a frame."""
        truth = frame.boxes.astype(np.float32)
        # Who has left the picture comes back as somebody new.
        self.last_id = {who: number for who, number in self.last_id.items() if who in frame.ids}
        by_detector = set(pairs(tracks.boxes, tracks.scores, found.boxes, _LEAST_IOU)[0].tolist())
        mine, faces = pairs(tracks.boxes, tracks.scores, truth, _LEAST_IOU)
        self.true += len(truth)
        self.seen += len(faces)
        self.shown += len(tracks)
        self.right += len(by_detector | set(mine.tolist()))
        for who in frame.ids[pairs(found.boxes, found.scores, truth, _LEAST_IOU)[1]].tolist():
            self.detected += 1
            self.first_detected.setdefault(who, time)
        for track, face in zip(mine.tolist(), faces.tolist(), strict=True):
            who, number = int(frame.ids[face]), int(tracks.ids[track])
            self.changes += self.last_id.get(who, number) != number
            self.last_id[who] = number
            self.first_seen.setdefault(who, time)
            box, true_box = tracks.boxes[track].astype(np.float64), frame.boxes[face]
            middle = (box[:2] + box[2:] - true_box[:2] - true_box[2:]) / 2
            self.errors[who][time] = middle / (true_box[2] - true_box[0])

    def score(self, clip: str, way: Way) -> Score:
        """The measures."""
        late = [self.first_seen[who] - at for who, at in self.first_detected.items() if who in self.first_seen]
        steps = [
            float(np.hypot(*(errors[time] - errors[time - 1])))
            for errors in self.errors.values()
            for time in errors
            if time - 1 in errors
        ]
        return Score(
            clip=clip,
            every=way.every,
            spread=way.spread,
            true=self.true,
            shown=self.seen / max(1, self.true),
            detected=self.detected / max(1, self.true),
            precision=self.right / max(1, self.shown),
            changes=self.changes,
            late=float(np.mean(late or [0])),
            tremble=1000 * float(np.median(steps or [0])),
            work=sum(self.seconds) / sum(self.detector_seconds),
            work_points=(np.percentile(self.seconds, _POINTS) / np.mean(self.detector_seconds)).tolist(),
            milliseconds=1000 * float(np.mean(self.seconds)),
            detector_milliseconds=1000 * float(np.mean(self.detector_seconds)),
        )


class Other:
    """Another package's detector, in a process of its own."""

    def __init__(self, worker: Worker, folder: Path) -> None:
        self._worker, self._folder = worker, folder
        self.milliseconds: list[float] = []

    def take(self, image: NDArray[np.uint8]) -> None:
        """Times a search of the image."""
        path = self._folder / f"{len(self.milliseconds)}.npy"  # a new one, because the worker reads a file once
        np.save(path, image)
        answer = self._worker.ask(path, _MIN_FACE_SIZE, Work((), 0, 0))
        path.unlink()
        self.milliseconds.append(answer["processor_milliseconds"])


def measure(
    clip: str, frames: Iterator[Frame], detector: MTCNN, ways: Sequence[Way], other: Other | None = None
) -> list[Score]:
    """Takes a clip through a tracker per way."""
    trackers = {way: Tracker(detector, every=way.every, spread=way.spread) for way in ways}
    counts = {way: Counts() for way in ways}
    for number, frame in enumerate(frames):
        begin = time.process_time()
        found = detector.detect(frame.image)
        detected = time.process_time() - begin
        for way, tracker in trackers.items():
            begin = time.process_time()
            tracks = tracker.update(frame.image)
            counts[way].seconds.append(time.process_time() - begin)
            counts[way].detector_seconds.append(detected)
            counts[way].add(number, frame, found, tracks)
        if other is not None and number % _SAMPLED == 0:
            other.take(frame.image)
    return [count.score(clip, way) for way, count in counts.items()]


def clips(data: Path, detector: MTCNN, frames: int, seed: int) -> dict[str, Callable[[], Iterator[Frame]]]:
    """Six kinds of clips, by name. Other seeds give other photographs, where there are others, and other paths."""
    photos = sorted(data.joinpath("photos").glob("*.jpg"))
    counts = {path: len(detector.detect(read(path)).above(0.9)) for path in photos}
    groups = [path for path in photos if counts[path] >= 4]
    portraits = [path for path in photos if counts[path] == 1]
    wider = [Path(each.path) for each in load(data, "wider_val_416") if len(each.boxes) >= 3]
    random = np.random.default_rng(seed)
    group, background, *_ = random.permutation(np.array(groups, object))
    crowd = max(groups, key=lambda path: counts[path])
    three = list(random.choice(np.array(groups, object), 3, replace=False))
    others = [path for path in random.permutation(np.array(wider, object)) if _has_faces(path, detector)][:3]
    return {
        "group": lambda: pans([group], detector, seed, frames),
        "cuts": lambda: pans(three, detector, seed + 1, frames),
        "fast pan": lambda: pans([group], detector, seed + 2, frames, move=12),
        "crowd": lambda: pans([crowd], detector, seed + 3, frames, side=34),
        "WIDER FACE": lambda: pans(others, detector, seed + 4, frames),
        "crossings": lambda: crossings(background, portraits, detector, seed + 5, frames),
    }


def _has_faces(path: Path, detector: MTCNN) -> bool:
    return len(detector.detect(read(path)).above(0.9)) > 0


def add_clip_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what says which clips are made, and where the numbers go."""
    parser.add_argument("data", type=Path, nargs="?", default=DATA, help="folder of the photographs")
    parser.add_argument("--frames", type=int, default=300, help="per clip (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the clips (%(default)s)")
    parser.add_argument("--clips", nargs="+", metavar="NAME", help="clips to take (all)")
    parser.add_argument("--json", type=Path, help="file to write the numbers to")


def chosen_clips(
    parser: argparse.ArgumentParser, arguments: argparse.Namespace, detector: MTCNN
) -> list[tuple[str, Callable[[], Iterator[Frame]]]]:
    """The clips that the arguments ask for, with their names. A name that no clip has ends the program."""
    made = clips(arguments.data, detector, arguments.frames, arguments.seed)
    chosen = list(made) if arguments.clips is None else arguments.clips
    if unknown := [name for name in chosen if name not in made]:
        parser.error(f"there is no clip {unknown[0]!r}; wanted some of {list(made)}")
    return [(name, made[name]) for name in chosen]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, nargs="*", default=[1, 5, 10, 20], help="frames between searches")
    parser.add_argument("--spread", type=int, nargs="*", default=[10], help="frames that a search is spread over")
    parser.add_argument("--facenet-pytorch", action="store_true", help="also time facenet-pytorch")
    add_clip_arguments(parser)
    arguments = parser.parse_args()
    ways = [*(Way(every, False) for every in arguments.every), *(Way(every, True) for every in arguments.spread)]
    detector = MTCNN(device="cpu", min_face_size=_MIN_FACE_SIZE, num_threads=1)
    chosen = chosen_clips(parser, arguments, detector)
    print(
        f"mtcnn_fast {__version__}, {detector.isa}, one thread, min_face_size {_MIN_FACE_SIZE}, 640x480, "
        f"seed {arguments.seed}"
    )
    points = "/".join(map(str, _POINTS))
    print(
        "| clip | way | true faces | shown | of the detector | precision | changes | late | tremble | work | "
        f"work, {points} % | ms | detector's ms |"
    )
    print("|---" * 13 + "|")
    scores, others = [], {}
    with (
        TemporaryDirectory() as folder,
        closing(Worker("facenet-pytorch", 1)) if arguments.facenet_pytorch else nullcontext() as worker,
    ):
        other = None if worker is None else Other(worker, Path(folder))
        for name, make in chosen:
            timed = 0 if other is None else len(other.milliseconds)
            for score in measure(name, make(), detector, ways, other):
                scores.append(score)
                work = "/".join(f"{point:.2f}" for point in score.work_points)
                print(
                    f"| {name} | {Way(score.every, score.spread)} | {score.true} | {score.shown:.3f} | "
                    f"{score.detected:.3f} | {score.precision:.3f} | {score.changes} | {score.late:.1f} | "
                    f"{score.tremble:.0f} | {score.work:.3f} | {work} | {score.milliseconds:.2f} | "
                    f"{score.detector_milliseconds:.2f} |",
                    flush=True,
                )
            if other is not None:
                others[name] = float(np.mean(other.milliseconds[timed:]))
                print(f"{name}: facenet-pytorch takes {others[name]:.1f} ms per frame", flush=True)
    if arguments.json:
        about = {"version": __version__, "isa": detector.isa, "processor": cpu_model(), "seed": arguments.seed}
        record = {**about, "facenet_pytorch_milliseconds": others, "scores": [asdict(score) for score in scores]}
        arguments.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
