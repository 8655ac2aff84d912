"""`mtcnn-fast train`."""

from __future__ import annotations

import argparse
import ctypes
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from mtcnn_fast import MTCNN
from mtcnn_fast.cli.arguments import path
from mtcnn_fast.console import console
from mtcnn_fast.datasets import Problems
from mtcnn_fast.extra import require
from mtcnn_fast.train import NETWORK_NAMES
from mtcnn_fast.train.example import EXAMPLE
from mtcnn_fast.writing import line_of

_ALL = "all"
_NEEDED = ("torch", "PIL.Image", "pydantic", "tqdm")
# Parameters of mallopt, from glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
# More than any machine has: a larger number is a mistake.
_MOST_THREADS = 4096


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `train`."""
    parser.add_argument(
        "network", choices=(*NETWORK_NAMES, _ALL), help="the network to train; each needs those before it"
    )
    parser.add_argument(
        "--config",
        required=True,
        type=path,
        metavar="FILE",
        help="TOML file of pictures, samples and schedule (--example prints one)",
    )
    parser.add_argument(
        "--output", required=True, type=path, metavar="DIR", help="folder for samples, checkpoints, logs and weights"
    )
    parser.add_argument("--device", default="auto", help="device of PyTorch: auto, cpu, cuda or cuda:N")
    parser.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help="threads of PyTorch on the CPU, of making samples and of measuring recall; use fewer if the machine is "
        "shared (default: the processors that this process may use)",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="check everything and print what a run would do; read no picture, write nothing",
    )
    parser.add_argument("--example", action=_Example, help="print a TOML file to begin with, and exit")


class _Example(argparse.Action):
    """Prints the example. Like --version, it needs no other argument."""

    def __init__(self, option_strings: list[str], dest: str, help: str) -> None:
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        console.write(EXAMPLE)
        parser.exit()


def run(arguments: argparse.Namespace, error: Callable[[str], NoReturn]) -> int:
    """Runs `train`. Returns the exit status."""
    _settle_process()
    try:
        torch, *_ = (require(module, "mtcnn-fast train", extra="train") for module in _NEEDED)
        from mtcnn_fast.train.rounds import plan_rounds, read_rounds, train_rounds
        from mtcnn_fast.train.run_options import RunOptions

        rounds = read_rounds(Path(arguments.config))
        threads = MTCNN(device="cpu").num_threads if arguments.threads is None else arguments.threads
        if not 1 <= threads <= _MOST_THREADS:
            raise ValueError(f"threads is {threads}; wanted 1 to {_MOST_THREADS}")
        torch.set_num_threads(threads)
    except (ImportError, MemoryError, OSError, ValueError) as reason:
        # An error in a configuration has a line per setting.
        error(str(reason) if isinstance(reason, ValueError) else line_of(reason))
    folder = Path(arguments.output)
    names = NETWORK_NAMES if arguments.network == _ALL else (arguments.network,)
    problems = Problems()
    try:
        if arguments.dry_run:
            plan_rounds(rounds, folder, names, device=arguments.device, say=_say, problems=problems)
            return 0
        progress = sys.stderr is not None and sys.stderr.isatty()
        options = RunOptions(workers=threads, progress=progress, problems=problems)
        weights = train_rounds(rounds, folder, names, device=arguments.device, options=options, say=_say)
    except _ReaderHasLeftError:
        return 1
    except (MemoryError, OSError, RuntimeError, ValueError) as reason:
        console.complain(f"mtcnn-fast train: {line_of(reason)}")
        return 1
    finally:
        _report(problems)
    console.say(f"weights: {weights}" if weights else "no weight file yet: that takes all three networks")
    return 0


class _ReaderHasLeftError(Exception):
    """The reader of the output has left (`| head`)."""


def _say(line: str) -> None:
    console.say(line)
    if console.reader_has_left:
        raise _ReaderHasLeftError


def _report(problems: Problems) -> None:
    for problem in problems:
        console.complain(problem)
    if problems.count:
        console.complain(f"{problems.count} rows or pictures could not be used as they are")


def _settle_process() -> None:
    """Sets up the process so that PyTorch is faster. To be called before PyTorch is imported."""
    # By default its threads wait for each other busily. Beside another program on two processors, a step of P-Net took
    # 16 ms with one thread, 900 ms with two, and 150 ms with two that wait asleep.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # By default glibc returns large arrays to the system, and gets them anew for the next step, page by page. Without
    # that, O-Net learns 1.3 to 1.5 times as many samples per second of processor time.
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            for parameter, value in ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1), (_TOP_PAD, 64 << 20)):
                mallopt(parameter, value)
