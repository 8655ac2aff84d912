"""Files of detections of every format, whole and damaged, and their pictures' names."""

from __future__ import annotations

import io
import json
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mtcnn_fast import Detections
from mtcnn_fast.cli.reports import report_coverage
from mtcnn_fast.datasets import Problems
from mtcnn_fast.detections import LANDMARKS
from mtcnn_fast.evaluate import PictureDetections, read_detections
from mtcnn_fast.evaluate.detection_files import FORMATS
from mtcnn_fast.evaluate.pairs import ground_truth_pairs

# By picture, x, y, w, h, score of its faces: numbers that float32 has exactly.
FACES: dict[str, list[tuple[float, ...]]] = {
    "a--b/one": [(10, 20, 30, 40.5, 0.25), (1.5, -2, 3, 4, 0.9999999)],
    "a--b/two": [],
    "c--d/three": [(100, 100, 0, 8, -3.5)],
}
POINTS = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0], [9.0, 10.5]]


def rows(name: str) -> str:
    return "".join(f"{x} {y} {w} {h} {score}\n" for x, y, w, h, score in FACES[name])


def picture_file(name: str) -> str:
    # Detectors write whatever they like in the first line, suffix and all.
    return f"{name.partition('/')[2]}.jpg\n{len(FACES[name])}\n{rows(name)}"


def write_folder(path: Path) -> Path:
    for name in FACES:
        file = path / "run" / f"{name}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(picture_file(name))
    return path


def write_tar(path: Path, mode: Any = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:
        for name in FACES:
            content = picture_file(name).encode()
            member = tarfile.TarInfo(f"run/{name}.txt")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def write_zip(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in FACES:
            archive.writestr(f"{name}.txt", picture_file(name))
    return path


def write_fddb(path: Path) -> Path:
    path.write_bytes(
        "".join(f"{name}\n{len(FACES[name])}\n{rows(name)}" for name in FACES).replace("\n", "\r\n").encode()
    )
    return path


def records(key: str) -> list[dict[str, Any]]:
    return [
        {key: name, "faces": [{"box": [x, y, x + w, y + h], "score": score} for x, y, w, h, score in faces]}
        for name, faces in FACES.items()
    ]


def write_jsonl(path: Path) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records("name")))
    return path


def write_document(path: Path) -> Path:
    path.write_text(json.dumps(records("path")))
    return path


def write_coco(path: Path) -> Path:
    results = [
        {"image_id": number, "category_id": 1, "bbox": face[:4], "score": face[4]}
        for number, faces in enumerate(FACES.values())
        for face in faces
    ]
    path.write_text(json.dumps(results))
    return path


def coco_images(path: Path) -> Path:
    path.write_text(json.dumps({"images": [{"id": i, "file_name": name} for i, name in enumerate(FACES)]}))
    return path


def check(found: list[PictureDetections]) -> None:
    assert [picture.name for picture in found] == list(FACES)
    for picture, faces in zip(found, FACES.values(), strict=True):
        table = np.array(faces).reshape(-1, 5)
        assert (picture.boxes.dtype, picture.scores.dtype, picture.landmarks.dtype) == (
            np.float32,
            np.float64,
            np.float32,
        )
        np.testing.assert_array_equal(picture.boxes, np.hstack((table[:, :2], table[:, :2] + table[:, 2:4])))
        np.testing.assert_array_equal(picture.scores, table[:, 4])
        assert picture.landmarks.shape == (len(faces), 5, 2)
        assert np.isnan(picture.landmarks).all()


@pytest.mark.parametrize(
    ("format", "write"),
    [
        ("wider", write_folder),
        ("wider", write_tar),
        ("wider", lambda path: write_tar(path, "w")),
        ("wider", write_zip),
        ("fddb", write_fddb),
        ("jsonl", write_jsonl),
        ("document", write_document),
    ],
    ids=["folder", "tar.gz", "tar", "zip", "fddb", "jsonl", "document"],
)
def test_formats(format: str, write: Callable[[Path], Path], tmp_path: Path) -> None:
    path = write(tmp_path / "detections")
    problems = Problems()
    check(list(read_detections(path, problems=problems)))
    check(list(read_detections(str(path), format, problems=problems)))
    assert list(problems) == []


