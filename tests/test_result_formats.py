"""Files of results in every format: they hold the same, are gone on with alike, and are read for measuring."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mtcnn_fast import MTCNN, tables
from mtcnn_fast.cli import main
from mtcnn_fast.datasets import Problems
from mtcnn_fast.detections import FACE_COLUMNS, LANDMARKS
from mtcnn_fast.evaluate import PictureDetections, detect_to_file, read_detections
from mtcnn_fast.result_formats import format_of, write, write_lines
from mtcnn_fast.rows import COLUMNS, records_of, rows_of

FACE: dict[str, Any] = {
    "box": [1.5, 2.25, 3.0, 400.1000061035156],
    "score": 0.9998999834060669,
    "landmarks": {name: [float(index), -0.5] for index, name in enumerate(LANDMARKS)},
}
RECORDS: list[dict[str, Any]] = [
    {"path": "a.jpg", "width": 640, "height": 480, "faces": [FACE, {**FACE, "score": 0.75}]},
    {"path": "a.jpg", "width": 640, "height": 480, "faces": [FACE]},
    {"path": 'comma, "quote"\nline.jpg', "width": 1, "height": 2, "faces": []},
    {"path": "away.jpg", "error": "No such file or directory", "faces": []},
    {"path": "b.tif", "page": 0, "pages": 2, "width": 5, "height": 6, "faces": [FACE], "damaged": "cut off"},
    {"path": "b.tif", "page": 1, "pages": 2, "width": 5, "height": 6, "error": "CUDA error", "faces": []},
    {"path": "ü.jpg", "width": 5, "height": 6, "faces": [FACE], "drawing": "out/ü.jpg", "crops": ["out/ü-face0.png"]},
]
PARQUET = pytest.param("parquet", marks=pytest.mark.skipif(find_spec("pyarrow") is None, reason="no pyarrow"))
TABLES = ("csv", PARQUET)
EVERY = ("json", "jsonl", *TABLES)


def detect(*arguments: object) -> int:
    return main(["detect", "--device", "cpu", *map(str, arguments)])


def of_lines(path: Path) -> list[dict[str, Any]]:
    return list(map(json.loads, path.read_text().splitlines()))


def without_empty_crops(record: dict[str, Any]) -> dict[str, Any]:
    """A table does not tell if crops were asked for of a picture that has no faces."""
    return {key: value for key, value in record.items() if (key, value) != ("crops", [])}


def records(path: Path) -> list[dict[str, Any]]:
    """The records in a file of any format."""
    kind, lines = format_of(path.name), path.with_name("read.jsonl")
    if kind == "jsonl":
        return of_lines(path)
    write_lines(kind, path, lines)
    return list(map(without_empty_crops, of_lines(lines)))


@pytest.fixture
def pictures(tmp_path: Path, astronaut_path: Path) -> Path:
    """Ten times: a picture with a face, one without, one with two pages, and a file that is no picture."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    with Image.open(astronaut_path) as picture:
        face = picture.crop((120, 40, 300, 220)).resize((60, 60))
    for number in range(10):
        face.save(folder / f"{number}-face.png")
        Image.new("RGB", (40, 30)).save(folder / f"{number}-none.png")
        face.copy().save(folder / f"{number}-pages.tif", save_all=True, append_images=[Image.new("RGB", (40, 30))])
        (folder / f"{number}-away.png").write_bytes(b"away")
    return folder


@pytest.mark.parametrize("kind", TABLES)
def test_a_table_tells_what_records_tell(kind: str, tmp_path: Path) -> None:
    lines, table = tmp_path / "a.jsonl", tmp_path / f"a.{kind}"
    lines.write_text("".join(json.dumps(record) + "\n" for record in RECORDS))
    write(kind, lines, table)
    assert records(table) == RECORDS


