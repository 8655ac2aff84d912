"""Files of results: one record per picture, written as soon as it is searched. A later run can continue the file.

A record is `{"path", "width", "height", "faces"}`. It also has `"page"` and `"pages"` if the file has several pages,
`"damaged"` if the decoder had to replace something missing, `"drawing"` if a drawing was written, and `"crops"` if
crops were. The record of a picture that failed is `{"path", "error", "faces": []}`. A file is a JSON document, which is
a list of records, or JSON lines.

During a run, records go to a file of lines. This is FILE itself for JSON lines, unless an earlier FILE exists, and
FILE.part otherwise. Pictures that failed and are tried again go to that file's `.retried`, which is merged at the end
or by the next run. The settings of the run are in `.settings` beside the lines. However the run ends, each record is in
one of these files. If FILE is a link, all of them are beside its target. The lines are locked: one run at a time.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Generic, TypeVar

from mtcnn_fast.run_settings import as_json, differences
from mtcnn_fast.streaming import Outcome
from mtcnn_fast.writing import claim, keep_permissions, naming, replacing, settle, write_whole

T = TypeVar("T")

Record = dict[str, Any]

FORMATS = ("json", "jsonl")

# The key under which a record that was tried again has the number of its picture, until it is merged.
_NUMBER = " number"

# A process that is killed loses no written record. A machine that crashes loses those of this time at most.
_SECONDS_BETWEEN_SETTLING = 5.0

# The first bytes of a record: in this version's files, and in those of earlier versions.
_BEGINNINGS = (b'{"path": "', b'{"name": "')


def record_of(outcome: Outcome[Any], path: str, drawing: str | None = None, crops: list[str] | None = None) -> Record:
    """The record of a picture or of a page, in JSON's types.

    drawing: the path of its drawing; None: there is none. crops: the paths of its faces' crops; None: they were not
    written.
    """
    record: Record = {"path": path}
    if outcome.pages > 1 or outcome.page:
        record |= {"page": outcome.page, "pages": outcome.pages}
    if outcome.picture is not None:
        height, width = outcome.picture.pixels.shape[:2]
        record |= {"width": width, "height": height}
    if outcome.error is not None:
        record["error"] = outcome.error
    record["faces"] = [] if outcome.faces is None else outcome.faces.to_dicts()
    if outcome.picture is not None and outcome.picture.damage is not None:
        record["damaged"] = outcome.picture.damage
    if drawing is not None:
        record["drawing"] = drawing
    if crops is not None:
        record["crops"] = crops
    return record


def format_of(file: str, name: str | None) -> str:
    """One of FORMATS: `name`; if that is None, "jsonl" for a file with the suffix .jsonl or .ndjson, else "json"."""
    return name or ("jsonl" if file.lower().endswith((".jsonl", ".ndjson")) else "json")


class Stream:
    """Results on stdout, or in a pipe or a device. They are written at once and never read back."""

    def __init__(self, write: Callable[[str], object], kind: str) -> None:
        self._write = write
        self._document = kind == "json"
        self._count = 0

    def add(self, record: Record) -> None:
        """Writes a record."""
        before = ("," if self._count else "[") + "\n" if self._document else ""
        self._write(before + json.dumps(record) + ("" if self._document else "\n"))
        self._count += 1

    def close(self) -> None:
        """Ends the document."""
        if self._document:
            self._write("\n]\n" if self._count else "[]\n")


class File(Generic[T]):
    """Results in a regular file.

    settings: all settings that results depend on, in JSON's types. resume: continue the results of an earlier run, if
    there are any. first_page_only: whether each picture has the record of its first page only. to_do_again: takes the
    records of a picture and returns whether to search it again.

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
        self._document = kind == "json"
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
            self._lines = part if self._document or self._keeps_earlier else file
        self._retried = _beside(self._lines, ".retried")
        if self._begun:
            self._merge()
            self._cut(self._lines, _parsed, _BEGINNINGS)
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
        earlier = _groups(self._lines, _parsed) if self._begun else iter(())
        number = 0
        for number, (name, file) in enumerate(files, 1):
            records = next(earlier, None)
            if records is None:
                yield name, file, None
            elif _name(records[0]) != name:
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
            out.write(json.dumps(record if again is None else [again, record]).encode() + b"\n")
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
        if self._document:
            _write_document(self._lines, self.file)
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
        if self._document and complete and all_well:
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
            return part if self._document else self.file
        _check_settings(self.file, settings)
        if not self._document:
            return self.file
        _write_lines(self.file, part)
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
        self._cut(lines, _parsed, _BEGINNINGS)
        self._cut(retried, _parsed_retried, (b"[",))
        later = _groups(retried, _parsed_retried)
        following = next(later, None)
        with replacing(lines) as file:
            for number, records in enumerate(_groups(lines, _parsed), 1):
                if following is not None and following[0][_NUMBER] == number:
                    if _name(following[0]) != _name(records[0]):
                        break
                    records, following = following, next(later, None)
                for record in records:
                    record.pop(_NUMBER, None)
                    file.write(json.dumps(record).encode() + b"\n")
            if following is not None:
                raise ValueError(f"{retried} is of other pictures than {lines}; remove it")
        retried.unlink()

    def _other_pictures(self, records: list[Record], number: int, wanted: str) -> ValueError:
        return ValueError(
            f"{self.file} is of other pictures: picture {number} is {_name(records[0])!r} there, and {wanted} here; "
            "name another file"
        )