def test_coco(tmp_path: Path) -> None:
    path, images = write_coco(tmp_path / "results.json"), coco_images(tmp_path / "annotations.json")
    check(list(read_detections(path, images=images)))
    # Without the document nothing tells the names, nor that there is a picture without faces.
    assert [picture.name for picture in read_detections(path)] == ["0", "2"]


def test_landmarks(tmp_path: Path) -> None:
    named = dict(zip(LANDMARKS, POINTS, strict=True))
    box = {"box": [0, 0, 5, 5], "score": 0.5}
    path = tmp_path / "faces.jsonl"
    path.write_text(
        json.dumps(
            {
                "name": "a",
                "faces": [
                    {**box, "landmarks": named},
                    {**box, "landmarks": {**named, "nose": None}},
                    {**box, "landmarks": None},
                ],
            }
        )
    )
    (picture,) = read_detections(path)
    unknown = np.full(2, np.nan)
    np.testing.assert_array_equal(picture.landmarks[0], POINTS)
    np.testing.assert_array_equal(picture.landmarks[1], [*POINTS[:2], unknown, *POINTS[3:]])
    np.testing.assert_array_equal(picture.landmarks[2], [unknown] * 5)

    path.write_text(
        json.dumps(
            [
                {
                    "image_id": "a",
                    "bbox": [0, 0, 5, 5],
                    "score": 0.5,
                    "keypoints": [value for i, point in enumerate(POINTS) for value in (*point, 2 * (i != 2))],
                }
            ]
        )
    )
    (picture,) = read_detections(path)
    assert picture.name == "a"
    np.testing.assert_array_equal(picture.landmarks[0], [*POINTS[:2], unknown, *POINTS[3:]])


def test_own_detections_come_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    corners = rng.uniform(0, 100, (4, 2)).astype(np.float32)
    faces = Detections(np.hstack((corners, corners + 9)), np.sort(rng.random(4))[::-1], rng.normal(size=(4, 5, 2)))
    path = tmp_path / "faces.json"
    path.write_text(json.dumps([{"path": "x\\y.jpg", "width": 9, "height": 9, "faces": faces.to_dicts()}]))
    (picture,) = read_detections(path)
    assert picture.name == "x/y.jpg"
    for found, given in zip((picture.boxes, picture.scores, picture.landmarks), faces.astuple(), strict=True):
        np.testing.assert_array_equal(found, given)


def test_bad_rows_are_told_and_cost_no_other(tmp_path: Path) -> None:
    path = tmp_path / "fddb.txt"
    path.write_text(
        "a\n5\n1 2 3 4 .5\n1 2 nan 4 .5\n1 2 -3 4 .5\n1 2 3 4\n1 2 3 four .5\n"
        "b\n3\n1 2 3 4 .5\n"  # two rows too few
        "c\n1\n1 2 3 4 .5\n1 2 3 4 .25\n"  # one too many
        "d\n\n1\n1 2 3 4 inf\n"
    )
    problems = Problems()
    found = list(read_detections(path, problems=problems))
    assert [(picture.name, len(picture.boxes)) for picture in found] == [("a", 1), ("b", 1), ("c", 1), ("d", 0)]
    assert list(problems) == [
        f"{path}:4: box 1 2 nan 6 (x1 y1 x2 y2) is not finite, or beyond 2^24 pixels",
        f"{path}:5: box 1 2 -2 6 (x1 y1 x2 y2) has a negative side",
        f"{path}:6: the row has 4 numbers; wanted x y w h score",
        f"{path}:7: 'four' is not a number",
        f"{path}:8: 2 of the 3 rows of 'b' are missing",
        f"{path}:14: '1 2 3 4 .25' is neither the name of a picture, with a count after it, nor one of its rows",
        f"{path}:18: score is inf; wanted a finite number",
    ]
    with pytest.warns(UserWarning, match=r"^7 entries of .*fddb\.txt could not be used; the first: .*:4: box"):
        list(read_detections(path))


