"""Steps of a run with a budget of seconds: what each took, and how it ended. Only Python's own modules are needed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

SECONDS = 390  # the budget that the limits below belong to
LEAST = 5.0  # seconds that a step has at least; with fewer left it is not begun
GRACE = 5.0  # from SIGTERM to SIGKILL

# Most seconds of each step, in the order in which they run. Speed is had first, even if the rest fails; racecheck,
# which may not end, gets what is left.
LIMITS = {
    "wheels": 15,  # packages that are missing
    "wheel": 15,  # the package, built beforehand
    "build": 90,  # the package, built here
    "install": 15,
    "device": 40,
    "device_memcheck": 40,  # only if device fails
    "bench_cuda": 40,
    "tests": 90,
    "kernels": 60,
    "memcheck": 45,
    "gpu": 90,
    "racecheck": 55,
}
# A sanitizer that was stopped has found nothing so far, which is neither clean nor a failure.
MAY_NOT_FINISH = {"memcheck", "racecheck", "device_memcheck"}
MAY_FAIL = {"kernels"}  # ncu needs a right that the machine may not give


@dataclass
class Outcome:
    """How a step ended. limit, seconds: what it was given, and what it took."""

    step: str
    verdict: str  # "done", "failed", "not finished", "left out" or "unusable"
    note: str = ""
    seconds: float = 0.0
    limit: float = 0.0


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ends a process that leads a group of its own, with its children."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            continue
        if number == signal.SIGKILL or not group_lives(process.pid):
            return


def group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


class Run:
    """The steps so far, and the seconds that are left of the budget.

    seconds: the budget of all steps; their limits are in proportion to it. folder: where the steps run. start: when the
    budget began, of time.monotonic (default: now).
    """

    def __init__(
        self, seconds: float, folder: Path, environment: Mapping[str, str], start: float | None = None
    ) -> None:
        self.seconds = seconds
        self.folder = folder
        self.environment = dict(environment)
        self.outcomes: list[Outcome] = []
        self._start = time.monotonic() if start is None else start

    def elapsed(self) -> float:
        return time.monotonic() - self._start

    def limit(self, step: str) -> float:
        """The seconds that the step may take if it began now."""
        return min(max(LEAST, LIMITS[step] * self.seconds / SECONDS), self.seconds - self.elapsed())

    def note(self, step: str, verdict: str, text: str) -> None:
        self._record(Outcome(step, verdict, text))

    def _record(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        text = f": {outcome.note}" if outcome.note else ""
        print(f"{outcome.step}: {outcome.verdict}{text} ({outcome.seconds:.0f} s)", flush=True)

    def step(
        self,
        step: str,
        command: Sequence[str | Path],
        note: str = "",
        output: IO[bytes] | None = None,
        **variables: str,
    ) -> bool:
        """Runs a command within its limit and says whether it ended with status 0.

        output: where its output goes (default: where this program's goes). variables: of its environment.
        """
        limit = self.limit(step)
        print(f"\n=== {step} (after {self.elapsed():.0f} s, at most {limit:.0f} s)", flush=True)
        if limit < LEAST:
            self.note(step, "left out", "no time is left")
            return False
        begin = time.monotonic()
        outcome = Outcome(step, "done", note, limit=limit)
        try:
            process = subprocess.Popen(
                [str(part) for part in command],
                cwd=self.folder,
                env=self.environment | variables,
                stdout=output,
                start_new_session=True,
            )
        except OSError as error:
            self._record(Outcome(step, "failed", str(error)))
            return False
        try:
            status = process.wait(limit)
            if status != 0:
                outcome.verdict = "failed"
                outcome.note = f"status {status}" if status > 0 else f"ended by signal {-status}"
        except subprocess.TimeoutExpired:
            stop(process)
            outcome.verdict, outcome.note = "not finished", f"stopped after {limit:.0f} s"
        outcome.seconds = time.monotonic() - begin
        self._record(outcome)
        return outcome.verdict == "done"

    def failures(self) -> list[Outcome]:
        """The steps because of which the run is not clean."""
        return [
            outcome
            for outcome in self.outcomes
            if outcome.step not in MAY_FAIL
            and (
                outcome.verdict == "failed"
                or (outcome.verdict in ("not finished", "left out") and outcome.step not in MAY_NOT_FINISH)
            )
        ]

    def unfinished(self) -> list[Outcome]:
        """The steps that say neither that something is wrong nor that nothing is."""
        return [
            outcome
            for outcome in self.outcomes
            if (outcome.step in MAY_NOT_FINISH and outcome.verdict in ("not finished", "left out"))
            or (outcome.step in MAY_FAIL and outcome.verdict != "done")
        ]
