"""A detector over any number of pictures into a file, and `mtcnn-fast evaluate detect`."""

from __future__ import annotations

import argparse
import json
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn, TypeVar

from mtcnn_fast import MTCNN, Detections, __version__, detector_options, pictures
from mtcnn_fast.annotations import Problems
from mtcnn_fast.evaluate.inputs import add_annotation_arguments, annotations_of, checked_destination, report
from mtcnn_fast.extra import require
from mtcnn_fast.weights import digest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Image = NDArray[np.uint8]

# A few readers keep ahead of the fastest detector; each picture read ahead takes memory.
_READERS = 4
_BATCH = 32
_BATCH_BYTES = 2**28

K = TypeVar("K")

Picture = tuple[str, Path]
"""Name, and file."""


def detect_each(
    find: Callable[[list[Image]], list[Detections]], files: Iterable[tuple[K, Path]], batch_size: int = _BATCH
) -> Iterator[tuple[K, Image | None, Detections | Exception]]:
    """Detects faces in batches of pictures, which threads read ahead; in the order given, in constant memory.

    Gives with each file's key its pixels, in BGR order, and its faces. A file that cannot be read has an OSError and no
    pixels; a picture that `find` will not take has its ValueError.

    find: where it raises ValueError, it is given the pictures of the batch one by one.
    """
    for batch in _batches(files, batch_size):
        found = iter(_find(find, [content for _, content in batch if not isinstance(content, OSError)]))
        for key, content in batch:
            if isinstance(content, OSError):
                yield key, None, content
            else:
                yield key, content, next(found)


def _find(find: Callable[[list[Image]], list[Detections]], images: list[Image]) -> list[Detections | Exception]:
    if not images:
        return []
    try:
        return list(find(images))
    except ValueError as error:
        return [error] if len(images) == 1 else [outcome for image in images for outcome in _find(find, [image])]


def _batches(files: Iterable[tuple[K, Path]], batch_size: int) -> Iterator[list[tuple[K, Image | OSError]]]:
    batch: list[tuple[K, Image | OSError]] = []
    size = 0
    for key, content in _read_ahead(files):
        batch.append((key, content))
        size += 0 if isinstance(content, OSError) else content.nbytes
        if len(batch) >= batch_size or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _read_ahead(files: Iterable[tuple[K, Path]]) -> Iterator[tuple[K, Image | OSError]]:
    rest = iter(files)
    ahead: deque[tuple[K, Future[Image | OSError]]] = deque()
    with ThreadPoolExecutor(_READERS) as pool:
        try:
            while True:
                for key, path in islice(rest, 2 * _READERS - len(ahead)):
                    ahead.append((key, pool.submit(_read, path)))
                if not ahead:
                    return
                key, future = ahead.popleft()
                yield key, future.result()
        finally:
            for _, future in ahead:
                future.cancel()


def _read(path: Path) -> Image | OSError:
    try:
        return pictures.read(path)
    except OSError as error:
        return error


def detect_to_file(
    detector: MTCNN,
    files: Iterable[Picture],
    output: Path,
    *,
    max_faces: int | None = None,
    batch_size: int = _BATCH,
    progress: Callable[[int], object] = lambda _: None,
) -> Problems:
    """Writes a line of JSON a picture: `{"name", "width", "height", "faces"}`, faces as `Detections.to_dicts` has them.

    A file that cannot be read gets `{"name", "error", "faces": []}` and is among the problems that are returned.

    If `output` is there, the run goes on behind its last whole line, and the file ends as if it had never stopped. The
    settings of the run are kept beside it, in `output` + ".settings"; ValueError is raised if a file was begun with
    others, or with other pictures.

    detector: of channel order "bgr". progress: is told of the number of pictures done since it was last told.
    """
    settings_file = output.with_name(output.name + ".settings")
    settings = _settings(detector, max_faces)
    begun = output.exists()
    if begun:
        _check_settings(output, settings_file, settings)
    else:
        settings_file.write_text(json.dumps(settings, indent=1) + "\n")
    failures = Problems()
    rest = iter(files)
    with output.open("r+b" if begun else "wb") as file:
        if begun:
            _skip_done(file, output, rest, failures, progress)

        def find(images: list[Image]) -> list[Detections]:
            return detector.detect_batch(images, max_faces=max_faces)

        for name, image, outcome in detect_each(find, rest, batch_size):
            file.write(_line(name, image, outcome))
            file.flush()  # a process that is killed has no time for it
            if isinstance(outcome, Exception):
                failures.add(name, _reason(outcome))
            progress(1)
    return failures