def test_the_columns_of_csv(tmp_path: Path) -> None:
    lines, table = tmp_path / "a.jsonl", tmp_path / "a.csv"
    lines.write_text("".join(json.dumps(record) + "\n" for record in RECORDS))
    write("csv", lines, table)
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(COLUMNS)
    assert set(FACE_COLUMNS) < set(COLUMNS)
    assert [(row["path"], row["page"], row["face"]) for row in rows] == [
        ("a.jpg", "0", "0"),
        ("a.jpg", "0", "1"),
        ("a.jpg", "0", "0"),
        ('comma, "quote"\nline.jpg', "0", ""),
        ("away.jpg", "0", ""),
        ("b.tif", "0", "0"),
        ("b.tif", "1", ""),
        ("ü.jpg", "0", "0"),
    ]
    points = [value for point in FACE["landmarks"].values() for value in point]
    assert [float(rows[1][column]) for column in FACE_COLUMNS] == [*FACE["box"], 0.75, *points]
    assert (rows[4]["error"], rows[4]["x1"], rows[4]["width"]) == ("No such file or directory", "", "")
    assert (rows[7]["drawing"], rows[7]["crop"]) == ("out/ü.jpg", "out/ü-face0.png")


def test_data_frames_read_tables(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    for kind in ("csv", "parquet"):
        assert detect(pictures, "--json", tmp_path / f"a.{kind}") == 1
    by_csv, by_parquet = pandas.read_csv(tmp_path / "a.csv"), pandas.read_parquet(tmp_path / "a.parquet")
    assert list(by_csv) == list(by_parquet) == list(COLUMNS)
    assert len(by_csv) == len(by_parquet) == 50
    faces = MTCNN().detect(np.asarray(Image.open(pictures / "0-face.png")))
    for table in (by_csv, by_parquet):
        assert (table["error"].notna().sum(), table["face"].notna().sum()) == (10, 20)
        own = table[table["path"] == str(pictures / "0-face.png")]
        np.testing.assert_array_equal(own[list(FACE_COLUMNS)].astype("float32"), faces.to_rows())
    assert set(by_parquet[list(FACE_COLUMNS)].dtypes) == {np.dtype("float32")}


@pytest.mark.parametrize("kind", EVERY)
def test_an_interrupted_run_is_gone_on_with(
    kind: str,
    pictures: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    interrupted_after: Callable[[int], AbstractContextManager[None]],
) -> None:
    whole, path = tmp_path / f"whole.{kind}", tmp_path / f"a.{kind}"
    assert detect(pictures, "--json", whole) == 1
    with interrupted_after(17):
        assert detect(pictures, "--json", path) == 130
    # A readable file of the pictures before, the failed ones among them.
    assert records(path) == records(whole)[:17]
    assert sum("error" in record for record in records(path)) == 4
    capsys.readouterr()
    assert detect(pictures, "--json", path, "--resume") == 1
    out, err = capsys.readouterr()
    assert path.read_bytes() == whole.read_bytes()
    # Pictures without a face are not searched again, those that failed are.
    assert "0-none.png" not in out
    assert "0-away.png: " in err


@pytest.mark.skipif(sys.platform == "win32", reason="no signals to send to another process")
@pytest.mark.parametrize("kind", TABLES)
def test_a_killed_run_is_gone_on_with(
    kind: str, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, path = tmp_path / f"whole.{kind}", tmp_path / f"a.{kind}"
    assert detect(*[pictures] * 4, "--json", whole) == 1
    command = [sys.executable, "-um", "mtcnn_fast", "detect", "--device", "cpu", *[str(pictures)] * 4, "--json", path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        for _ in range(20):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    assert not path.exists()
    assert detect(*[pictures] * 4, "--json", path, "--resume") == 1
    assert path.read_bytes() == whole.read_bytes()
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("kind", TABLES)
def test_what_failed_is_tried_again(
    kind: str, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"a.{kind}"
    crops = ("--crops", tmp_path / "crops")
    assert detect(pictures, "--json", path, *crops) == 1
    for number in range(10):
        (pictures / f"{number}-away.png").write_bytes((pictures / f"{number}-face.png").read_bytes())
    capsys.readouterr()
    assert detect(pictures, "--json", path, *crops, "--resume") == 0
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 10
    assert all("-away.png: 1 face" in line for line in out)
    assert sum(len(record["faces"]) for record in records(path)) == 30
    assert all(len(record["crops"]) == 1 for record in records(path) if record["faces"])


def test_a_name_that_is_no_text(tmp_path: Path, astronaut_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / os.fsdecode(b"a\xff.jpg")
    try:
        picture.symlink_to(astronaut_path)
    except OSError:
        pytest.skip("the file system has names of text alone")
    for kind in ("csv", *(["parquet"] if find_spec("pyarrow") else [])):
        path = tmp_path / f"a.{kind}"
        assert detect(picture, tmp_path / "away.jpg", "--json", path) == 1
        before = path.read_bytes()
        assert detect(picture, tmp_path / "away.jpg", "--json", path, "--resume") == 1
        assert path.read_bytes() == before
    assert b"/a\xff.jpg," in (tmp_path / "a.csv").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--json", "a.txt"], "a.txt has the suffix '.txt'; wanted one of .json, .jsonl, .ndjson, .csv, .parquet, or"),
        (["--json", "faces"], "faces has the suffix ''; wanted one of"),
        (["--json", "-", "--format", "parquet"], "parquet cannot be written to stdout, a pipe or a device"),
        (["--json", "missing/a.csv"], "there is no folder for missing/a.csv"),
        (["--json", "other.csv"], "other.csv exists and is another kind of file; it is not replaced"),
        (["--json", "other.parquet"], "other.parquet exists and is another kind of file; it is not replaced"),
        (["--json", "edited.csv", "--resume"], "edited.csv:2: not a line that this command has written"),
        (["--json", "short.csv", "--resume"], "short.csv has no column page; wanted path, page, pages"),
        (["--json", "damaged.parquet", "--resume"], "damaged.parquet is not a Parquet file that can be read"),
    ],
)
def test_what_is_refused(
    arguments: list[str],
    message: str,
    pictures: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if any("parquet" in argument for argument in arguments):
        pytest.importorskip("pyarrow")
    monkeypatch.chdir(tmp_path)
    Path("other.csv").write_text("name,age\nAnna,7\n")
    Path("other.parquet").write_text("name,age\nAnna,7\n")
    Path("short.csv").write_text("path,x1\na.jpg,1\n")
    Path("edited.csv").write_text(f"{','.join(COLUMNS)}\n{','.join(['a.jpg', '0', '1', '9', '9', '0', 'x'])}\n")
    Path("damaged.parquet").write_bytes(b"PAR1" + bytes(100))
    with pytest.raises(SystemExit) as exited:
        detect(pictures, *arguments)
    assert exited.value.code == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert not list(tmp_path.glob("*.part*"))


def test_lines_of_another_tool(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = pictures / "0-face.png"
    part = tmp_path / "a.csv.part"
    part.write_text(json.dumps({"path": str(picture), "faces": [{"box": [1, 2, 3, 4], "score": 1}]}) + "\n")
    with pytest.raises(SystemExit):
        detect(picture, "--json", tmp_path / "a.csv", "--resume")
    assert f"{part}:1: not a line that this command has written" in capsys.readouterr().err
    assert [path.name for path in tmp_path.glob("a.csv*")] == [part.name]


def test_parquet_without_its_package(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(SystemExit):
        detect(pictures, "--json", tmp_path / "a.parquet")
    assert 'pip install "mtcnn_fast[parquet]"' in capsys.readouterr().err
    with pytest.raises(ImportError, match="a Parquet file needs pyarrow"):
        detect_to_file(MTCNN(), [], tmp_path / "a.parquet")
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(ImportError, match="a Parquet file needs pyarrow"):
        list(read_detections(tmp_path / "a.parquet"))


def test_csv_on_stdout(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert detect(pictures, "--json", tmp_path / "a.csv") == 1
    capsys.readouterr()
    assert detect(pictures, "--json", "-", "--format", "csv") == 1
    assert capsys.readouterr().out == (tmp_path / "a.csv").read_text()


def plain(found: PictureDetections) -> tuple[Any, ...]:
    return found.name, found.boxes.tolist(), found.scores.tolist(), found.landmarks.tolist()


def test_every_format_gives_the_same_detections(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = []
    for kind in ("jsonl", "json", "csv", *(["parquet"] if find_spec("pyarrow") else [])):
        path, problems = tmp_path / f"a.{kind}", Problems()
        command = ["evaluate", "detect", str(pictures), "--json", str(path), "--device", "cpu"]
        assert main(command) == 1
        assert main(command) == 1  # it goes on where it was
        found.append(list(map(plain, read_detections(path, problems=problems))))
        assert problems.count == 10
        assert all("the detector had no picture: " in told for told in problems)
    assert len(found[0]) == 40
    assert all(each == found[0] for each in found)


def test_a_folder_of_parquet_files(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    lines, folder = tmp_path / "a.jsonl", tmp_path / "faces"
    folder.mkdir()
    for name, record in (("1.parquet", RECORDS[0]), ("0.parquet", RECORDS[3]), ("2.parquet", RECORDS[4])):
        lines.write_text(json.dumps(record) + "\n")
        write("parquet", lines, folder / name)
    (folder / "notes.txt").touch()
    problems, notes = Problems(), Problems()
    found = list(read_detections(folder, problems=problems, notes=notes))
    assert [(picture.name, len(picture.scores)) for picture in found] == [("away.jpg", 0), ("a.jpg", 2), ("b.tif", 1)]
    assert list(problems) == [f"{folder}/0.parquet:1: away.jpg: the detector had no picture: No such file or directory"]
    assert list(notes)[-1] == f"{folder}: passed over: 1 .txt"


def test_a_table_of_another_tool(tmp_path: Path) -> None:
    """Only the columns that matter, in any order, and rows that cannot be used."""
    path, problems = tmp_path / "a.csv", Problems()
    path.write_text(
        "score,x1,y1,x2,y2,path,nose_x,nose_y,id\n"
        "0.9,1,2,3,4,a.jpg,2,3,7\n"
        "0.8,1,2,3,4.5,a.jpg,,,8\n"
        "0.8,1,2\n"
        "high,1,2,3,4,b.jpg,,,9\n"
        "0.7,3,2,1,4,b.jpg,,,9\n"
        ",,,,,c.jpg,,,\n"
        "0.5,1,2,3,4,,,,\n"
        "0.5,1,2,3,1_0,d.jpg,,,\n"
    )
    found = {picture.name: picture for picture in read_detections(path, problems=problems)}
    assert [(name, len(picture.scores)) for name, picture in found.items()] == [
        ("a.jpg", 2),
        ("b.jpg", 0),
        ("c.jpg", 0),
        ("d.jpg", 0),
    ]
    np.testing.assert_array_equal(found["a.jpg"].landmarks[0, 2], [2, 3])
    assert np.isnan(found["a.jpg"].landmarks[1]).all()
    assert [told.removeprefix(str(path)) for told in problems] == [
        ":4: 3 cells; wanted 9, as the first line has",
        ":5: b.jpg: faces[0]: score is 'high' (str); wanted a number",
        ":5: b.jpg: faces[1]: box 3 2 1 4 (x1 y1 x2 y2) has a negative side",
        ":8: path is None (NoneType); wanted the path of a picture",
        ":9: d.jpg: faces[0]: box[3] is '1_0' (str); wanted a number",
    ]


@pytest.mark.parametrize("kind", TABLES)
def test_memory_does_not_grow(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_ROWS_IN_GROUP", 500)
    monkeypatch.setattr(tables, "_ROWS_READ", 500)
    peaks = []
    for count in (1_000, 5_000):
        lines = tmp_path / f"{count}.jsonl"
        with lines.open("w") as file:
            file.writelines(json.dumps({**RECORDS[0], "path": f"{number}.jpg"}) + "\n" for number in range(count))
        tracemalloc.start()
        write(kind, lines, tmp_path / "a")
        for _ in read_detections(tmp_path / "a", kind):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 1_000_000


def test_rows_and_back() -> None:
    for record in RECORDS:
        rows = [dict(zip(COLUMNS, row, strict=True)) for row in rows_of(record)]
        ((_, back),) = records_of(enumerate(rows))
        assert without_empty_crops(back) == record