def failed(records: list[Record]) -> bool:
    """Whether a picture, or a page of it, could not be searched."""
    return any("error" in record for record in records)


def _name(record: Record) -> str:
    return str(record.get("path", record.get("name")))


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


def _parsed(line: bytes, file: Path, number: int) -> Record:
    """The record in a line of a file."""
    with suppress(RecursionError, ValueError):
        record = json.loads(line)
        if _is_record(record):
            return dict(record)
    raise ValueError(f"{file}:{number}: not a line that this command has written")


def _parsed_retried(line: bytes, file: Path, number: int) -> Record:
    """The record in a line of `.retried`, with the number of its picture."""
    with suppress(RecursionError, TypeError, ValueError):
        picture, record = json.loads(line)
        if isinstance(picture, int) and _is_record(record):
            return {**record, _NUMBER: picture}
    raise ValueError(f"{file}:{number}: not a line that this command has written")


def _is_record(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("path", value.get("name")), str)
        and isinstance(value.get("faces"), list)
        and isinstance(value.get("drawing", ""), str)
        and isinstance(value.get("crops", []), list)
        and all(isinstance(crop, str) for crop in value.get("crops", []))
        and all(isinstance(value.get(key, 0), int) for key in ("page", "pages"))
    )


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


def _write_document(lines: Path, document: Path) -> None:
    with replacing(document) as file, lines.open("rb") as records:
        before = b"["
        for line in records:
            file.write(before + b"\n" + line.rstrip(b"\n"))
            before = b","
        file.write(b"[]\n" if before == b"[" else b"\n]\n")


def _write_lines(document: Path, lines: Path) -> None:
    """Turns a document into lines: one by one if it has this module's layout, else with all of it in memory."""
    try:
        with replacing(lines) as file:
            for record in _records_by_line(document):
                file.write(json.dumps(record).encode() + b"\n")
    except ValueError:
        with replacing(lines) as file:
            for record in _records(document):
                file.write(json.dumps(record).encode() + b"\n")


def _records_by_line(document: Path) -> Iterator[Record]:
    with document.open("rb") as file:
        for number, line in enumerate(file, 1):
            text = line.strip().removesuffix(b",")
            if number == 1 and text not in (b"[", b"[]"):
                raise ValueError("not in the layout of this module")
            if text not in (b"[", b"]", b"[]", b""):
                yield _parsed(text, document, number)


def _records(document: Path) -> list[Record]:
    try:
        records = json.loads(document.read_bytes())
    except (RecursionError, ValueError) as error:
        raise ValueError(f"{document} is not a JSON document to go on with: {error}") from error
    if not isinstance(records, list):
        raise ValueError(f"{document} is not a list of records to go on with")
    return [_parsed(json.dumps(record).encode(), document, number) for number, record in enumerate(records, 1)]