def _settings(detector: MTCNN, max_faces: int | None) -> dict[str, Any]:
    """All that the numbers depend on: not the number of threads, nor which of several GPUs."""
    options = {key: value for key, value in detector.options.items() if key != "num_threads"}
    options |= {"device": detector.device.partition(":")[0], "precision": detector.precision, "max_faces": max_faces}
    options["weights"] = digest(options["weights"])
    # As JSON has them, to be compared with what is read: tuples become lists.
    settings: dict[str, Any] = json.loads(json.dumps({"version": __version__, **options}))
    return settings


def _check_settings(output: Path, settings_file: Path, settings: dict[str, Any]) -> None:
    try:
        earlier = json.loads(settings_file.read_bytes())
    except (OSError, ValueError) as error:
        raise ValueError(f"{output} is there, but not the settings that it was begun with: {error}") from error
    differing = [key for key in settings if not isinstance(earlier, dict) or earlier.get(key) != settings[key]]
    if differing:
        raise ValueError(f"{output} was begun with other settings: {', '.join(differing)}; remove it, or name another")


def _skip_done(
    file: BinaryIO, output: Path, rest: Iterator[Picture], failures: Problems, progress: Callable[[int], object]
) -> None:
    """Takes from `rest` the pictures that the file has, and cuts off a line that was not written to its end."""
    whole = 0
    for number, line in enumerate(file, 1):
        if not line.endswith(b"\n"):
            break
        name = next(rest, (None,))[0]
        try:
            entry = json.loads(line)
            written, error = entry["name"], entry.get("error")
        except (AttributeError, KeyError, TypeError, ValueError):
            raise ValueError(f"{output}:{number}: not a line that this command has written") from None
        if name is None or written != name:
            raise ValueError(f"{output}:{number}: has {written!r} where this run has {name!r}: other pictures")
        if error is not None:
            failures.add(name, error)
        whole += len(line)
        progress(1)
    file.seek(whole)
    file.truncate()


def _line(name: str, image: Image | None, outcome: Detections | Exception) -> bytes:
    record: dict[str, Any] = {"name": name}
    if image is not None:
        record |= {"width": image.shape[1], "height": image.shape[0]}
    if isinstance(outcome, Exception):
        record |= {"error": _reason(outcome), "faces": []}
    else:
        record["faces"] = outcome.to_dicts()
    return json.dumps(record).encode() + b"\n"


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`mtcnn-fast evaluate detect`."""
    parser = commands.add_parser(
        "detect",
        help="find the faces of any number of pictures, into a file of detections",
        description="Finds faces in pictures, folders, or the pictures of an annotated set, and writes a line of JSON "
        "a picture. Stopped and started again, it goes on where it was.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("paths", nargs="*", metavar="PATH", help="picture, or folder to search to any depth")
    add_annotation_arguments(parser, required=False)
    parser.add_argument("--output", required=True, metavar="FILE.jsonl", help="file of detections to write, or go on")
    parser.add_argument("--batch", type=int, default=_BATCH, metavar="N", help="pictures handed over at a time")
    detector_options.add_to(parser)
    detector_options.add_max_faces(parser)
    parser.set_defaults(run=lambda arguments: _run(arguments, parser.error))


def _run(arguments: argparse.Namespace, error: Callable[[str], NoReturn]) -> int:
    labels = Problems()
    try:
        if bool(arguments.paths) == (arguments.annotations is not None):
            raise ValueError("wanted either PATHs or --annotations")
        if arguments.batch < 1:
            raise ValueError(f"batch is {arguments.batch}; wanted 1 or more")
        require("cv2", "mtcnn-fast evaluate detect")
        output = checked_destination(arguments.output)
        detector = MTCNN(channel_order="bgr", **detector_options.given(arguments))
        detector.detect_batch([], max_faces=arguments.max_faces)
        files: Iterator[Picture]
        if arguments.paths:
            found = pictures.find(
                arguments.paths, None, lambda reason: labels.add(reason.filename, reason.strerror or str(reason))
            )
            files = ((below.as_posix(), path) for path, below in found)
        else:
            files = ((annotation.name, annotation.path) for annotation in annotations_of(arguments, labels))
        with _progress() as progress:
            failures = detect_to_file(
                detector,
                files,
                output,
                max_faces=arguments.max_faces,
                batch_size=arguments.batch,
                progress=progress,
            )
    except (ImportError, OSError, RuntimeError, ValueError) as reason:
        error(str(reason))
    report(labels, "rows or files")
    report(failures, "pictures")
    return 1 if failures.count or (arguments.paths and labels.count) else 0


@contextmanager
def _progress() -> Iterator[Callable[[int], object]]:
    """A bar on a terminal, without a total: to count the pictures would take a first pass over the annotations."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    with require("tqdm", "a progress bar").tqdm(unit="picture") as bar:
        yield bar.update
