"""examples/gradio_app.py without Gradio: what its page calls. The C++ examples are in test_cpp.py."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

import mtcnn_fast
from mtcnn_fast.detections import FACE_COLUMNS

pytest.importorskip("cv2")


@pytest.fixture
def app() -> ModuleType:
    path = Path(__file__).parents[1] / "examples" / "gradio_app.py"
    spec = importlib.util.spec_from_file_location("gradio_app", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_finds_faces(app: ModuleType, astronaut_path: Path, tmp_path: Path) -> None:
    thresholds = app.DEFAULTS["thresholds"]
    drawn, rows, line = app.find_faces(str(astronaut_path), app.DEFAULTS["min_face_size"], *thresholds)
    image = mtcnn_fast.read(astronaut_path)
    assert drawn.shape == image.shape
    assert (drawn != image).any()
    assert ([len(row) for row in rows], line) == ([len(FACE_COLUMNS)], "1 face in 512 x 512 pixels")
    assert app.find_faces(str(astronaut_path), 300, *thresholds)[1:] == ([], "0 faces in 512 x 512 pixels")
    assert app.find_faces(None, 20, *thresholds) == (None, [], "")
    (tmp_path / "away.jpg").write_bytes(b"away")
    with pytest.raises(OSError, match="not a picture"):
        app.find_faces(str(tmp_path / "away.jpg"), 20, *thresholds)
