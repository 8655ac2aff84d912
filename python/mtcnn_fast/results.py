"""Files of results: one record per picture, written as soon as it is searched. A later run can continue the file.

During a run, records go to a file of JSON lines. This is FILE itself if JSON lines are wanted, unless an earlier FILE
exists, and FILE.part otherwise. At the end, FILE is made of the lines, in its format (`result_formats`). Pictures that
failed and are tried again go to the `.retried` of the lines, which is merged at the end or by the next run. The
settings of the run are in `.settings` beside the lines. However the run ends, each record is in one of these files. If
FILE is a link, all of them are beside its target. The lines are locked: one run at a time.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Generic, TypeVar

from mtcnn_fast import result_formats
from mtcnn_fast.records import Record, encoded, is_record, name_of, not_written, parsed
from mtcnn_fast.result_formats import LINES
from mtcnn_fast.run_settings import as_json, differences
from mtcnn_fast.tables import as_unicode
from mtcnn_fast.writing import claim, keep_permissions, naming, replacing, settle, write_whole

T = TypeVar("T")

# The key under which a record that was tried again has the number of its picture, until it is merged.
_NUMBER = " number"

# A process that is killed loses no written record. A machine that crashes loses those of this time at most.
_SECONDS_BETWEEN_SETTLING = 5.0

# The first bytes of a record: in this version's files, and in those of earlier versions.
_BEGINNINGS = (b'{"path": "', b'{"name": "')


class File(Generic[T]):
    """Results in a regular file.

    kind: one of `result_formats.FORMATS`. settings: all settings that results depend on, in JSON's types. resume:
    continue the results of an earlier run, if there are any. first_page_only: whether each picture has the record of
    its first page only. to_do_again: takes the records of a picture and returns whether to search it again.

    Raises OSError that names the file, or says that another run is writing it; ValueError for a damaged file, or an
    earlier run with other settings; and FileExistsError, without `resume`, for the lines of an interrupted run.
    """

    def __init__(
        self,
        file: Path,
        kind: str,
        settings: Record,
        *,
        resume: bool = False,
        first_page_only: bool = False,
        to_do_again: Callable[[list[Record]], bool],
    ) -> None:
        self.file = file = Path(os.path.realpath(file)) if file.is_symlink() else file
        self._kind = kind
        self._first_page_only = first_page_only
        self._to_do_again = to_do_again
        part = _beside(file, ".part")
        for place in (file, part):
            with suppress(FileNotFoundError), place.open("rb") as opened:
                claim(opened, file).close()
        settings = as_json(settings)
        self._keeps_earlier = _has_content(file)
        self._begun = False
        if resume:
            self._lines = self._left_by_an_earlier_run(part, settings)
        elif _has_content(part):
            raise FileExistsError(
                f"{part} is from a run that was interrupted: --resume goes on with it; remove it to start anew"
            )
        else:
            self._lines = part if kind != LINES or self._keeps_earlier else file
        self._retried = _beside(self._lines, ".retried")
        if self._begun:
            self._merge()
            self._cut(self._lines, parsed, _BEGINNINGS)
        # A finished document keeps no settings. It needs none if no record is added.
        self._without_settings = self._begun and not _beside(self._lines, ".settings").exists()
        self._out = self._lines.open("ab")
        self._claim = claim(self._out, file)
        self._again: BinaryIO | None = None
        self._settled = time.monotonic()
        if not self._begun:
            self._begin(settings)

    @property
    def lines(self) -> Path:
        """Where the records are until the run has ended."""
        return self._lines

    def remaining(
        self, files: Iterable[tuple[str, T]], done: Callable[[list[Record]], object]
    ) -> Iterator[tuple[str, T, int | None]]:
        """The files that are still to be searched: name, file and, if it is tried again, its number for `add`.

        done: receives the records of each picture that needs no search. Raises ValueError if the file of results has
        other pictures.
        """
        earlier = _groups(self._lines, parsed) if self._begun else iter(())
        number = 0
        for number, (name, file) in enumerate(files, 1):
            records = next(earlier, None)
            if records is None:
                yield name, file, None
            elif not _is_named(records[0], name):
                raise self._other_pictures(records, number, repr(name))
            elif self._to_do_again(records):
                yield name, file, number
            else:
                done(records)
        further = next(earlier, None)
        if further is not None:
            raise self._other_pictures(further, number + 1, "no more")

    def add(self, record: Record, again: int | None = None) -> None:
        """Writes a record. again: the number that `remaining` gave for the file, or None."""
        if self._without_settings:
            raise ValueError(
                f"{self.file} exists, but not the settings that it was begun with "
                f"({_beside(self._lines, '.settings')}); remove it, or name another file"
            )
        if again is not None and self._again is None:
            self._again = self._retried.open("ab")
        out = self._out if again is None or self._again is None else self._again
        with naming(self.file):
            out.write(encoded(record) if again is None else json.dumps([again, record]).encode() + b"\n")
            out.flush()
            if time.monotonic() - self._settled > _SECONDS_BETWEEN_SETTLING:
                os.fsync(out.fileno())
                self._settled = time.monotonic()

    def close(self, complete: bool, all_well: bool) -> Path:
        """Ends the run and returns the file that has its results.

        complete: whether the run went through all pictures. all_well: whether none must be searched again. The results
        are not in `file` if the run was interrupted and `file` has those of an earlier run.
        """
        with self._claim:
            return self._close(complete, all_well)

    def _close(self, complete: bool, all_well: bool) -> Path:
        for out in filter(None, (self._out, self._again)):
            with naming(self.file), out:
                settle(out)
        self._merge()
        if self._lines == self.file or (self._keeps_earlier and not complete):
            return self._lines
        if self._kind != LINES:
            result_formats.write(self._kind, self._lines, self.file)
            self._lines.unlink()
        else:
            if self._keeps_earlier:
                keep_permissions(self.file, self._lines)
            # An old `.retried` belongs to the file that is replaced.
            _beside(self.file, ".retried").unlink(missing_ok=True)
            self._lines.replace(self.file)
        settings, kept = _beside(self._lines, ".settings"), _beside(self.file, ".settings")
        if settings.exists():
            settings.replace(kept)
        if self._kind != LINES and complete and all_well:
            kept.unlink(missing_ok=True)
        return self.file

    def _begin(self, settings: Record) -> None:
        try:
            self._out.truncate(0)
            self._retried.unlink(missing_ok=True)
            write_whole(_beside(self._lines, ".settings"), json.dumps(settings, indent=1).encode() + b"\n")
        except OSError:
            self._claim.close()
            self._out.close()
            self._lines.unlink()
            raise

    def _left_by_an_earlier_run(self, part: Path, settings: Record) -> Path:
        self._begun = True
        if part.exists():
            _check_settings(part, settings)
            return part
        if not self._keeps_earlier:
            self._begun = False
            return self.file if self._kind == LINES else part
        _check_settings(self.file, settings)
        if self._kind == LINES:
            return self.file
        result_formats.write_lines(self._kind, self.file, part)
        earlier = _beside(self.file, ".settings")
        if earlier.exists():
            write_whole(_beside(part, ".settings"), earlier.read_bytes())
        # The lines begin with all records of the file.
        self._keeps_earlier = False
        return part

    def _ends(self, record: Record) -> bool:
        """Whether a record is the last of its picture."""
        return self._first_page_only or "error" in record or record.get("page", 0) == record.get("pages", 1) - 1

    def _cut(self, lines: Path, parse: Parse, beginnings: Sequence[bytes]) -> None:
        """Removes an incomplete last line, and the records of a last picture whose last page is missing.

        Raises ValueError, and removes nothing, if the file has other lines: then this command has not written it.
        """
        whole = reached = 0
        with lines.open("r+b") as file:
            for number, line in enumerate(file, 1):
                try:
                    record = parse(line, lines, number)
                except ValueError:
                    if line.endswith(b"\n") or not _begins(line, beginnings):
                        raise
                    break
                reached += len(line)
                if not line.endswith(b"\n"):
                    file.write(b"\n")
                    reached += 1
                if self._ends(record):
                    whole = reached
            file.truncate(whole)

    def _merge(self) -> None:
        """Replaces the records of failed pictures by those of their retries."""
        lines, retried = self._lines, self._retried
        if not retried.exists():
            return
        self._cut(lines, parsed, _BEGINNINGS)
        self._cut(retried, _parsed_retried, (b"[",))
        later = _groups(retried, _parsed_retried)
        following = next(later, None)
        with replacing(lines) as file:
            for number, records in enumerate(_groups(lines, parsed), 1):
                if following is not None and following[0][_NUMBER] == number:
                    if not _is_named(records[0], name_of(following[0])):
                        break
                    records, following = following, next(later, None)
                for record in records:
                    record.pop(_NUMBER, None)
                    file.write(encoded(record))
            if following is not None:
                raise ValueError(f"{retried} is of other pictures than {lines}; remove it")
        retried.unlink()

    def _other_pictures(self, records: list[Record], number: int, wanted: str) -> ValueError:
        return ValueError(
            f"{self.file} is of other pictures: picture {number} is {name_of(records[0])!r} there, and {wanted} here; "
            "name another file"
        )


def _is_named(record: Record, name: str) -> bool:
    """Whether a record can be that of a picture with this name. It can be from a table, which holds Unicode."""
    own = name_of(record)
    return own == name or as_unicode(own) == as_unicode(name)


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _has_content(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except FileNotFoundError:
        return False


def _check_settings(results: Path, settings: Record) -> None:
    path = _beside(results, ".settings")
    if not path.exists():
        return
    try:
        earlier = json.loads(path.read_bytes())
    except (RecursionError, ValueError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    differing = differences(earlier, settings)
    if differing:
        raise ValueError(
            f"{results} was begun with other settings: {', '.join(differing)}; remove it, or name another file"
        )


Parse = Callable[[bytes, Path, int], Record]


def _parsed_retried(line: bytes, file: Path, number: int) -> Record:
    """The record in a line of `.retried`, with the number of its picture."""
    with suppress(RecursionError, TypeError, ValueError):
        picture, record = json.loads(line)
        if isinstance(picture, int) and is_record(record):
            return {**record, _NUMBER: picture}
    raise not_written(file, number)


def _groups(lines: Path, parse: Parse) -> Iterator[list[Record]]:
    """The records of each picture."""
    group: list[Record] = []
    with lines.open("rb") as file:
        for number, line in enumerate(file, 1):
            record = parse(line, lines, number)
            if record.get("page", 0) == 0 and group:
                yield group
                group = []
            group.append(record)
    if group:
        yield group


def _begins(line: bytes, beginnings: Sequence[bytes]) -> bool:
    """Whether a line can be the incomplete last line of an interrupted run."""
    with suppress(RecursionError, ValueError):
        json.loads(line)
        return False
    # After a crash of the machine the file may have zeros in place of the line.
    text = line.rstrip(b"\0")
    return any(text.startswith(each) or each.startswith(text) for each in beginnings)
