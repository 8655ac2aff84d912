"""A job on Ray Data: workers search the blocks of a `JobFolder`, and Ray starts those again whose worker was lost."""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mtcnn_fast import __version__
from mtcnn_fast.extra import require
from mtcnn_fast.integrations.detect_faces import DetectFaces
from mtcnn_fast.integrations.job_folder import Block, JobFolder
from mtcnn_fast.tables import as_unicode
from mtcnn_fast.writing import line_of, reason

LOCAL = "local"
"""The address of a cluster of this machine's processors, which ends with the job."""
AUTO = "auto"
"""The address of the cluster that runs on this machine."""

_HOST_AND_PORT = re.compile(r"(?:ray://)?(?:\[[\da-fA-F:]+\]|[\w.-]+):\d+")

# A block at which workers die so often is taken to kill them. Ray itself starts dead workers again without end.
_ATTEMPTS = 4

# Ray's side of the command takes 50 KB and 10 ms per block. It forgets the blocks when all of these are searched.
_BLOCKS_AT_A_TIME = 500
_BLOCKS_PER_PROCESSOR = 8

# Workers send a row per block. By default Ray takes a third of the memory.
_OBJECT_STORE_BYTES = 2**28

_SECONDS_TO_CONNECT = 5
# HTTP/2's first bytes, and an empty frame of settings. Ray's server, which speaks gRPC, answers with such a frame.
_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0"
_FRAME_BYTES, _FRAME_TYPE, _SETTINGS = 9, 3, 4


@dataclass(frozen=True)
class Task:
    """What every worker gets. It can be pickled."""

    folder: JobFolder
    detect: DetectFaces
    """From the columns "source" and "path"."""
    base: Path
    """The folder that relative names begin at."""


@dataclass(frozen=True)
class Report:
    """What a worker tells of a block."""

    block: int
    pictures: int
    """Pages count as pictures, here and below."""
    earlier: int
    """Pictures that an earlier run had searched."""
    faces: int
    failed: int
    damaged: int
    remarks: list[str]
    """Names and reasons, by turns, of what failed or is damaged."""
    lost: bool
    """Whether the block was given up, because every worker that searched it died."""
    error: str | None
    """Why the block is not finished, which concerns every block; None: it is, or `lost`."""


def is_address(text: str) -> bool:
    """Whether a text is LOCAL, AUTO, or the host and the port of a cluster."""
    return text in (LOCAL, AUTO) or _HOST_AND_PORT.fullmatch(text) is not None


@contextmanager
def connected(address: str, processors: int) -> Iterator[None]:
    """Connects to a cluster for the time of the block. processors: those of a LOCAL one.

    Raises OSError or RuntimeError that says why there is none, ImportError without Ray (extra `ray`).
    """
    if _HOST_AND_PORT.fullmatch(address):
        _check_server(address)
    ray = require("ray", "--ray", "ray")
    require("ray.data", "--ray", "ray")
    own: dict[str, Any] = {}
    if address == LOCAL:
        # A program that ends with its job needs no dashboard, and reports nothing to Ray's makers.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        own = {"num_cpus": processors, "include_dashboard": False, "object_store_memory": _OBJECT_STORE_BYTES}
    try:
        with _keeping_signals(), _silent():
            ray.init(address=address, logging_level=logging.CRITICAL, log_to_driver=False, **own)
    except ConnectionError as error:
        hint = "" if address == AUTO else "; a cluster with tokens wants the variable RAY_AUTH_MODE=token"
        raise OSError(f"no Ray cluster at {address}: {reason(error)}{hint}") from error
    try:
        yield
    finally:
        ray.shutdown()


def on_gpus(device: str) -> bool:
    """Whether workers have a GPU: if `device` is one, or is "auto" and the cluster has one.

    Raises ValueError for a GPU's number, which is Ray's to give, and RuntimeError if the cluster has no GPU.
    """
    ray = require("ray", "--ray", "ray")
    if device.startswith("cuda:"):
        raise ValueError(f"device is {device!r}; wanted 'cuda': Ray gives each worker its GPU")
    has_gpus = ray.cluster_resources().get("GPU", 0) >= 1
    if device == "cuda" and not has_gpus:
        raise RuntimeError("device is 'cuda', and the Ray cluster has no GPU")
    return has_gpus and device in ("auto", "cuda")


def check_workers(task: Task) -> None:
    """Raises RuntimeError if workers lack this version of the package, or do not see the folder of the job."""
    ray = require("ray", "--ray", "ray")
    try:
        problem = ray.get(ray.remote(num_cpus=0)(_problem).remote(__version__, task.folder))
    except ray.exceptions.RayError as error:
        problem = _last_line(error)
    if problem is not None:
        raise RuntimeError(f"Ray's workers cannot do the job: {problem}")


def run(task: Task, blocks: list[Block], *, num_threads: int, gpus: bool) -> Iterator[Report]:
    """Searches blocks on the cluster that is connected. Gives the reports in the order in which blocks are finished.

    num_threads: the processors of a worker. gpus: whether each worker has a GPU. Such a worker lives as long as the
    job; the others come and go. Raises RuntimeError if Ray gives up.
    """
    ray, data = require("ray", "--ray", "ray"), require("ray.data", "--ray", "ray")
    pyarrow = require("pyarrow", "--ray", "ray")
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    context = data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    how: dict[str, Any] = {"batch_size": 1, "batch_format": "pyarrow", "num_cpus": num_threads}
    if gpus:
        most = max(1, int(ray.cluster_resources().get("GPU", 0)))
        workers = data.ActorPoolStrategy(min_size=1, max_size=most)
        how |= {"fn": _Worker, "fn_constructor_args": (task,), "compute": workers, "num_gpus": 1}
    else:
        how |= {"fn": _search, "fn_args": (task,)}
    size = max(_BLOCKS_AT_A_TIME, _BLOCKS_PER_PROCESSOR * int(ray.cluster_resources().get("CPU", 0)))
    try:
        for start in range(0, len(blocks), size):
            tables = [pyarrow.Table.from_pylist([asdict(block)]) for block in blocks[start : start + size]]
            for row in data.from_arrow(tables).map_batches(**how).iter_rows():
                yield Report(**row)
    except ray.exceptions.RayError as error:
        raise RuntimeError(f"Ray: {_last_line(error)}") from error


