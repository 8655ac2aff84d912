"""`mtcnn-fast train`."""

from __future__ import annotations

import argparse
import ctypes
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from mtcnn_fast.annotations import Problems
from mtcnn_fast.evaluate.inputs import report
from mtcnn_fast.extra import require
from mtcnn_fast.train import NETWORKS

_ALL = "all"
# Of mallopt, in glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
# More than any machine has: what is asked beyond it is a mistake.
_MOST_THREADS = 4096


def add_command(commands: Any, formatter: type[argparse.HelpFormatter]) -> None:
    """Adds `train` to the commands of an argument parser."""
    parser = commands.add_parser(
        "train",
        help="train the networks on annotated pictures",
        description="Trains networks as a TOML file says (docs/training.md), or goes on where a run was cut off, and "
        "writes the weight file that `detect --weights` takes. Prints one line an epoch.",
        formatter_class=formatter,
    )
    parser.set_defaults(run=lambda arguments: _train(arguments, parser.error))
    parser.add_argument("network", choices=(*NETWORKS, _ALL), help="which; each needs those before it")
    parser.add_argument("--config", required=True, metavar="FILE", help="TOML file: pictures, samples, schedule")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for samples, checkpoints, logs, weights")
    parser.add_argument("--device", default="auto", help="of PyTorch: auto, cpu, cuda or cuda:N")
    parser.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help="of PyTorch on the CPU, to make samples and to measure recall; None: the processors that this process may "
        "use. Where others keep some of them busy, fewer are faster",
    )


def _train(arguments: argparse.Namespace, error: Callable[[str], NoReturn]) -> int:
    _settle_process()
    try:
        torch, *_ = (
            require(module, "mtcnn-fast train", extra="train") for module in ("torch", "cv2", "pydantic", "tqdm")
        )
        from mtcnn_fast.train.config import read_config
        from mtcnn_fast.train.pipeline import train

        config = read_config(Path(arguments.config))
        threads = arguments.threads
        if threads is not None:
            if not 1 <= threads <= _MOST_THREADS:
                raise ValueError(f"threads is {threads}; wanted 1 to {_MOST_THREADS}")
            torch.set_num_threads(threads)
    except (ImportError, OSError, ValueError) as reason:
        error(str(reason))
    problems = Problems()
    try:
        weights = train(
            config,
            Path(arguments.output),
            NETWORKS if arguments.network == _ALL else (arguments.network,),
            device=arguments.device,
            workers=threads,
            progress=sys.stderr.isatty(),
            say=_say,
            problems=problems,
        )
    except BrokenPipeError:
        raise
    except (OSError, RuntimeError, ValueError) as reason:
        print(f"mtcnn-fast train: {reason}", file=sys.stderr)
        return 1
    finally:
        report(problems, "rows or pictures")
    print(f"weights: {weights}" if weights else "no weight file yet: that takes all three networks")
    return 0


def _settle_process() -> None:
    """What PyTorch is faster with; before it is imported."""
    # Its threads wait for each other busily. Beside another program on two processors a step of P-Net took 16 ms for
    # one thread, 900 ms for two, and 150 ms for two that wait asleep.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # glibc gives large arrays back to the system and gets them anew for the next step, page by page: without that,
    # O-Net learns 1.3 to 1.5 times as many samples in a second of the processor.
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            for parameter, value in ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1), (_TOP_PAD, 64 << 20)):
                mallopt(parameter, value)


def _say(line: str) -> None:
    # An hour-long run is followed through a pipe or a file as often as on a terminal.
    print(line, flush=True)
