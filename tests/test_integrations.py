"""DetectFaces: the class that workers of Ray Data, Spark, Daft and Hugging Face datasets call."""

from __future__ import annotations

import io
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mtcnn_fast import MTCNN, Detections, read
from mtcnn_fast.detections import FACE_COLUMNS
from mtcnn_fast.integrations import SPARK_SCHEMA, DetectFaces
from mtcnn_fast.integrations.rows import COLUMNS

PHOTOGRAPH = Path(__file__).parent / "data" / "astronaut.jpg"
OPTIONS: dict[str, Any] = {"min_face_size": 40, "device": "cpu"}
KINDS = ("mapping", "DataFrame", "Table", "RecordBatch")


@pytest.fixture(scope="module")
def faces() -> Detections:
    return MTCNN(**OPTIONS).detect(read(PHOTOGRAPH))


def batch_of(kind: str, columns: dict[str, list[Any]]) -> Any:
    pyarrow = pytest.importorskip("pyarrow")
    if kind == "DataFrame":
        return pytest.importorskip("pandas").DataFrame(columns)
    return columns if kind == "mapping" else getattr(pyarrow, kind).from_pydict(columns)


def dicts(rows: Any) -> list[dict[str, Any]]:
    """The rows as dicts, with None for what is missing."""
    if not hasattr(rows, "to_pylist"):
        rows = [
            {name: None if value != value else value for name, value in row.items()} for row in rows.to_dict("records")
        ]
        return rows
    found: list[dict[str, Any]] = rows.to_pylist()
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_a_batch(kind: str, faces: Detections) -> None:
    content = PHOTOGRAPH.read_bytes()
    batch = batch_of(kind, {"content": [content, b"no picture", content], "id": [7, 8, 9], "other": [0, 0, 0]})
    rows = DetectFaces("content", keep=["id"], **OPTIONS)(batch)
    assert type(rows).__name__ == ("Table" if kind == "mapping" else kind)
    rows = dicts(rows)
    assert [list(row) for row in rows] == [["id", *COLUMNS]] * len(rows)
    found = [row for row in rows if row["error"] is None]
    assert [row["id"] for row in found] == [7] * len(faces) + [9] * len(faces)
    assert [row["face"] for row in found] == [*range(len(faces))] * 2
    assert [[row[name] for name in FACE_COLUMNS] for row in found] == faces.to_rows().tolist() * 2
    assert {(row["page"], row["pages"], row["width"], row["damaged"]) for row in found} == {(0, 1, 512, None)}
    (failed,) = [row for row in rows if row["error"] is not None]
    assert failed == {
        "id": 8,
        **dict.fromkeys(COLUMNS),
        "page": 0,
        "pages": 1,
        "error": "not a picture that Pillow can decode",
    }


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_an_empty_batch(kind: str) -> None:
    assert dicts(DetectFaces(**OPTIONS)(batch_of(kind, {"path": []}))) == []


def test_kinds_of_pictures(tmp_path: Path, faces: Detections) -> None:
    image = read(PHOTOGRAPH)
    file = io.BytesIO()
    Image.fromarray(image).save(file, "png")
    pages = tmp_path / "pages.tiff"
    Image.fromarray(image).save(pages, save_all=True, append_images=[Image.fromarray(image)])
    good = [str(PHOTOGRAPH), PHOTOGRAPH, file.getvalue(), image, Image.fromarray(image), str(pages)]
    bad = {None: "None", "gone.jpg": "No such file", 1.5: "float", b"": "empty"}
    detect = DetectFaces(**OPTIONS)
    rows = detect.lists([*good, *bad, image[:8, :8]])
    assert [len(each) for each in rows] == [len(faces)] * len(good) + [1] * len(bad) + [1]
    assert (rows[-1][0]["width"], rows[-1][0]["face"], rows[-1][0]["error"]) == (8, None, None)
    for each in rows[: len(good)]:
        np.testing.assert_allclose([[row[name] for name in FACE_COLUMNS] for row in each], faces.to_rows(), atol=1e-3)
    for (row,), words in zip(rows[len(good) : -1], bad.values(), strict=True):
        assert words in row["error"]
    assert len(detect.lists(np.stack([image, image]))) == 2
    assert [row["page"] for row in DetectFaces(pages="all", **OPTIONS).lists([pages])[0]] == [0] * len(faces) + [
        1
    ] * len(faces)


def test_damage_is_in_the_rows() -> None:
    pytest.importorskip("simplejpeg")
    (rows,) = DetectFaces(**OPTIONS).lists([PHOTOGRAPH.read_bytes()[:-9000]])
    assert {row["damaged"] for row in rows} == {"corrupt JPEG data: premature end of data segment"}


def test_a_worker_makes_one_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    detect = DetectFaces(weights=None, **OPTIONS)
    copies = [pickle.loads(pickle.dumps(detect)) for _ in range(2)]
    made = []
    module = sys.modules[DetectFaces.__module__]
    monkeypatch.setattr(module, "MTCNN", lambda **options: made.append(options) or MTCNN(**options))
    module._detector.cache_clear()  # type: ignore[attr-defined]
    for copy in (*copies, *copies):
        assert list(copy.lists([PHOTOGRAPH])[0]) == list(detect.lists([PHOTOGRAPH])[0])
    assert [options["num_threads"] for options in made] == [1]


def test_threads_leave_pillow_as_it_was() -> None:
    limit, detect = Image.MAX_IMAGE_PIXELS, DetectFaces(**OPTIONS)
    with ThreadPoolExecutor(4) as pool:
        for rows in pool.map(detect.lists, [[PHOTOGRAPH, "gone.jpg"]] * 8):
            assert [each[0]["error"] is None for each in rows] == [True, False]
    assert limit == Image.MAX_IMAGE_PIXELS


def test_batches_are_mapped_lazily() -> None:
    pytest.importorskip("pandas")
    batches = DetectFaces(**OPTIONS).batches(iter([batch_of("DataFrame", {"path": ["gone.jpg"]})] * 2))
    assert [rows["path"].tolist() for rows in batches] == [["gone.jpg"]] * 2


def test_spark_schema() -> None:
    assert SPARK_SCHEMA.startswith("page int, pages int, width int, height int, face int, x1 float, ")
    assert SPARK_SCHEMA.endswith(", mouth_right_y float, damaged string, error string")


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"keep": "path"}, TypeError, "wanted a list of columns, such as ['path']"),
        ({"keep": ["face"]}, ValueError, "keep has 'face'"),
        ({"pages": "last"}, ValueError, "pages is 'last'; wanted one of"),
        ({"channel_order": "bgr"}, ValueError, "channel_order is 'bgr'; wanted 'rgb'"),
        ({"min_face_size": 1}, ValueError, "min_face_size"),
        ({"device": 0}, TypeError, "device is 0"),
        ({"max_faces": -1}, ValueError, "max_faces is -1"),
        ({"column": 3}, TypeError, "column is 3"),
    ],
)
def test_options_are_checked_where_they_are_given(options: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error) as raised:
        DetectFaces(**options)
    assert words in str(raised.value)


def test_a_device_is_looked_for_in_the_worker() -> None:
    detect = DetectFaces(device="cuda:77")
    with pytest.raises((RuntimeError, ValueError)):
        detect.lists([PHOTOGRAPH])


def test_wrong_batches() -> None:
    pytest.importorskip("pyarrow")
    detect = DetectFaces()
    with pytest.raises(KeyError, match=r"columns \['image'\], without 'path'"):
        detect({"image": []})
    with pytest.raises(TypeError, match="wanted a mapping of columns"):
        detect(["a.jpg"])