def _last_line(error: Exception) -> str:
    """The last line of a worker's traceback, which is the error."""
    return str(error).strip().splitlines()[-1]


class _Worker:
    """`_search` for a worker that stays."""

    def __init__(self, task: Task) -> None:
        self._task = task

    def __call__(self, blocks: Any) -> Any:
        return _search(blocks, self._task)


def _search(blocks: Any, task: Task) -> Any:
    """Searches the blocks of a table, and returns a table of reports."""
    pyarrow = require("pyarrow", "--ray", "ray")
    text = pyarrow.string()
    columns = [(name, pyarrow.int64()) for name in ("block", "pictures", "earlier", "faces", "failed", "damaged")]
    schema = pyarrow.schema([*columns, ("remarks", pyarrow.list_(text)), ("lost", pyarrow.bool_()), ("error", text)])
    reports = []
    for block in (Block(**row) for row in blocks.to_pylist()):
        try:
            lost = task.folder.attempts(block) >= _ATTEMPTS
            report = _nothing(block, lost=True) if lost else search_block(task, block)
        except Exception as error:  # Ray would report it as a traceback of many lines
            report = _nothing(block, error=line_of(error))
        reports.append(asdict(report))
    return pyarrow.Table.from_pylist(reports, schema)


def _nothing(block: Block, lost: bool = False, error: str | None = None) -> Report:
    return Report(block.number, 0, 0, 0, 0, 0, [], lost, error)


def search_block(task: Task, block: Block) -> Report:
    """Searches the pictures of a block; of a finished one those that failed. Raises OSError as `JobFolder` does."""
    compute = require("pyarrow.compute", "--ray", "ray")
    names = task.folder.names(block)
    shown = [as_unicode(name) for name in names]
    chosen, kept = list(range(len(names))), None
    if task.folder.counts(block) is not None:
        kept, failed = task.folder.read(block)
        again = set(failed.column("path").to_pylist())
        chosen = [i for i in chosen if shown[i] in again]
        kept = kept.filter(compute.invert(compute.is_in(kept.column("path"), failed.column("path").combine_chunks())))
    sources = [Path(task.base, names[i]) for i in chosen]
    rows = task.detect({"source": sources, "path": [shown[i] for i in chosen]})
    well = compute.is_null(rows.column("error"))
    failed, found = rows.filter(compute.invert(well)), rows.filter(well).drop_columns("error")
    faces = found if kept is None else _joined(kept, found, shown)
    counts = task.folder.write(block, faces, failed)
    remarks = []
    for row in rows.to_pylist():
        if row["error"] is not None or (row["damaged"] is not None and not row["face"]):
            page = "" if row["pages"] == 1 else f" (page {row['page']} of {row['pages']})"
            remarks += [f"{row['path']}{page}", row["error"] or f"damaged: {row['damaged']}"]
    earlier = 0 if kept is None else sum(1 for face in kept.column("face").to_pylist() if not face)
    return Report(block.number, earlier=earlier, remarks=remarks, lost=False, error=None, **vars(counts))


def _joined(kept: Any, found: Any, names: list[str]) -> Any:
    """Two tables as one, in the order that one search of all pictures gives."""
    pyarrow = require("pyarrow", "--ray", "ray")
    table = pyarrow.concat_tables([kept.replace_schema_metadata(), found])
    places = {name: number for number, name in enumerate(names)}
    columns = (table.column(name).to_pylist() for name in ("path", "page", "face"))
    keys = [(places[path], page, face or 0) for path, page, face in zip(*columns, strict=True)]
    return table.take(pyarrow.array(sorted(range(len(keys)), key=keys.__getitem__), "int64"))


def _problem(version: str, folder: JobFolder) -> str | None:
    """Why this process, a worker, cannot do the job; None: it can."""
    if version != __version__:
        return f"they have mtcnn_fast {__version__}; wanted {version}"
    if not folder.path.is_dir():
        return f"they do not see {folder.path}; wanted a folder that all machines share under this path"
    return None


def _check_server(address: str) -> None:
    """Raises OSError if no server of gRPC listens at an address. Ray itself tries for minutes, and then ends the
    process."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), _SECONDS_TO_CONNECT) as server:
            if os.environ.get("RAY_USE_TLS") == "1":
                return
            server.settimeout(_SECONDS_TO_CONNECT)
            server.sendall(_GREETING)
            answer = server.recv(_FRAME_BYTES)
    except (OSError, OverflowError, UnicodeError) as error:
        raise OSError(f"no Ray cluster at {address}: {reason(error)}") from error
    if len(answer) < _FRAME_BYTES or answer[_FRAME_TYPE] != _SETTINGS:
        raise OSError(f"no Ray cluster at {address}: another server answers there")


@contextmanager
def _keeping_signals() -> Iterator[None]:
    """Keeps the handlers of signals, of which Ray replaces one."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


@contextmanager
def _silent() -> Iterator[None]:
    """Discards what is written to stderr: Ray's C++ code reports each of its attempts to connect."""
    try:
        kept = os.dup(2)
    except OSError:
        yield
        return
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(null)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
