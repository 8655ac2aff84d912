"""Annotations with faults: what is lost, what is kept, and which pictures are incomplete."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mtcnn_fast.datasets import Annotation, Problems, read
from mtcnn_fast.finding import PassedOver

Read = tuple[list[Annotation], list[str]]

BOX = [10, 20, 30, 40]
OBJECT = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>10</xmax><ymax>20</ymax></bndbox>"
ZEROS = "0 0 0 0 0 0"
FIVE = "1 1 2 1 1 2 1 3 2 3"


def all_of(path: Path, *arguments: Any, **options: Any) -> Read:
    problems = Problems()
    return list(read(path, *arguments, **options, problems=problems)), list(problems)


def wider(folder: Path, content: str, **options: Any) -> Read:
    (folder / "list.txt").write_bytes(content.encode())
    return all_of(folder / "list.txt", "wider", **options)


def voc(folder: Path, *contents: str, **options: Any) -> Read:
    (folder / "xml").mkdir(exist_ok=True)
    for content, name in zip(contents, "abcdefgh", strict=False):
        (folder / "xml" / f"{name}.xml").write_bytes(content.encode())
    return all_of(folder / "xml", **options)


def coco(folder: Path, labels: list[Any], pictures: list[Any] | None = None, **options: Any) -> Read:
    document = {"images": pictures or [{"id": 7, "file_name": "a.jpg"}], "annotations": labels}
    (folder / "faces.json").write_text(json.dumps(document))
    return all_of(folder / "faces.json", **options)


def celeba(folder: Path, *rows: str, landmarks: str = f"a.jpg {FIVE}\nb.jpg {FIVE}\n") -> Read:
    (folder / "list_bbox_celeba.txt").write_text("\n".join([str(len(rows)), "image_id x_1 y_1 width height", *rows]))
    (folder / "list_landmarks_celeba.txt").write_text(f"9\nlefteye_x\n{landmarks}")
    return all_of(folder)


def facepoint(folder: Path, *rows: str) -> Read:
    (folder / "list.txt").write_text("\n".join(rows))
    return all_of(folder / "list.txt", "facepoint")


def matlab(folder: Path, boxes: list[Any], marks: list[Any], names: list[str]) -> Read:
    io = pytest.importorskip("scipy.io")

    def cells(values: list[Any]) -> Any:
        column = np.empty((len(values), 1), object)
        for index, value in enumerate(values):
            column[index, 0] = value
        return column

    content = {
        "event_list": cells(["event"]),
        "file_list": cells([cells(names)]),
        "face_bbx_list": cells([cells([np.array(rows, float).reshape(-1, 4) for rows in boxes])]),
        "invalid_label_list": cells([cells([np.array(flags, float).reshape(-1, 1) for flags in marks])]),
    }
    io.savemat(folder / "wider_face_val.mat", content)
    return all_of(folder / "wider_face_val.mat")


def summary(found: Read) -> list[tuple[str, int, bool]]:
    return [(annotation.name, len(annotation.boxes), annotation.complete) for annotation in found[0]]


@pytest.mark.parametrize(
    ("content", "expected", "count"),
    [
        (f"a.jpg\n2\n1 2 3 4 {ZEROS}\n1 2 3\n", (1, False), 1),
        (f"a.jpg\n2\n1 2 3 4 {ZEROS}\nten 2 3 4\n", (1, False), 1),
        (f"a.jpg\n2\n1 2 3 4 {ZEROS}\n1 2 0 4\n", (1, False), 1),
        (f"a.jpg\n2\n1 2 3 4 {ZEROS}\nnan 2 3 4\n", (1, False), 1),
        (f"a.jpg\n2\n1 2 3 4 {ZEROS}\n", (1, False), 1),
        (f"a.jpg\n1\n1 2 3 4 {ZEROS}\n5 6 7 8 {ZEROS}\n", (1, False), 1),
        ("a.jpg\n0\n5 6 7 8\n5 6 7 8\n", (0, False), 2),
        (f"a.jpg\n1\n1_0 2 3 4 {ZEROS}\n", (0, False), 1),
        (f"a.jpg\n2\n1 2 3 4 {ZEROS}\n5 6 7 8 {ZEROS}\n", (2, True), 0),
        ("a.jpg\n0\n0 0 0 0 0 0 0 0 0 0\n", (0, True), 0),
    ],
)
def test_a_lost_row_makes_the_picture_incomplete(
    tmp_path: Path, content: str, expected: tuple[int, bool], count: int
) -> None:
    found = wider(tmp_path, f"{content}b.jpg\n1\n1 2 3 4\n")
    assert summary(found) == [("a.jpg", *expected), ("b.jpg", 1, True)]
    assert len(found[1]) == count


def test_a_picture_with_rows_too_many_is_marked_before_it_comes(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a.jpg\n1\n1 2 3 4\n5 6 7 8\nb.jpg\n0\n")
    assert not next(read(tmp_path / "list.txt", problems=Problems())).complete
    # Of pictures that are not wanted nothing is told.
    (tmp_path / "only.txt").write_text("b\n")
    assert wider(tmp_path, "a.jpg\n1\n1 2 3 4\n5 6 7 8\nb.jpg\n0\n", only=tmp_path / "only.txt")[1] == []


@pytest.mark.parametrize(
    "item", ["", "<bndbox/>", OBJECT + OBJECT, OBJECT.replace("10", "x"), OBJECT.replace("20", "1")]
)
def test_a_lost_object_makes_the_picture_incomplete(tmp_path: Path, item: str) -> None:
    good = f"<object>{OBJECT}</object>"
    found = voc(tmp_path, f"<annotation><filename>a.jpg</filename><object>{item}</object>{good}</annotation>")
    assert summary(found) == [("a.jpg", 1, False)]
    assert len(found[1]) == 1


@pytest.mark.parametrize("box", [None, [1, 2, 3], [1, 2, 0, 4], ["1", 2, 3, 4], [1, 2, float("nan"), 4], "1 2 3 4"])
def test_a_lost_label_makes_the_picture_incomplete(tmp_path: Path, box: object) -> None:
    pictures = [{"id": 7, "file_name": "a.jpg"}, {"id": 8, "file_name": "b.jpg"}]
    found = coco(tmp_path, [{"image_id": 7, "bbox": box}, {"image_id": 7, "bbox": BOX}], pictures)
    assert summary(found) == [("a.jpg", 1, False), ("b.jpg", 0, True)]
    assert len(found[1]) == 1


def test_labels_that_are_nobodys_are_told(tmp_path: Path) -> None:
    found = coco(tmp_path, [{"bbox": BOX}, {"image_id": None, "bbox": BOX}, {"image_id": 9, "bbox": BOX}])
    assert summary(found) == [("a.jpg", 0, True)]
    assert ["may be incomplete" in problem for problem in found[1]] == [True, True, False]
    found = coco(tmp_path, [{"image_id": 7, "bbox": BOX}], [{"file_name": "a.jpg"}, {"id": 7, "file_name": "b.jpg"}])
    assert summary(found) == [("a.jpg", 0, False), ("b.jpg", 1, True)]
    assert len(found[1]) == 1


def test_a_picture_whose_only_label_is_lost_comes_without_faces(tmp_path: Path) -> None:
    found = celeba(tmp_path, "a.jpg 1 2 0 0", "b.jpg 1 2 3", "c.jpg")
    assert summary(found) == [("a.jpg", 0, False), ("b.jpg", 0, False), ("c.jpg", 0, False)]
    assert len(found[1]) == 3
    found = facepoint(tmp_path, f"a.jpg 3 1 2 4 {FIVE}", "b.jpg", "c.jpg 1 2 3", "d.jpg x 2 3 4", "words")
    assert summary(found) == [(name, 0, False) for name in ("a.jpg", "b.jpg", "c.jpg", "d.jpg")]
    assert len(found[1]) == 5
    found = matlab(tmp_path, [[[1, 2, np.nan, 4]], [[1, 2, 3, 4]]], [[0], [0]], ["a", "b"])
    assert summary(found) == [("event/a.jpg", 0, False), ("event/b.jpg", 1, True)]
    assert len(found[1]) == 1


def test_matlab_cells_of_other_shapes(tmp_path: Path) -> None:
    io = pytest.importorskip("scipy.io")
    found = matlab(tmp_path, [[[1, 2, 3, 4]], [[1, 2, 3, 4]]], [[0], [1]], ["a", "b"])
    assert [annotation.ignored.tolist() for annotation in found[0]] == [[False], [True]]
    read_back = io.loadmat(tmp_path / "wider_face_val.mat")
    content = {key: value for key, value in read_back.items() if not key.startswith("_")}
    content["face_bbx_list"][0, 0][0, 0] = np.ones((2, 5))
    content["file_list"][0, 0][1, 0] = np.ones(3)
    io.savemat(tmp_path / "wider_face_val.mat", content)
    found = all_of(tmp_path / "wider_face_val.mat")
    assert summary(found) == [("event/a.jpg", 0, False)]
    assert ["is not a text" in problem or "wanted (n, 4)" in problem for problem in found[1]] == [True, True]
    content["file_list"][0, 0] = content["file_list"][0, 0][:1]
    io.savemat(tmp_path / "wider_face_val.mat", content)
    found = all_of(tmp_path / "wider_face_val.mat")
    assert (found[0], len(found[1])) == ([], 1)
    (tmp_path / "wider_face_val.mat").write_bytes(b"MATLAB 5.0 MAT-file".ljust(200))
    with pytest.raises(ValueError, match="is not a whole MATLAB file"):
        all_of(tmp_path / "wider_face_val.mat")


def test_a_lost_attribute_keeps_the_box(tmp_path: Path) -> None:
    found = wider(tmp_path, "a.jpg\n3\n1 2 3 4 ? 0 0 0 0 0\n1 2 3 4 ? 0 0 1 0 0\n1 2 3 4 0 0 0 maybe 0 0\n")
    assert summary(found) == [("a.jpg", 3, True)]
    assert found[0][0].ignored.tolist() == [False, True, False]
    assert ["the box is kept" in problem for problem in found[1]] == [True] * 3

    items = (f"<object><difficult>{mark}</difficult><pose>?</pose>{OBJECT}</object>" for mark in ("Unspecified", "2"))
    found = voc(tmp_path, f"<annotation><filename>a.jpg</filename>{''.join(items)}</annotation>")
    assert (summary(found), len(found[1])) == ([("a.jpg", 2, True)], 2)

    found = coco(tmp_path, [{"image_id": 7, "bbox": BOX, "iscrowd": []}, {"image_id": 7, "bbox": BOX, "ignore": "x"}])
    assert (summary(found), len(found[1])) == ([("a.jpg", 2, True)], 2)

    found = celeba(tmp_path, "a.jpg 1 2 3 4", "b.jpg 1 2 3 4", "c.jpg 1 2 3 4", landmarks=f"a.jpg {FIVE} 7\nb.jpg x\n")
    assert (summary(found), len(found[1])) == ([(f"{name}.jpg", 1, True) for name in "abc"], 3)
    assert all(np.isnan(annotation.landmarks).all() for annotation in found[0])

    rows = (
        "a.jpg 1 2 3 4",
        f"b c.jpg 1 2 3 4 {FIVE} 9",
        f"d.jpg 1 2 3 4 {FIVE[:-1]}x",
        f"e.jpg 1 2 3 4 {FIVE[:-1]}nan",
    )
    found = facepoint(tmp_path, *rows)
    assert (summary(found), len(found[1])) == ([(f"{name}.jpg", 1, True) for name in ("a", "b c", "d", "e")], 4)
    assert all(np.isnan(annotation.landmarks).all() for annotation in found[0])
    assert found[0][1].boxes.tolist() == [[1, 3, 2, 4]]

    found = matlab(tmp_path, [[[1, 2, 3, 4]], [[1, 2, 3, 4]]], [[0, 1], [np.nan]], ["a", "b"])
    assert (summary(found), len(found[1])) == ([("event/a.jpg", 1, True), ("event/b.jpg", 1, True)], 2)


def test_keypoints_that_are_no_list(tmp_path: Path) -> None:
    for value in (5, "1 1 2", {"x": 1}):
        found = coco(tmp_path, [{"image_id": 7, "bbox": BOX, "keypoints": value}])
        assert summary(found) == [("a.jpg", 1, True)]
        assert "wanted x y v of each keypoint; the box is kept" in found[1][0]


def test_an_id_of_another_type_makes_the_picture_incomplete(tmp_path: Path) -> None:
    pictures = [{"id": "7", "file_name": "a.jpg"}, {"id": "8", "file_name": "b.jpg"}]
    found = coco(tmp_path, [{"image_id": 7, "bbox": BOX}], pictures)
    assert summary(found) == [("a.jpg", 0, False), ("b.jpg", 0, True)]
    assert "no image with the id 7, but with '7'" in found[1][0]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *((value, True) for value in ("1", "true", "True", 1, 1.0, "1.0", " 1 ", True)),
        *((value, False) for value in ("0", "false", "0.0", 0, None, "", False)),
    ],
)
def test_marks_of_ignored_faces_in_every_spelling(tmp_path: Path, value: object, expected: bool) -> None:
    for name in ("iscrowd", "ignore", "difficult"):
        found = coco(tmp_path, [{"image_id": 7, "bbox": BOX, name: value}])
        assert (found[0][0].ignored.tolist(), found[1]) == ([expected], [])
        item = f"<object>{OBJECT}<{name}>{'' if value is None else value}</{name}></object>"
        found = voc(tmp_path, f"<annotation>{item}</annotation>")
        assert (found[0][0].ignored.tolist(), found[1]) == ([expected], [])
    if value not in (None, "", " 1 "):
        found = wider(tmp_path, f"a.jpg\n1\n1 2 3 4 0 0 0 {value} 0 0\n")
        assert (found[0][0].ignored.tolist(), found[1]) == ([expected], [])


def test_tags_in_any_case_and_marks_that_come_twice(tmp_path: Path) -> None:
    item = f"<Object><Difficult>1</Difficult>{OBJECT.replace('xmin', 'XMin')}</Object>"
    twice = f"<object><difficult>0</difficult><difficult>1</difficult>{OBJECT}</object>"
    found = voc(tmp_path, f"\n<?xml version='1.0'?><Annotation><Filename>x.jpg</Filename>{item}{twice}</Annotation>")
    assert summary(found) == [("x.jpg", 2, True)]
    assert (found[0][0].ignored.tolist(), found[1]) == ([True, True], [])


def test_celebas_header(tmp_path: Path) -> None:
    rows = ["a.jpg 1 2 3 4", "b.jpg 1 2 3 4"]
    (tmp_path / "list_landmarks_celeba.txt").write_text(f"2\na.jpg {FIVE}\nb.jpg {FIVE}\n")
    boxes = tmp_path / "list_bbox_celeba.txt"
    # Without the names of the columns.
    boxes.write_text("\n".join(["2", *rows]))
    found = all_of(tmp_path)
    assert (summary(found), found[1]) == ([("a.jpg", 1, True), ("b.jpg", 1, True)], [])
    assert np.isfinite(found[0][0].landmarks).all()
    # A list that is cut off.
    boxes.write_text("\n".join(["3", "image_id x_1 y_1 width height", *rows]))
    found = all_of(tmp_path)
    assert (len(found[0]), found[1]) == (2, [f"{boxes}: 2 rows; its first line says 3"])


def test_empty_paths(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a.jpg\n0\n")
    for arguments in ({"path": ""}, {"images": ""}, {"only": ""}):
        with pytest.raises(ValueError, match="is empty; wanted a path"):
            read(**{"path": tmp_path / "list.txt", **arguments})  # type: ignore[arg-type]


def test_names_have_slashes_in_every_format(tmp_path: Path) -> None:
    name, same = "e\\s\\a.jpg", "./e//s/a.jpg"
    for text in (name, same):
        found = (
            wider(tmp_path, f"{text}\n0\n"),
            voc(tmp_path, f"<annotation><filename>{text}</filename></annotation>"),
            coco(tmp_path, [], [{"id": 7, "file_name": text}]),
            celeba(tmp_path, f"{text} 1 2 3 4", landmarks=f"{name} {FIVE}"),
            facepoint(tmp_path, f"{text} 1 2 3 4 {FIVE}"),
        )
        for pictures, problems in found:
            assert [picture.name for picture in pictures] == ["e/s/a.jpg"]
            assert pictures[0].path.parts[-3:] == ("e", "s", "a.jpg")
            assert problems == []
    (tmp_path / "only.txt").write_text("e\\s\\a\n")
    assert summary(wider(tmp_path, "x.jpg\n0\ne/s/a.jpg\n0\n", only=tmp_path / "only.txt")) == [("e/s/a.jpg", 0, True)]
    assert summary(matlab(tmp_path, [[]], [[]], ["s\\a"])) == [("event/s/a.jpg", 0, True)]


ENCODED: list[tuple[str, Callable[[str], bytes]]] = [
    ("mark", lambda text: text.encode("utf-8-sig")),
    ("utf-16", lambda text: text.encode("utf-16")),
    ("utf-16-le", lambda text: text.encode("utf-16-le")),
    ("utf-16-be", lambda text: text.encode("utf-16-be")),
    ("utf-16-be with a mark", lambda text: f"\ufeff{text}".encode("utf-16-be")),
    ("crlf", lambda text: text.replace("\n", "\r\n").encode()),
    ("cr", lambda text: text.replace("\n", "\r").encode()),
]


@pytest.mark.parametrize("encode", [encode for _, encode in ENCODED], ids=[name for name, _ in ENCODED])
def test_encodings(tmp_path: Path, encode: Callable[[str], bytes]) -> None:
    document = {"images": [{"id": 1, "file_name": "ü.jpg"}], "annotations": [{"image_id": 1, "bbox": BOX}]}
    xml = f"<annotation>\n<filename>ü.jpg</filename>\n<object>{OBJECT}</object>\n</annotation>\n"
    contents = {
        "wider.txt": "ü.jpg\n1\n1 2 3 4\n",
        "facepoint.txt": f"ü.jpg 1 2 3 4 {FIVE}\n",
        "retinaface.txt": "# ü.jpg\n1 2 3 4\n",
        "coco.json": json.dumps(document, ensure_ascii=False, indent=1),
        "voc.xml": xml,
        "voc-8.xml": f'<?xml version="1.0" encoding="utf-8"?>\n{xml}',
        "voc-16.xml": f'<?xml version="1.0" encoding="utf-16"?>\n{xml}',
        "list_bbox_celeba.txt": "1\nimage_id x_1\nü.jpg 1 2 3 4\n",
        "list_landmarks_celeba.txt": f"1\nlefteye_x\nü.jpg {FIVE}\n",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(encode(content))
    for name in contents:
        if name != "list_landmarks_celeba.txt":
            assert summary(all_of(tmp_path / name)) == [("ü.jpg", 1, True)], name
    (tmp_path / "only.txt").write_bytes(encode("ü\n"))
    assert len(all_of(tmp_path / "wider.txt", only=tmp_path / "only.txt")[0]) == 1


def test_encodings_that_do_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    # Expat knows no encoding of several bytes.
    path.write_bytes(
        '<?xml version="1.0" encoding="gb2312"?><annotation><filename>脸.jpg</filename></annotation>'.encode("gb2312")
    )
    assert summary(all_of(path)) == [("脸.jpg", 0, True)]
    path.write_bytes(b'<?xml version="1.0" encoding="utf-8"?><annotation><filename>\xff.jpg</filename></annotation>')
    found, problems = all_of(path)
    assert (found, len(problems)) == ([], 1)
    for name in ("list.txt", "faces.json"):
        (tmp_path / name).write_bytes("a.jpg\n1\n".encode("utf-16")[:-1])
        with pytest.raises(ValueError, match=rf"{name} (cannot be decoded|is not JSON)"):
            all_of(tmp_path / name)
        # Without a mark, only texts that begin with ASCII are recognised.
        for encoding in ("utf-16-le", "utf-16-be", "utf-32-le"):
            (tmp_path / name).write_bytes("e/脸.jpg\n1\n".encode(encoding))
            with pytest.raises(ValueError, match=rf"{name} .*wanted UTF-8, or UTF-16 or UTF-32 with a byte order mark"):
                all_of(tmp_path / name)


def test_the_picture_of_an_xml_file(tmp_path: Path) -> None:
    def name(filename: str, *files: str, xml: str = "a.xml") -> tuple[str, bool]:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        for file in (f"xml/{xml}", *files):
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text(f"<annotation><filename>{filename}</filename></annotation>")
        found, problems = all_of(folder / "xml", "voc")
        assert (len(found), problems) == (1, [])
        return found[0].name, found[0].path.is_file()

    assert name("p", "images/p.png", "images/a.jpg") == ("p.png", True)
    assert name("p", "images/a.JPG", "images/p.txt") == ("a.JPG", True)
    assert name("", "images/a.jpg") == ("a.jpg", True)
    assert name("  ", "xml/a.bmp") == ("a.bmp", True)
    assert name("img.001", "images/img.001.jpg") == ("img.001.jpg", True)
    assert name("img.001", "images/img.001", "images/img.001.jpg") == ("img.001", True)
    assert name("p") == ("p", False)
    assert name("p.jpg", "images/p.png", "images/p.jpg.png") == ("p.jpg", False)
    # At any depth.
    assert name("p.jpg", "images/p.jpg", xml="s/e.xml") == ("p.jpg", True)
    assert name("p.jpg", "images/s/p.jpg", "images/p.jpg", xml="s/e.xml") == ("s/p.jpg", True)
    assert name("s/p.jpg", "images/s/p.jpg", xml="s/e.xml") == ("s/p.jpg", True)
    assert name("p", "xml/s/t/p.jpg", xml="s/t/a.xml") == ("s/t/p.jpg", True)
    assert name("p", "xml/s/JPEGImages/p.jpg", xml="s/Annotations/a.xml") == ("s/JPEGImages/p.jpg", True)
    assert name("p.jpg", xml="s/e.xml") == ("s/p.jpg", False)
    assert name("s/p.jpg", xml="s/e.xml") == ("s/p.jpg", False)

    (tmp_path / "images").mkdir()
    for suffix in ("jpg", "png"):
        (tmp_path / "images" / f"p.{suffix}").touch()
    found, problems = voc(tmp_path, "<annotation><filename>p</filename></annotation>")
    assert (found, len(problems)) == ([], 1)
    assert "'p.jpg' or 'p.png'" in problems[0]


def test_only_must_not_be_ambiguous(tmp_path: Path) -> None:
    only = tmp_path / "only.txt"
    content = "".join(f"{name}\n0\n" for name in ("x.jpg", "a/y.jpg", "b/y.jpg", "c/z.jpg", "c/z.png", "c/z.jpg"))

    def chosen(lines: str) -> list[str]:
        only.write_text(lines)
        return [annotation.name for annotation in wider(tmp_path, content, only=only)[0]]

    for line, one, other in (
        ("y.jpg", "a/y.jpg", "b/y.jpg"),
        ("y", "a/y.jpg", "b/y.jpg"),
        ("c/z", "c/z.jpg", "c/z.png"),
    ):
        chosen("x")
        only.write_text(f"x\n{line}\n")
        # Before any picture comes.
        with pytest.raises(ValueError, match=f"only.txt:2: '{line}' can be '{one}' or '{other}'"):
            next(read(tmp_path / "list.txt", only=only))
    assert chosen("a/y.jpg\nb/y\n") == ["a/y.jpg", "b/y.jpg"]
    assert chosen("z.jpg\nc/z.jpg\nz.jpg\n") == ["c/z.jpg"]
    # A whole name is that name.
    (tmp_path / "list.txt").write_text("x.jpg\n0\na/x.jpg\n0\n")
    only.write_text("x.jpg")
    assert [annotation.name for annotation in read(tmp_path / "list.txt", only=only)] == ["x.jpg"]
    for name in ("s/t.jpg", "u/t.jpg"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    only.write_text("t\nfault\0\n")
    with pytest.raises(ValueError, match=r"'s/t\.jpg' or 'u/t\.jpg'"):
        all_of(tmp_path, "backgrounds", only=only)
    only.write_text("s/t\nfault\0\n")
    found, problems = all_of(tmp_path, "backgrounds", only=only)
    assert [annotation.name for annotation in found] == ["s/t.jpg"]
    assert problems == [f"{only}:2: the name has a NUL: 'fault\\x00'"]


def test_a_picture_that_comes_twice_is_one(tmp_path: Path) -> None:
    # Differing: nothing tells whether these are more faces or the same ones.
    found = wider(tmp_path, "a.jpg\n1\n1 2 3 4\nb.jpg\n0\na.jpg\n2\n1 2 3 4\n5 6 7 8\n")
    assert summary(found) == [("b.jpg", 0, True), ("a.jpg", 2, False)]
    assert len(found[1]) == 1
    assert ":6: 'a.jpg' comes again, with other faces" in found[1][0]
    # The same.
    found = wider(tmp_path, "a.jpg\n1\n1 2 3 4\nb.jpg\n0\na.jpg\n1\n1 2 3 4\n")
    assert summary(found) == [("b.jpg", 0, True), ("a.jpg", 1, True)]
    assert "with the same faces" in found[1][0]
    # Incomplete in one of its places.
    found = wider(tmp_path, "a.jpg\n1\n1 2 0 4\na.jpg\n0\na.jpg\n0\n")
    assert summary(found) == [("a.jpg", 0, False)]

    found = celeba(tmp_path, "a.jpg 1 2 3 4", "b.jpg 1 2 3 4", "a.jpg 1 2 3 5")
    assert (summary(found), len(found[1])) == ([("b.jpg", 1, True), ("a.jpg", 2, False)], 1)
    found = celeba(tmp_path, "a.jpg 1 2 3 4", "b.jpg 1 2 3 4", landmarks=f"a.jpg {FIVE}\nb.jpg {FIVE}\na.jpg 9{FIVE}\n")
    assert (summary(found), len(found[1])) == ([("a.jpg", 1, True), ("b.jpg", 1, True)], 1)
    assert np.isnan(found[0][0].landmarks).all()
    assert "several rows of a.jpg, which differ" in found[1][0]

    xml = "<annotation><filename>p.jpg</filename>{}</annotation>"
    found = voc(tmp_path, xml.format(f"<object>{OBJECT}</object>"), xml.format(""))
    assert (summary(found), len(found[1])) == ([("p.jpg", 1, False)], 1)
    assert "b.xml: 'p.jpg' comes again" in found[1][0]

    labels = [{"image_id": 7, "bbox": BOX}, {"image_id": 8, "bbox": BOX}]
    twice = [{"id": 7, "file_name": "a.jpg"}, {"id": 8, "file_name": "b.jpg"}]
    # One picture of two ids, two pictures of one id, and one said twice.
    found = coco(tmp_path, labels[:1], [twice[0], {"id": 9, "file_name": ".\\a.jpg"}])
    assert (summary(found), len(found[1])) == ([("a.jpg", 1, False)], 1)
    found = coco(tmp_path, labels, [*twice, {"id": 7, "file_name": "c.jpg"}])
    assert (summary(found), len(found[1])) == ([("a.jpg", 0, False), ("b.jpg", 1, True), ("c.jpg", 0, False)], 2)
    assert "'c.jpg' has the id 7 too, and 1 labels have it" in found[1][0]
    found = coco(tmp_path, labels, [*twice, twice[0]])
    assert (summary(found), len(found[1])) == ([("b.jpg", 1, True), ("a.jpg", 1, True)], 1)

    found = matlab(tmp_path, [[[1, 2, 3, 4]], [[5, 6, 7, 8]]], [[0], [0]], ["a", "a"])
    assert (summary(found), len(found[1])) == ([("event/a.jpg", 2, False)], 1)


def test_rows_of_several_faces_are_one_picture(tmp_path: Path) -> None:
    rows = [f"a.jpg 1 2 3 4 {FIVE}", f"b.jpg 1 2 3 4 {FIVE}", f"a.jpg 5 6 7 8 {FIVE}", f"b.jpg 1 2 3 4 {FIVE}"]
    found = facepoint(tmp_path, *rows)
    # b.jpg has one face, and comes twice.
    assert (summary(found), found[1]) == ([("b.jpg", 1, True), ("a.jpg", 2, True), ("b.jpg", 1, True)], [])
    assert found[0][1].boxes.tolist() == [[1, 3, 2, 4], [5, 7, 6, 8]]
    found = facepoint(tmp_path, *rows, f"a.jpg 5 4 7 8 {FIVE}")
    assert (summary(found), len(found[1])) == ([("b.jpg", 1, True), ("b.jpg", 1, True), ("a.jpg", 2, False)], 1)


BAD_NAMES = ("x\0.jpg", "x" * 300 + ".jpg", "a/" * 3000 + "x.jpg", "s/..", "..")


@pytest.mark.parametrize("bad", BAD_NAMES, ids=["NUL", "long", "deep", "up", "dots"])
def test_a_bad_name_costs_one_picture(tmp_path: Path, bad: str) -> None:
    found = [
        wider(tmp_path, f"{bad}\n1\n1 2 3 4\na.jpg\n1\n1 2 3 4\n"),
        facepoint(tmp_path, f"{bad} 1 2 3 4 {FIVE}", f"a.jpg 1 2 3 4 {FIVE}"),
        celeba(tmp_path, f"{bad} 1 2 3 4", "a.jpg 1 2 3 4", landmarks=f"{bad} {FIVE}\na.jpg {FIVE}\n"),
        coco(tmp_path, [{"image_id": 7, "bbox": BOX}], [{"id": 1, "file_name": bad}, {"id": 7, "file_name": "a.jpg"}]),
    ]
    if "\0" not in bad:  # which is no XML
        xml = "<annotation><filename>{}</filename><object>" + OBJECT + "</object></annotation>"
        found.append(voc(tmp_path, xml.format(bad), xml.format("a.jpg")))
    for each in found:
        assert summary(each) == [("a.jpg", 1, True)]
        assert len(each[1]) == 1
        assert "\n" not in each[1][0]
        if "\0" in bad:
            assert "the name has a NUL" in each[1][0]


def test_names_that_no_file_can_have(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"images": [{"id": 1, "file_name": "\\ud800.jpg"}], "annotations": []}')
    found, problems = all_of(tmp_path / "a.json")
    assert (found, len(problems)) == ([], 1)
    assert summary(coco(tmp_path, [], [{"id": 1, "file_name": "s/../p/a.jpg"}])) == [("s/../p/a.jpg", 0, True)]


def test_documents_that_nest_too_deep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deep.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match=r"^\S*deep.json is not JSON that can be read: it nests too deep$"):
        all_of(tmp_path / "deep.json")
    deep = f"<annotation>{'<a>' * 100_000}{'</a>' * 100_000}</annotation>"
    assert summary(voc(tmp_path, deep, "<annotation/>")) == [("a", 0, True), ("b", 0, True)]

    real = Path.open

    def refuse(path: Path, *how: Any, **options: Any) -> Any:
        if path.name == "a.xml" and how == ("rb",):
            raise MemoryError
        return real(path, *how, **options)

    monkeypatch.setattr(Path, "open", refuse)
    found = voc(tmp_path, "<annotation/>", "<annotation/>")
    assert summary(found) == [("b", 0, True)]
    assert "not enough memory" in found[1][0]


def test_what_a_folder_holds(tmp_path: Path) -> None:
    for name in (
        "a.jpg",
        "._a.jpg",
        "__MACOSX/b.jpg",
        "s/c.PNG",
        "s/notes.txt",
        "s/e.xml",
        "._b.xml",
        "__MACOSX/b.xml",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("<annotation/>")
    os.mkfifo(tmp_path / "p.xml")
    os.mkfifo(tmp_path / "p.jpg")
    elsewhere = tmp_path.with_name(f"{tmp_path.name}-elsewhere")
    elsewhere.mkdir()
    (elsewhere / "d.xml").write_text("<annotation/>")
    (tmp_path / "link").symlink_to(elsewhere)
    (tmp_path / "link-to-nothing.xml").symlink_to(tmp_path / "nothing")
    passed_over = PassedOver()
    found = all_of(tmp_path, "backgrounds", passed_over=passed_over)
    assert (summary(found), found[1]) == ([("a.jpg", 0, True), ("s/c.PNG", 0, True)], [])
    assert passed_over.suffixes == {".txt", ".xml"}
    # Told by the files at any depth.
    found = all_of(tmp_path)
    assert (summary(found), found[1]) == ([("link/d", 0, True), ("s/e", 0, True)], [])
    with pytest.raises(ValueError, match="is a pipe or a device"):
        read(tmp_path / "p.xml")
