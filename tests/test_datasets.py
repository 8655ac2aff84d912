"""The readers of annotations."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mtcnn_fast.datasets import FORMATS, Annotation, Problems, read

WIDER = """\
0--Parade/a.jpg
2
10 20 30 40 2 0 1 0 0 0
1.5 2.5 3 4 0 0 0 1 2 0
0--Parade/empty.jpg
0
0 0 0 0 0 0 0 0 0 0
0--Parade/b c.jpg
1
5 6 7 8
"""


def picture(annotation: Annotation) -> tuple[str, list[Any], list[bool]]:
    return annotation.name, annotation.boxes.tolist(), annotation.ignored.tolist()


def listed(path: Path, *arguments: Any, **options: Any) -> tuple[list[Annotation], list[str]]:
    """The annotations and the problems."""
    problems = Problems()
    found = list(read(path, *arguments, **options, problems=problems))
    for annotation in found:
        n = len(annotation.boxes)
        assert annotation.boxes.shape == (n, 4)
        assert annotation.landmarks.shape == (n, 5, 2)
        assert annotation.ignored.shape == (n,)
        kinds = annotation.boxes.dtype, annotation.landmarks.dtype, annotation.ignored.dtype
        assert kinds == (np.float32, np.float32, np.bool_)
    return found, list(problems)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], Path]:
    def write(name: str, content: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
        return path

    return write


Write = Callable[[str, str], Path]


def test_wider(write: Write, tmp_path: Path) -> None:
    path = write("wider_face_split/wider_face_val_bbx_gt.txt", WIDER)
    images = tmp_path / "WIDER_val" / "images"
    images.mkdir(parents=True)
    found, problems = listed(path)
    assert problems == []
    assert [picture(annotation) for annotation in found] == [
        ("0--Parade/a.jpg", [[10, 20, 40, 60], [1.5, 2.5, 4.5, 6.5]], [False, True]),
        ("0--Parade/empty.jpg", [], []),
        ("0--Parade/b c.jpg", [[5, 6, 12, 14]], [False]),
    ]
    assert np.isnan(found[0].landmarks).all()
    assert found[0].path == images / "0--Parade" / "a.jpg"


def test_wider_without_the_row_of_zeros(write: Write) -> None:
    found, problems = listed(write("list.txt", WIDER.replace("0 0 0 0 0 0 0 0 0 0\n", "")))
    assert [len(annotation.boxes) for annotation in found] == [2, 0, 1]
    assert problems == []


@pytest.mark.parametrize(
    ("before", "after", "faces", "line", "words"),
    [
        ("10 20 30 40 2", "10 20 0 40 2", [1, 0, 1], 3, "no area"),
        ("10 20 30 40 2", "10 20 -3 40 2", [1, 0, 1], 3, "no area"),
        ("10 20 30 40 2", "nan 20 30 40 2", [1, 0, 1], 3, "not finite"),
        ("10 20 30 40 2", "1e30 20 30 40 2", [1, 0, 1], 3, "2^24"),
        ("10 20 30 40 2", "ten 20 30 40 2", [1, 0, 1], 3, "'ten' is not a number"),
        ("5 6 7 8", "5 6 7", [2, 0, 0], 10, "3 numbers"),
        ("a.jpg\n2\n", "a.jpg\n3\n", [2, 0, 1], 1, "1 of the 3 rows"),
        ("a.jpg\n2\n", "a.jpg\n1\n", [1, 0, 1], 4, "neither the name of a picture"),
        ("c.jpg\n1\n5 6 7 8\n", "c.jpg\n", [2, 0], 8, "neither the name of a picture"),
        ("c.jpg\n1\n", "c.jpg\n9\n", [2, 0, 1], 8, "8 of the 9 rows"),
        ("b c.jpg", "b c", [2, 0], 8, "not the name of a picture"),
    ],
)
def test_wider_goes_on_behind_what_is_bad(
    write: Write, before: str, after: str, faces: list[int], line: int, words: str
) -> None:
    assert before in WIDER
    path = write("list.txt", WIDER.replace(before, after))
    found, problems = listed(path)
    assert [len(annotation.boxes) for annotation in found] == faces
    assert len(problems) == 1
    assert problems[0].startswith(f"{path}:{line}: ")
    assert words in problems[0]


def test_wider_matlab(tmp_path: Path) -> None:
    io = pytest.importorskip("scipy.io")

    def cells(values: list[Any]) -> Any:
        column = np.empty((len(values), 1), object)
        column[:, 0] = values
        return column

    content = {
        "event_list": cells(["0--Parade", "1--Handshaking"]),
        "file_list": cells([cells(["a", "empty"]), cells(["b"])]),
        "face_bbx_list": cells(
            [cells([np.array([[10, 20, 30, 40], [1, 2, 3, 0]]), np.zeros((0, 4))]), cells([np.array([[5, 6, 7, 8]])])]
        ),
        "invalid_label_list": cells(
            [cells([np.array([[1], [0]], np.uint8), np.zeros((0, 1))]), cells([np.array([[0]], np.uint8)])]
        ),
    }
    io.savemat(tmp_path / "wider_face_val.mat", content)
    found, problems = listed(tmp_path / "wider_face_val.mat")
    assert [picture(annotation) for annotation in found] == [
        ("0--Parade/a.jpg", [[10, 20, 40, 60]], [True]),
        ("0--Parade/empty.jpg", [], []),
        ("1--Handshaking/b.jpg", [[5, 6, 12, 14]], [False]),
    ]
    assert len(problems) == 1
    assert "0--Parade/a.jpg" in problems[0]
    del content["file_list"]
    io.savemat(tmp_path / "other.mat", content)
    with pytest.raises(ValueError, match="file_list"):
        listed(tmp_path / "other.mat")


def test_the_matlab_files_of_wider(data: Path) -> None:
    pytest.importorskip("scipy")
    found, problems = listed(data / "wider_face_eval" / "ground_truth_mat" / "wider_face_val.mat")
    # 39,708 boxes, of which 11 are degenerate.
    assert len(found) == 3226
    assert sum(len(annotation.boxes) for annotation in found) == 39708 - 11
    assert len(problems) == 11


def voc(objects: str, name: str = "<filename>a.jpg</filename>") -> str:
    return f"<annotation>{name}{objects}</annotation>"


def voc_object(xmin: str, ymin: str, xmax: str, ymax: str, more: str = "") -> str:
    corners = f"<xmin>{xmin}</xmin><ymin>{ymin}</ymin><xmax>{xmax}</xmax><ymax>{ymax}</ymax>"
    return f"<object><name>face</name>{more}<bndbox>{corners}</bndbox></object>"


def test_voc(write: Write, tmp_path: Path) -> None:
    hard = voc_object("3", "4", "3", "4", "<difficult>1</difficult>")
    write("set/annotations/a.xml", voc(voc_object("1", "2", "10", "20", "<difficult>0</difficult>") + hard))
    write("set/annotations/b.xml", voc("", "<filename>b.png</filename>"))
    (tmp_path / "set" / "images").mkdir()
    found, problems = listed(tmp_path / "set" / "annotations")
    assert problems == []
    # 1-based and inclusive there: a box of one pixel has an area.
    assert [picture(annotation) for annotation in found] == [
        ("a.jpg", [[0, 1, 10, 20], [2, 3, 3, 4]], [False, True]),
        ("b.png", [], []),
    ]
    assert found[0].path == tmp_path / "set" / "images" / "a.jpg"
    assert [annotation.name for annotation in listed(tmp_path / "set" / "annotations" / "a.xml")[0]] == ["a.jpg"]


def test_voc_survives_what_is_bad(write: Write, tmp_path: Path) -> None:
    write("a.xml", voc(voc_object("1", "2", "x", "20") + "<object/>" + voc_object("5", "5", "9", "9")))
    broken = write("b.xml", "<annotation>\n<object>\n</annotation>")
    write("c.xml", voc("", ""))
    write("d.xml", '<?xml version="1.0" encoding="no-such"?><annotation/>')
    write("e.xml", "<html><object/></html>")
    found, problems = listed(tmp_path)
    assert [picture(annotation) for annotation in found] == [
        ("a.jpg", [[4, 4, 9, 9]], [False]),
        ("c", [], []),
        ("d", [], []),
    ]
    assert [annotation.complete for annotation in found] == [False, True, True]
    assert len(problems) == 4
    assert "object 1: 'x' is not a number" in problems[0]
    assert "object 2: 0 <bndbox>" in problems[1]
    assert problems[2].startswith(f"{broken}:3: ")
    assert "its root is <html>" in problems[3]


CELEBA_BOXES = """\
4
image_id x_1 y_1 width height
000001.jpg    95  71 226 313
000002.jpg    72  94   0   0
000003.jpg   216  59  91 126
000004.jpg   622 257 564 781
"""
CELEBA_LANDMARKS = """\
4
lefteye_x lefteye_y righteye_x righteye_y nose_x nose_y leftmouth_x leftmouth_y rightmouth_x rightmouth_y
000001.jpg 165  184  244  176  196  249  194  271  266  260
000002.jpg 140  204  220  204  168  254  146  289  226  289
000003.jpg 244  104  264  105  263  121  235  134  251  140
000004.jpg 796  539  984  539  930  687  762  756  915  756
"""


def test_celeba(write: Write, tmp_path: Path) -> None:
    path = write("Anno/list_bbox_celeba.txt", CELEBA_BOXES)
    write("Anno/list_landmarks_celeba.txt", CELEBA_LANDMARKS)
    (tmp_path / "Img" / "img_celeba").mkdir(parents=True)
    for source in (path, path.parent):
        found, problems = listed(source)
        assert [annotation.name for annotation in found] == [f"00000{number}.jpg" for number in (1, 2, 3, 4)]
        # The box without an area is lost.
        assert [(len(annotation.boxes), annotation.complete) for annotation in found] == [
            (1, True),
            (0, False),
            (1, True),
            (1, True),
        ]
        assert found[0].boxes.tolist() == [[95, 71, 321, 384]]
        assert found[0].landmarks.tolist() == [[[165, 184], [244, 176], [196, 249], [194, 271], [266, 260]]]
        assert found[3].landmarks[0, 0].tolist() == [796, 539]
        assert found[0].path == tmp_path / "Img" / "img_celeba" / "000001.jpg"
        assert len(problems) == 1
        assert problems[0].startswith(f"{path}:4: ")


def test_celeba_lists_that_differ(write: Write) -> None:
    path = write("list_bbox_celeba.txt", CELEBA_BOXES)
    rows = CELEBA_LANDMARKS.splitlines()
    path.write_text(CELEBA_BOXES.replace("72  94   0   0", "72  94  10  10"))
    write("list_landmarks_celeba.txt", "\n".join([*rows[:2], rows[5], "000003.jpg 1 2 3", rows[2]]))
    found, problems = listed(path)
    assert [annotation.landmarks[0, 0].tolist() for annotation in found[::3]] == [[165, 184], [796, 539]]
    assert ["000002.jpg" in problems[0], "3 numbers" in problems[1], len(problems)] == [True, True, 2]
    assert [(len(annotation.boxes), annotation.complete) for annotation in found] == [(1, True)] * 4
    assert np.isnan(found[1].landmarks).all()
    assert np.isnan(found[2].landmarks).all()
    path.write_text("image 1 2 3 4\n")
    with pytest.raises(ValueError, match="wanted the number of rows"):
        listed(path, "celeba")


def test_celeba_without_landmarks(write: Write) -> None:
    with pytest.raises(FileNotFoundError, match="list_landmarks_celeba"):
        listed(write("list_bbox_celeba.txt", CELEBA_BOXES))


def test_facepoint(write: Write) -> None:
    rows = (
        "lfw_5590\\Aaron.jpg 84 161 92 169 106.25 107.75 146.75 112.25 125.25 142.75 105.25 157.75 139.75 161.75",
        "some folder/b.jpg 1 2 3 4 1 1 2 1 1 2 1 3 2 3",
        "c.jpg 1 2 3 4",
        "d.jpg 1 2 3 4 1 1 2 1 1 2 1 3 2 inf",
        "e.jpg 2 1 3 4 1 1 2 1 1 2 1 3 2 3",
        "f.jpg 1 2 3 4 1 1 2 1 1 2 1 3 2 3",
    )
    path = write("train.txt", "\n".join(rows))
    found, problems = listed(path)
    assert [annotation.name for annotation in found] == [
        "lfw_5590/Aaron.jpg",
        "some folder/b.jpg",
        "c.jpg",
        "d.jpg",
        "e.jpg",
        "f.jpg",
    ]
    # What costs the landmarks does not cost the box.
    assert [len(annotation.boxes) for annotation in found] == [1, 1, 1, 1, 0, 1]
    assert [annotation.complete for annotation in found] == [True, True, True, True, False, True]
    assert [bool(np.isnan(annotation.landmarks).any()) for annotation in found] == [
        False,
        False,
        True,
        True,
        False,
        False,
    ]
    assert found[0].boxes.tolist() == [[84, 92, 161, 169]]
    assert found[0].landmarks[0].tolist() == [
        [106.25, 107.75],
        [146.75, 112.25],
        [125.25, 142.75],
        [105.25, 157.75],
        [139.75, 161.75],
    ]
    assert found[0].path == path.parent / "lfw_5590" / "Aaron.jpg"
    assert [problem.split(": ")[0] for problem in problems] == [f"{path}:{line}" for line in (3, 4, 5)]


RETINAFACE = """\
# 0--Parade/a.jpg
10 20 30 40 18 32 0.0 31 32 0.0 25 40 0.0 19 50 1.0 30 50 0.0 0.82
60 20 10 12 -1.0 -1.0 -1.0 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 0.2

