"""The folder of a large job: the list of its pictures, and the tables of the blocks of pictures that are finished.

    settings.json     the settings of the job, which a later run must share
    pictures.jsonl    the name of each picture, a line of JSON
    faces/            a Parquet file per block: a row per face, and one per picture without faces
    failed/           a Parquet file per block: a row per picture that could not be searched
    unfinished/       files that are being written, and one per attempt at a block that is not finished

A block is so many pictures of the list. Its file in `failed` comes last, so a block with both files is finished. Each
file is renamed to its place as a whole. So it does no harm if two workers search one block, or one is killed.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, BinaryIO

from mtcnn_fast.extra import require
from mtcnn_fast.run_settings import as_json, differences
from mtcnn_fast.writing import check_folder, claim, naming, replacing, settle, write_whole

FAILED_COLUMNS = ("path", "page", "pages", "error")

_SETTINGS, _PICTURES, _FACES, _FAILED, _UNFINISHED = "settings.json", "pictures.jsonl", "faces", "failed", "unfinished"

# The key of a block's counts among the metadata of its faces.
_COUNTS = b"mtcnn_fast"


@dataclass(frozen=True)
class Block:
    """Pictures that follow each other in the list."""

    number: int
    """From 0."""
    offset: int
    """Of its first line in the list, in bytes."""
    pictures: int


@dataclass(frozen=True)
class Counts:
    """What the tables of a block hold. Pages count as pictures."""

    pictures: int
    faces: int
    failed: int
    damaged: int


class JobFolder:
    """The folder at an absolute path, which every machine of the job sees under this path. It can be pickled."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def begin(self, settings: dict[str, Any], names: Iterable[str]) -> BinaryIO:
        """Begins a job, or goes on with that of an earlier run. Returns a claim of the folder; closing it ends it.

        names: of the pictures, in the order of the list.

        Raises OSError that names what cannot be written, FileExistsError for a folder with other files and for one that
        another run is writing, ValueError for an earlier run with other settings or other pictures.
        """
        path, listing = self.path / _SETTINGS, self.path / _PICTURES
        with suppress(NotADirectoryError):
            if self.path.exists() and any(self.path.iterdir()) and not path.exists():
                raise FileExistsError(
                    f"{self.path} has files of others; wanted a new folder, or that of an earlier run"
                )
        check_folder(self.path)
        settings = as_json(settings)
        if not path.exists():
            write_whole(path, json.dumps(settings, indent=1).encode() + b"\n")
        for name in (_FACES, _FAILED, _UNFINISHED):
            check_folder(self.path / name)
        with path.open("rb") as file:
            claimed = claim(file, self.path)
            try:
                self._check(json.load(file), settings)
                for left in (self.path / _UNFINISHED).iterdir():
                    left.unlink()
                if listing.exists():
                    self._check_names(listing, names)
                else:
                    with replacing(listing) as out:
                        out.writelines(json.dumps(name).encode() + b"\n" for name in names)
            except BaseException:
                claimed.close()
                raise
        return claimed

    def end(self) -> None:
        """Removes what is needed only while blocks are written."""
        shutil.rmtree(self.path / _UNFINISHED, ignore_errors=True)

    def blocks(self, size: int) -> Iterator[Block]:
        """The blocks of so many pictures."""
        number = begin = offset = pictures = 0
        with (self.path / _PICTURES).open("rb") as file:
            for line in file:
                offset += len(line)
                pictures += 1
                if pictures == size:
                    yield Block(number, begin, pictures)
                    number, begin, pictures = number + 1, offset, 0
        if pictures:
            yield Block(number, begin, pictures)

    def names(self, block: Block) -> list[str]:
        """The names of a block's pictures."""
        with (self.path / _PICTURES).open("rb") as file:
            file.seek(block.offset)
            return [json.loads(file.readline()) for _ in range(block.pictures)]

    def attempts(self, block: Block) -> int:
        """Notes that a worker begins with a block. Returns how many did so before in this run and did not finish."""
        attempts = self.path / _UNFINISHED
        earlier = sum(1 for _ in attempts.glob(f"{block.number:06}.attempt.*"))
        (attempts / f"{block.number:06}.attempt.{uuid.uuid4().hex}").touch()
        return earlier

    def counts(self, block: Block) -> Counts | None:
        """What was found in a block; None: it is not finished."""
        faces, failed = self._files(block)
        if not failed.exists() or not faces.exists():
            return None
        counts: dict[str, int] = json.loads(_parquet().read_schema(faces).metadata[_COUNTS])
        # A worker that is killed between its two files leaves the failures of the search before.
        return Counts(**{**counts, "failed": _parquet().read_metadata(failed).num_rows})

    def read(self, block: Block) -> tuple[Any, Any]:
        """The faces and the failed pictures of a finished block, as tables of Arrow."""
        faces, failed = self._files(block)
        return _parquet().read_table(faces), _parquet().read_table(failed)

    def write(self, block: Block, faces: Any, failed: Any) -> Counts:
        """Writes the tables of a block, which is finished then. Raises OSError that names the file."""
        compute = require("pyarrow.compute", "a Parquet file", "ray")
        number = faces.column("face")
        first = compute.or_kleene(compute.is_null(number), compute.equal(number, 0))
        damaged = compute.and_kleene(first, compute.is_valid(faces.column("damaged")))
        counts = Counts(
            pictures=_number(compute, first) + failed.num_rows,
            faces=faces.num_rows - number.null_count,
            failed=failed.num_rows,
            damaged=_number(compute, damaged),
        )
        faces = faces.replace_schema_metadata({_COUNTS: json.dumps(vars(counts)).encode()})
        for path, table in zip(self._files(block), (faces, failed.select(list(FAILED_COLUMNS))), strict=True):
            part = self.path / _UNFINISHED / f"{path.name}.{uuid.uuid4().hex}"
            with naming(path):
                with part.open("wb") as file:
                    _parquet().write_table(table, file)
                    settle(file)
                part.replace(path)
        for attempt in (self.path / _UNFINISHED).glob(f"{block.number:06}.attempt.*"):
            attempt.unlink(missing_ok=True)
        return counts

    def _files(self, block: Block) -> tuple[Path, Path]:
        name = f"{block.number:06}.parquet"
        return self.path / _FACES / name, self.path / _FAILED / name

    def _check(self, earlier: object, settings: dict[str, Any]) -> None:
        differing = differences(earlier, settings)
        if differing:
            raise ValueError(
                f"{self.path} was begun with other settings: {', '.join(differing.values())}; name another folder"
            )

    def _check_names(self, listing: Path, names: Iterable[str]) -> None:
        with listing.open("rb") as file:
            for number, (line, name) in enumerate(zip_longest(file, names), 1):
                there = None if line is None else json.loads(line)
                if there != name:
                    kinds = ("no more" if each is None else repr(each) for each in (there, name))
                    raise ValueError(
                        f"{self.path} is of other pictures: picture {number} is {next(kinds)} there, and {next(kinds)} "
                        "here; name another folder"
                    )


def _parquet() -> Any:
    return require("pyarrow.parquet", "a Parquet file", "ray")


def _number(compute: Any, mask: Any) -> int:
    """How many values of a mask are true."""
    return int(compute.sum(mask).as_py() or 0)