def test_a_row_of_zeros_is_no_face(tmp_path: Path) -> None:
    path = tmp_path / "fddb.txt"
    # A picture may be named 0.
    path.write_text("a\n0\n0 0 0 0 0\nb\n0\n0\n1\n1 2 3 4 .5\n")
    problems = Problems()
    found = list(read_detections(path, problems=problems))
    assert [(picture.name, len(picture.boxes)) for picture in found] == [("a", 0), ("b", 0), ("0", 1)]
    assert not problems.count


def test_bad_lines_of_json(tmp_path: Path) -> None:
    path = tmp_path / "faces.jsonl"
    lines = [
        {"name": "a", "faces": [{"box": [0, 0, 1], "score": 1}, {"box": [0, 0, 1, 1], "score": "1"}, 7]},
        {"name": "b"},
        {"name": "c", "error": "not a picture", "faces": []},
        {"name": "d", "faces": [{"box": [0, 0, 1, 1], "score": 1, "landmarks": {"nose": [1]}}]},
        {"name": "e", "faces": [{"box": [0, 0, 1, 1], "score": 1}]},
    ]
    path.write_text("\n".join(map(json.dumps, lines)) + '\n{"name": "f", "fac')
    problems = Problems()
    found = list(read_detections(path, problems=problems))
    assert [(picture.name, len(picture.boxes)) for picture in found] == [("a", 0), ("c", 0), ("d", 0), ("e", 1)]
    told = list(problems)
    assert told[:-1] == [
        f"{path}:1: a: faces[0]: box has 3 numbers; wanted 4",
        f"{path}:1: a: faces[1]: score is '1' (str); wanted a number",
        f"{path}:1: a: faces[2]: 7 (int); wanted an object",
        f'{path}:2: not an object with a string "path" (or "name") and a list "faces"',
        f"{path}:3: c: the detector had no picture: not a picture",
        f"{path}:4: d: faces[0]: nose has 1 numbers; wanted 2",
    ]
    assert told[-1].startswith(f"{path}:6: not JSON: ")


def test_bad_results_of_coco(tmp_path: Path) -> None:
    path, images = tmp_path / "results.json", coco_images(tmp_path / "annotations.json")
    row = {"bbox": [0, 0, 1, 1], "score": 1}
    path.write_text(json.dumps([{"image_id": 0, **row}, {"image_id": 9, **row}, {"image_id": 1.5, **row}, None]))
    problems = Problems()
    assert [len(picture.boxes) for picture in read_detections(path, images=images, problems=problems)] == [1, 0, 0]
    assert list(problems) == [
        f"{path}[1]: {images} has no image with the id 9",
        f"{path}[2]: image_id is 1.5 (float); wanted an integer or a string",
        f"{path}[3]: None (NoneType); wanted an object",
    ]
    images.write_text('{"images": [{"id": 1}, {"id": true, "file_name": "a"}, 7, {"id": 0, "file_name": "a"}]}')
    problems = Problems()
    assert [picture.name for picture in read_detections(path, images=images, problems=problems)] == ["a"]
    assert list(problems)[:3] == [
        f"{images}: images[0]: file_name is None (NoneType); wanted a string",
        f"{images}: images[1]: id is True (bool); wanted an integer or a string",
        f"{images}: images[2]: 7 (int); wanted an object",
    ]
    images.write_text('{"images": {}}')
    with pytest.raises(ValueError, match="has no list `images` of objects with id and file_name"):
        list(read_detections(path, images=images))
    for names in (("a", "b"), ("b", "a")):
        images.write_text(json.dumps({"images": [{"id": 1, "file_name": name} for name in names]}))
        with pytest.raises(ValueError, match=r"has two images with the id 1: '[ab]' and '[ab]'"):
            list(read_detections(path, images=images))


def test_bad_picture_files(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "detections")
    (folder / "run" / "a--b" / "one.txt").write_text("")
    (folder / "run" / "a--b" / "two.txt").write_text("x\n0\ny\n0\n")
    (folder / "run" / "notes.md").write_text("not detections")
    problems = Problems()
    assert [picture.name for picture in read_detections(folder, problems=problems)] == ["c--d/three"]
    assert [told.partition(": ")[2] for told in problems] == [
        f"has {count}; wanted one: a name, a count and rows" for count in ("0 pictures", "2 pictures or more")
    ]