# b c.jpg
# d.jpg
1 2 3 4
"""


def test_retinaface(write: Write, tmp_path: Path) -> None:
    path = write("train/label.txt", RETINAFACE)
    (tmp_path / "train" / "images").mkdir()
    found, problems = listed(path)
    assert problems == []
    assert [picture(annotation) for annotation in found] == [
        ("0--Parade/a.jpg", [[10, 20, 40, 60], [60, 20, 70, 32]], [False, False]),
        ("b c.jpg", [], []),
        ("d.jpg", [[1, 2, 4, 6]], [False]),
    ]
    assert found[0].landmarks[0].tolist() == [[18, 32], [31, 32], [25, 40], [19, 50], [30, 50]]
    assert np.isnan(found[0].landmarks[1]).all()
    assert np.isnan(found[2].landmarks).all()
    assert found[0].path == tmp_path / "train" / "images" / "0--Parade" / "a.jpg"
    only = write("only.txt", "d.jpg\n")
    assert [annotation.name for annotation in listed(path, only=only)[0]] == ["d.jpg"]
    # A point may be missing alone, and points may lie outside of the picture.
    (one,), _ = listed(write("label.txt", "# a.jpg\n1 2 3 4 -1 3 0 -1 -1 0 2 4 0 2 5 0 3 5 0\n"))
    assert one.landmarks[0, 0].tolist() == [-1, 3]
    assert np.isnan(one.landmarks[0, 1]).all()
    assert not np.isnan(one.landmarks[0, 2:]).any()


def test_retinaface_survives_what_is_bad(write: Write) -> None:
    rows = (
        "1 2 3 4",  # before the first name
        "# a.jpg",
        "1 2 3 4 5 6",
        "1 2 3",
        "1 2 0 4",
        "1 2 x 4",
        "1 2 3 4 1 1 0 2 1 0 2 1 0 2 3 0 2 inf 0 0.5",
        "#",
        "5 5 5 5",  # of no picture
        "# b.jpg",
        "1 2 3 4",
    )
    path = write("label.txt", "\n".join(rows))
    found, problems = listed(path, "retinaface")
    assert [(each.name, len(each.boxes), each.complete) for each in found] == [("a.jpg", 2, False), ("b.jpg", 1, True)]
    assert np.isnan(found[0].landmarks).all()
    assert [problem.split(": ")[0] for problem in problems] == [f"{path}:{line}" for line in (1, 3, 4, 5, 6, 7, 8)]
    assert "comes before the first name" in problems[0]
    assert "6 numbers; wanted x y w h" in problems[1]


def coco(**changes: Any) -> str:
    document: dict[str, Any] = {
        "images": [{"id": 7, "file_name": "a.jpg"}, {"id": 8, "file_name": "b/empty.jpg"}],
        "annotations": [
            {"image_id": 7, "bbox": [10, 20, 30, 40], "keypoints": [1, 2, 2, 3, 4, 2, 5, 6, 1, 0, 0, 0, 7, 8, 2]},
            {"image_id": 7, "bbox": [1.5, 2, 3, 4], "iscrowd": 1},
        ],
    }
    return json.dumps(document | changes)


def test_coco(write: Write) -> None:
    found, problems = listed(write("faces.json", coco()))
    assert problems == []
    assert [picture(annotation) for annotation in found] == [
        ("a.jpg", [[10, 20, 40, 60], [1.5, 2, 4.5, 6]], [False, True]),
        ("b/empty.jpg", [], []),
    ]
    np.testing.assert_array_equal(found[0].landmarks[0], [[1, 2], [3, 4], [5, 6], [np.nan, np.nan], [7, 8]])
    assert np.isnan(found[0].landmarks[1]).all()


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ({"bbox": [1, 2, 3, 4]}, "no image_id"),
        (7, "no image_id"),
        ({"image_id": [7], "bbox": [1, 2, 3, 4]}, "no image_id"),
        ({"image_id": 9, "bbox": [1, 2, 3, 4]}, "no image with the id 9"),
        ({"image_id": 7}, "bbox"),
        ({"image_id": 7, "bbox": [1, 2, 3]}, "bbox"),
        ({"image_id": 7, "bbox": [1, 2, 3, None]}, "bbox"),
        ({"image_id": 7, "bbox": [1, 2, 0, 4]}, "no area"),
        ({"image_id": 7, "bbox": [1, 2, 3, 10**400]}, "bbox"),
    ],
)
def test_coco_survives_what_is_bad(write: Write, label: object, words: str) -> None:
    good = {"image_id": 7, "bbox": [10, 20, 30, 40]}
    found, problems = listed(write("faces.json", coco(annotations=[label, good])))
    assert [len(annotation.boxes) for annotation in found] == [1, 0]
    assert len(problems) == 1
    assert "annotations[0]" in problems[0]
    assert words in problems[0]


@pytest.mark.parametrize("content", ["{", "[]", '{"images": []}', '{"images": {}, "annotations": []}'])
def test_what_is_not_coco(write: Write, content: str) -> None:
    with pytest.raises(ValueError, match=r"not JSON|no lists"):
        listed(write("faces.json", content))
    found, problems = listed(write("faces.json", coco(images=[{"id": 7}, 3, {"id": 7, "file_name": 5}])))
    assert (len(found), len(problems)) == (0, 3)


def test_backgrounds(write: Write, tmp_path: Path) -> None:
    for name in ("b.jpg", "a/z.png", "a/notes.txt"):
        write(name, "")
    found, problems = listed(tmp_path, "backgrounds")
    assert [(picture(annotation), annotation.path) for annotation in found] == [
        (("b.jpg", [], []), tmp_path / "b.jpg"),
        (("a/z.png", [], []), tmp_path / "a" / "z.png"),
    ]
    assert problems == []
    with pytest.raises(ValueError, match="backgrounds"):
        listed(tmp_path, "backgrounds", images=tmp_path)
    # Any folder of pictures looks like one.
    with pytest.raises(ValueError, match=r"^the format of .* cannot be detected"):
        read(tmp_path)


def test_only(write: Write) -> None:
    path = write("list.txt", WIDER.replace("10 20", "x 20"))
    for names in ("0--Parade/b c.jpg", "0--Parade/b c", "b c.jpg", "b c", "\n  b c\r\n\n"):
        found, problems = listed(path, only=write("only.txt", names))
        assert [annotation.name for annotation in found] == ["0--Parade/b c.jpg"]
        assert problems == []
    only = write("only.txt", "b c\nmissing\n")
    assert listed(path, only=only)[1] == [f"{only}:2: there are no annotations of missing"]


def test_ignored(write: Write) -> None:
    labels = write("wider.txt", WIDER)
    more = [[50, 60, 70, 80], [1, 2, 3, 4.5]]
    boxes = write("ignored.json", json.dumps({"WIDER_val/images/0--Parade/a.jpg": more, "0--Parade/empty.jpg": []}))
    (first, *others), problems = listed(labels, ignored=boxes)
    assert picture(first) == (
        "0--Parade/a.jpg",
        [[10, 20, 40, 60], [1.5, 2.5, 4.5, 6.5], *more],
        [False, True, True, True],
    )
    plain = list(read(labels))
    assert [picture(one) for one in others] == [picture(one) for one in plain[1:]]
    assert (problems, first.complete) == ([], True)
    # A file may be of more pictures than are taken, but not of pictures that the set does not have.
    only = write("only.txt", "b c.jpg\n")
    assert [picture(one) for one in listed(labels, only=only, ignored=boxes)[0]] == [picture(plain[2])]
    assert listed(labels, only=only, ignored=boxes)[1] == []


def test_ignored_boxes_that_cannot_be_used(write: Write, tmp_path: Path) -> None:
    labels = write("wider.txt", WIDER)
    boxes = {
        "0--Parade/a.jpg": [[1, 2, 3], [1, 2, 3, 4], [5, 5, 5, 9]],
        "empty.jpg": [[1, 2, 3, 4]],
        "../0--Parade/b c.jpg": "all",
    }
    found, problems = listed(labels, ignored=write("ignored.json", json.dumps(boxes)))
    # The first has lost a box, so not all that is unlabelled is background. A name without its folder is no name.
    assert [(len(one.boxes), one.complete) for one in found] == [(3, False), (0, True), (1, False)]
    assert [problem.partition("ignored.json: ")[2] for problem in problems] == [
        "'0--Parade/a.jpg': box 1: box has 3 numbers; wanted 4",
        "'0--Parade/a.jpg': box 3: box 5 5 5 9 (x1 y1 x2 y2) has no area",
        "there are no annotations of 'empty.jpg'",
        "'../0--Parade/b c.jpg' is 'all' (str); wanted a list of boxes [x1, y1, x2, y2]",
    ]
    for content, words in (
        ("[]", "wanted an object"),
        ("{", "not JSON"),
        ('{"a/0--Parade/a.jpg": [], "b/0--Parade/a.jpg": []}', "are both the picture '0--Parade/a.jpg'"),
    ):
        with pytest.raises(ValueError, match=words):
            list(read(labels, ignored=write("ignored.json", content)))
    with pytest.raises(ValueError, match="wanted a JSON file"):
        list(read(labels, ignored=tmp_path))
    with pytest.raises(FileNotFoundError):
        list(read(labels, ignored=tmp_path / "no.json"))


def test_images(write: Write, tmp_path: Path) -> None:
    path = write("list.txt", WIDER)
    (tmp_path / "elsewhere").mkdir()
    found, _ = listed(path, images=tmp_path / "elsewhere")
    assert found[0].path == tmp_path / "elsewhere" / "0--Parade" / "a.jpg"
    with pytest.raises(NotADirectoryError, match="nowhere"):
        listed(path, images=tmp_path / "nowhere")


def test_what_cannot_be_read(write: Write, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="missing"):
        read(tmp_path / "missing.txt")
    with pytest.raises(ValueError, match=r"^the format of .* cannot be detected"):
        read(write("notes.txt", "some words\nmore words\n"))
    with pytest.raises(ValueError, match="'darknet'"):
        read(write("list.txt", WIDER), "darknet")
    assert FORMATS == ("wider", "voc", "celeba", "facepoint", "retinaface", "coco", "yolo", "backgrounds")


def test_without_problems_a_warning_counts_them(write: Write) -> None:
    path = write("list.txt", WIDER.replace("10 20 30 40", "10 20 0 0").replace("5 6 7 8", "5"))
    with pytest.warns(UserWarning, match=r"^2 rows or files of .* could not be used; the first: .*list\.txt:3"):
        list(read(path))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(read(write("good.txt", WIDER)))


def test_problems() -> None:
    problems = Problems(limit=2)
    for line in range(5):
        problems.add(Path("a.txt"), "bad", line)
    problems.add("b.txt", "bad")
    assert problems.count == 6
    assert list(problems) == ["a.txt:0: bad", "a.txt:1: bad"]
    # Whoever reads the same again has the same problems.
    problems.add("a.txt", "bad", 1)
    problems.add("a.txt", "bad", 4)
    assert problems.count == 6
    problems.add("a.txt", "worse", 4)
    assert problems.count == 7


def test_reading_is_lazy(write: Write) -> None:
    rows = read(write("list.txt", WIDER + "0--Parade/z.jpg\nbad\n"), problems=(problems := Problems()))
    assert next(rows).name == "0--Parade/a.jpg"
    assert problems.count == 0
    assert len(list(rows)) == 2
    assert problems.count > 0


def test_the_photographs_sets(data: Path) -> None:
    for place, form, pictures, faces in (
        ("wider_val_416/gt_416.txt", None, 100, 2656),
        ("facemask/annotations", None, 427, 2020),
        ("net_7876/test.txt", None, 1014, 1014),
        ("negatives", "backgrounds", 485, 0),
    ):
        found, problems = listed(data / place, form)
        assert (len(found), sum(len(annotation.boxes) for annotation in found)) == (pictures, faces)
        assert problems == []
        assert all(annotation.path.is_file() for annotation in found)
