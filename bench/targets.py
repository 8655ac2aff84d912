"""The targets of mtcnn_fast. bench/compare.py and bench/load.py judge their measurements by them.

This table is the only place of these numbers. bench/gpu_speed.py has those of GPUs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from contestants import FAST, OWN
from work import vectors

# With what a time is compared, beside other contestants of bench/compare.py.
FLOOR = "floor"
ONE_THREAD = "one thread"

HD, FULL_HD = 1280 * 720, 1920 * 1080  # pixels of a frame

# Seconds of the import beyond NumPy's.
IMPORT_SECONDS = 0.1
# Peak resident memory beyond the interpreter's and NumPy's: so many times the image, and megabytes.
MEMORY_IMAGES, MEMORY_MB = 3, 32
# Beside so many busy programs, a detector on all processors is at most so many times slower.
BUSY, BUSY_TIMES_SLOWER = 2, 2.5


@dataclass(frozen=True)
class Target:
    """A bound of a ratio, for the rows and settings of mtcnn_fast to which it applies.

    beside: FLOOR: the time is at most `wanted` floors. Else mtcnn_fast is at least `wanted` times as fast as this
    contestant, or, with ONE_THREAD, as itself on one thread.
    """

    beside: str
    wanted: float
    isa: str | None = None  # the instruction set of the setting; None: any
    setting: str | None = None  # the contestant; None: every setting of mtcnn_fast
    min_face_size: float | None = None
    threads: int = 1
    least_pixels: int = 0
    most_pixels: float = float("inf")

    def applies(self, row: Mapping[str, Any], setting: str, isa: str) -> bool:
        return (
            row["threads"] == self.threads
            and self.least_pixels <= round(row["megapixels"] * 1e6) <= self.most_pixels
            and self.min_face_size in (None, row["min_face_size"])
            and self.isa in (None, isa)
            and self.setting in (None, setting)
        )

    def holds(self, measured: float) -> bool:
        return measured <= self.wanted if self.beside == FLOOR else measured >= self.wanted

    def text(self) -> str:
        return f"at {'most' if self.beside == FLOOR else 'least'} {self.wanted:g}"


# amx in fp32, sse2 and neon have no figure of floors: they are compared with the results published last.
TARGETS = (
    Target(FLOOR, 0.85, "avx2", min_face_size=20, most_pixels=FULL_HD),
    Target(FLOOR, 1.0, "avx2", min_face_size=40, most_pixels=FULL_HD),
    Target(FLOOR, 1.0, "avx2", min_face_size=20, least_pixels=FULL_HD + 1),
    Target(FLOOR, 1.1, "avx2", min_face_size=40, least_pixels=FULL_HD + 1),
    Target(FLOOR, 1.05, "avx512"),
    Target(FLOOR, 0.75, "amx", setting=FAST),
    Target("facenet-pytorch", 10, "avx2", most_pixels=HD),
    Target("facenet-pytorch", 8, "avx2", least_pixels=HD + 1),
    Target("openvino", 2.4, "avx2", most_pixels=HD),
    Target("openvino", 2.2, "avx2", least_pixels=HD + 1),
    Target("yunet", 1.0),
    Target(ONE_THREAD, 1.8, threads=2, least_pixels=HD),
)


@dataclass(frozen=True)
class Verdict:
    """Whether a target holds on a row. None: the run lacks what the time is compared with."""

    frame: str
    min_face_size: float
    threads: int
    setting: str
    isa: str
    beside: str
    measured: float | None
    wanted: str
    holds: bool | None


def same_vectors(name: str, isa: str, contestants: Mapping[str, Any]) -> str | None:
    """The contestant of another package that computes with the vectors of `isa`, by itself or held to them."""
    for candidate in (name, f"{name}[{isa}]"):
        if candidate in contestants and contestants[candidate]["isa"] == vectors(isa):
            return candidate
    return None


def _ratio(
    target: Target, row: Mapping[str, Any], setting: str, rows: list[dict[str, Any]]
) -> tuple[str, float | None]:
    """What the time is compared with, and how many times as much one is as the other."""
    contestants = row["contestants"]
    own = contestants[setting]
    if target.beside == FLOOR:
        return FLOOR, own.get("floors")
    if target.beside == ONE_THREAD:
        for single in rows:
            if single["threads"] == 1 and all(single[key] == row[key] for key in ("frame", "min_face_size")):
                return ONE_THREAD, single["contestants"][setting]["milliseconds"] / own["milliseconds"]
        return ONE_THREAD, None
    other = same_vectors(target.beside, own["isa"], contestants)
    return other or target.beside, contestants[other]["milliseconds"] / own["milliseconds"] if other else None


def verdicts(rows: list[dict[str, Any]]) -> Iterator[Verdict]:
    """The verdict of every target that applies, for the rows of bench/compare.py's results."""
    for row in rows:
        for setting, result in row["contestants"].items():
            if not setting.startswith(OWN):
                continue
            for target in TARGETS:
                if target.applies(row, setting, result["isa"]):
                    beside, measured = _ratio(target, row, setting, rows)
                    yield Verdict(
                        frame=row["frame"],
                        min_face_size=row["min_face_size"],
                        threads=row["threads"],
                        setting=setting,
                        isa=result["isa"],
                        beside=beside,
                        measured=measured,
                        wanted=target.text(),
                        holds=None if measured is None else target.holds(measured),
                    )