@pytest.mark.parametrize("write", [write_tar, write_zip], ids=["tar.gz", "zip"])
@pytest.mark.parametrize("format", ["wider", None])
def test_damaged_archives(write: Callable[[Path], Path], format: str | None, tmp_path: Path) -> None:
    path = write(tmp_path / "detections")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="detections is not a whole archive"):
        list(read_detections(path, format))


def test_a_damaged_member_costs_no_other(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "detections.zip")
    path.write_bytes(path.read_bytes().replace(b"jpg", b"JPG", 1))
    problems = Problems()
    assert [picture.name for picture in read_detections(path, problems=problems)] == ["a--b/two", "c--d/three"]
    (told,) = problems
    assert told.startswith(f"{path}/a--b/one.txt: cannot be read: Bad CRC-32")


def test_errors(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "faces.jsonl")
    with pytest.raises(FileNotFoundError, match="there are no detections at"):
        read_detections(tmp_path / "missing")
    with pytest.raises(ValueError, match=f"^format is 'voc' .*; wanted one of {', '.join(FORMATS)}$"):
        read_detections(path, "voc")
    with pytest.raises(ValueError, match=r"serves COCO's results; .* has the format jsonl"):
        read_detections(path, images=path)
    with pytest.raises(ValueError, match="is not JSON"):
        list(read_detections(path, "document"))
    with pytest.raises(ValueError, match="is not a whole archive"):
        list(read_detections(path, "wider"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"has no \.txt files"):
        list(read_detections(tmp_path / "empty"))
    path.write_text('{"name": "a"}')
    with pytest.raises(ValueError, match="wanted a list of pictures or of COCO's results"):
        list(read_detections(path, "document"))
    path.write_text("")
    assert list(read_detections(path)) == []


def write_windows_folder(path: Path) -> Path:
    for name in FACES:
        file = path / "run" / f"{name}.TXT"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(picture_file(name).replace("\n", "\r").encode("utf-16"))
    return path


def write_windows_zip(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in FACES:
            entry = zipfile.ZipInfo("x")
            entry.filename = f"run/{name}.txt".replace("/", "\\")
            archive.writestr(entry, picture_file(name).encode("utf-8-sig"))
    return path


def write_windows_tar(path: Path) -> Path:
    with tarfile.open(path, "w:xz") as archive:
        for name in FACES:
            content = picture_file(name).encode("utf-16-le")
            member = tarfile.TarInfo(f"run\\{name}.txt".replace("/", "\\"))
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize("write", [write_windows_folder, write_windows_zip, write_windows_tar])
def test_folders_and_archives_of_windows(write: Callable[[Path], Path], tmp_path: Path) -> None:
    path, problems = write(tmp_path / "detections"), Problems()
    check(list(read_detections(path, problems=problems)))
    assert list(problems) == []


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("write", [write_fddb, write_jsonl, write_document, write_coco])
def test_files_of_windows(write: Callable[[Path], Path], encoding: str, end: str, tmp_path: Path) -> None:
    path, images = write(tmp_path / "detections"), None
    if write is write_coco:
        images = coco_images(tmp_path / "images.json")
    for file in filter(None, (path, images)):
        text = file.read_text().replace("a--b/", "a--b\\\\" if file.read_text()[0] in "[{" else "a--b\\")
        file.write_bytes(text.replace("\n", end).encode(encoding))
    problems = Problems()
    check(list(read_detections(path, images=images, problems=problems)))
    assert list(problems) == []


@pytest.mark.parametrize("format", [None, "jsonl", "document", "fddb", "csv"])
def test_an_encoding_that_is_not_told(format: str | None, tmp_path: Path) -> None:
    path = tmp_path / "found"
    path.write_bytes('{"path": "脸.jpg", "faces": []}\n'.encode("utf-16-le"))
    with pytest.raises(ValueError, match=r"found.*wanted UTF-8, or UTF-16 or UTF-32 with a byte order mark"):
        list(read_detections(path, format))


def test_what_a_folder_or_an_archive_holds(tmp_path: Path) -> None:
    """One rule: regular files, links followed; nothing of macOS, no pipe that is waited for."""
    folder = write_folder(tmp_path / "detections")
    inner = folder / "run" / "a--b"
    (inner / "._one.txt").write_bytes(b"\0")
    (folder / "__MACOSX").mkdir()
    (folder / "__MACOSX" / "one.txt").write_bytes(b"\0")
    (folder / "notes.md").touch()
    os.mkfifo(inner / "pipe.txt")
    (inner / "loop").symlink_to(folder)
    (inner / "two.txt").rename(tmp_path / "elsewhere")
    (inner / "two.txt").symlink_to(tmp_path / "elsewhere")
    problems, notes = Problems(), Problems()
    check(list(read_detections(folder, problems=problems, notes=notes)))
    assert list(problems) == []
    (note,) = notes
    assert note.startswith(f"{folder}: passed over: 2 of macOS")
    assert "1 .md" in note

    archive = tmp_path / "detections.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(folder, "x")
    notes = Problems()
    names = [picture.name for picture in read_detections(archive, notes=notes)]
    assert names == ["a--b/one", "c--d/three"]
    (note,) = notes
    assert "2 of macOS" in note
    assert "special" in note


@pytest.mark.parametrize("mode", [0o600, 0o000])
def test_an_unreadable_member_costs_no_other(
    mode: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_folder(tmp_path / "detections")
    whole = Path.open

    def refuse(self: Path, *how: Any, **options: Any) -> Any:
        if self.name == "one.txt":
            raise PermissionError(13, "Permission denied", str(self)) if mode else MemoryError
        return whole(self, *how, **options)

    monkeypatch.setattr(Path, "open", refuse)
    problems = Problems()
    assert [picture.name for picture in read_detections(folder, problems=problems)] == ["a--b/two", "c--d/three"]
    (told,) = problems
    assert told.startswith(f"{folder}/run/a--b/one.txt: cannot be read: ")


def test_lines_that_no_parser_survives(tmp_path: Path) -> None:
    path = tmp_path / "faces.jsonl"
    deep = "[" * 100_000 + "]" * 100_000
    path.write_text(
        f'{{"path": "a", "faces": []}}\n{{"path": "b", "faces": {deep}}}\n{{"path": "c\\u0000", "faces": []}}\n'
        f'{{"path": "d", "faces": [], "x": {"9" * 10_000}}}\n{{"path": "e", "faces": []}}\n'
    )
    problems = Problems()
    found = [picture.name for picture in read_detections(path, problems=problems)]
    assert [name for name in found if name != "d"] == ["a", "c\0", "e"]
    assert f"{path}:2: it is JSON that nests too deep" in list(problems)
    path.write_text(deep)
    with pytest.raises(ValueError, match=r"faces\.jsonl: it is JSON that nests too deep"):
        list(read_detections(path))
    # Some can be read, and not be shown.
    for depth in range(100, 1000, 20):
        deep = "[" * depth + "]" * depth
        entry = f'{{"path": "a", "faces": [{deep}]}}'
        row = f'{{"image_id": {deep}, "bbox": 0}}'
        for text, format in ((entry, "jsonl"), (f"[{entry}]", "document"), (f"[{row}, {row}]", "coco")):
            path.write_text(text)
            problems = Problems()
            told = ""
            try:
                assert not any(len(picture.boxes) for picture in read_detections(path, format, problems=problems))
            except ValueError as error:
                told = str(error)
            assert "too deep" in told or problems.count == (2 if format == "coco" else 1)


def test_what_is_neither_a_file_nor_a_folder(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path(os.devnull)):
        with pytest.raises(OSError, match=f"{path} is a pipe or a device; wanted a file"):
            read_detections(path)
    for names in ({"path": ""}, {"path": write_jsonl(tmp_path / "a.jsonl"), "images": ""}):
        with pytest.raises(ValueError, match="is empty; wanted the path of a file"):
            read_detections(**names)


@pytest.mark.parametrize("key", ["path", "name"])
@pytest.mark.parametrize("whole", [False, True], ids=["lines", "document"])
def test_records_of_both_formats(key: str, whole: bool, tmp_path: Path) -> None:
    face = {"box": [0, 0, 5, 5], "score": 0.5}
    given = [
        {key: "a.tif", "page": 0, "pages": 3, "faces": [face], "drawing": "out/a.png"},
        {key: "a.tif", "page": 1, "pages": 3, "faces": [face, face], "damaged": "premature end"},
        {key: "a.tif", "page": 2, "pages": 3, "error": "truncated", "faces": []},
        {key: "b.tif", "page": -1, "faces": []},
        {key: "c.tif", "page": "1", "faces": []},
    ]
    path = tmp_path / "faces"
    path.write_text(json.dumps(given) if whole else "\n".join(map(json.dumps, given)))
    problems, notes = Problems(), Problems()
    found = [(picture.name, len(picture.boxes)) for picture in read_detections(path, problems=problems, notes=notes)]
    assert found == [("a.tif", 1), ("a.tif#page=1", 2), ("a.tif#page=2", 0)]
    assert [told.partition(": ")[2] for told in problems] == [
        "a.tif#page=2: the detector had no picture: truncated",
        "b.tif: page is -1 (int); wanted 0 or more",
        "c.tif: page is '1' (str); wanted 0 or more",
    ]
    assert [told.partition(": ")[2] for told in notes] == ["a.tif#page=1: the picture is damaged: premature end"]
    # A further page is no picture that is labelled.
    pairs = ground_truth_pairs(["a", "b"], read_detections(path, problems=Problems()))
    assert [index for index, picture in pairs if picture is not None] == [0]
    assert pairs.coverage().unknown == ("a.tif#page=1", "a.tif#page=2")


def detections(name: str) -> PictureDetections:
    return PictureDetections(name, np.zeros((0, 4), np.float32), np.zeros(0), np.zeros((0, 5, 2), np.float32))


def test_pictures_are_matched_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    given = ["/data/a/one.jpg", "a/two", "b/one", "x/three.png", "c/one", "a/four"]
    pairs = ground_truth_pairs(["a/one", "a/two.jpg", "b/one", "three"], map(detections, given))
    found = [(index, picture.name) for index, picture in pairs if picture is not None]
    assert sorted(found) == list(enumerate(given[:4]))
    coverage = pairs.coverage()
    assert (coverage.pictures, coverage.missing, coverage.unknown) == (4, (), ("c/one", "a/four"))
    assert not report_coverage(coverage)
    assert capsys.readouterr().err == (
        "2 pictures of the detections are not in the ground truth, and do not count: c/one, a/four\n"
    )


def test_names_that_match_nothing_or_twice() -> None:
    with pytest.raises(
        ValueError, match="has no picture of the detections: 'x' is not in it; it has names such as 'a/b'"
    ):
        list(ground_truth_pairs(["a/b"], [detections("x")]))
    with pytest.raises(ValueError, match="the detections have 'a/b' more often than it is labelled"):
        list(ground_truth_pairs(["a/b"], [detections("a/b"), detections("a/b")]))
    with pytest.raises(ValueError, match="the ground truth has 'a' twice"):
        ground_truth_pairs(["a", "b", "a"], [])
    # The exact name wins over one with folders before it.
    pairs = ground_truth_pairs(["a/b"], map(detections, ["c/a/b.jpg", "a/b"]))
    assert [picture.name for _, picture in pairs if picture is not None] == ["a/b"]
    assert pairs.coverage().unknown == ("c/a/b.jpg",)
    # Without its suffix, a name that two pictures have could be either.
    with pytest.raises(ValueError, match=r"'a' of the detections can be each of .* 'a\.jpg', 'a\.png'"):
        list(ground_truth_pairs(["a.jpg", "a.png"], [detections("a")]))
    for names in (["c/a", "d/a"], ["d/a", "c/a"]):
        with pytest.raises(ValueError, match=r"'a' is one labelled picture, to which .* 'c/a', 'd/a' can belong"):
            list(ground_truth_pairs(["a"], map(detections, names)))
