"""`mtcnn_fast.compat.install`: what a program that imports another package by its name gets."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mtcnn_fast.compat import install


def needs(module: str, package: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(importlib.util.find_spec(module) is None, reason=f"{package} is not installed")


needs_torch = needs("torch", "PyTorch")

# A package by the name of facenet-pytorch with its modules, of which only the two that are asked for may be imported.
FACENET = {
    "__init__.py": "raise AssertionError('the package itself is imported')",
    "models/inception_resnet_v1.py": "from .utils.download import url\nclass InceptionResnetV1: place = url",
    "models/mtcnn.py": "from .utils.detect_face import detect_face, extract_face\nclass PNet: steps = detect_face",
    "models/utils/detect_face.py": "def detect_face(): return 'theirs'",
    "models/utils/download.py": "url = 'theirs'",
    "models/utils/training.py": "def pass_epoch(): return 'theirs'",
}


def run(program: str, folder: Path) -> None:
    """Runs a program for which packages may lie in a folder."""
    path = os.pathsep.join([str(folder), *sys.path])
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_modules_of_mtcnn(tmp_path: Path) -> None:
    run(
        """
from mtcnn_fast import compat
module = compat.install("mtcnn")
import mtcnn, mtcnn.utils.plotting, mtcnn_fast.compat.mtcnn as ours
from mtcnn.exceptions.invalid_image import InvalidImage
from mtcnn.mtcnn import MTCNN
from mtcnn.stages import StagePNet
from mtcnn.utils.images import load_image
assert compat.install("mtcnn") is module is mtcnn
assert mtcnn.MTCNN is MTCNN is ours.MTCNN
assert mtcnn.exceptions.InvalidImage is InvalidImage
assert mtcnn.__version__ == "1.0.0"
assert mtcnn.utils.plotting.plot.__module__ == "mtcnn_fast.compat.mtcnn.utils.plotting"
assert not hasattr(mtcnn, "network")
""",
        tmp_path,
    )


@needs_torch
def test_modules_of_facenet_pytorch_beside_the_package(tmp_path: Path) -> None:
    write(tmp_path / "facenet_pytorch", FACENET)
    run(
        """
import pickle
from mtcnn_fast import compat
compat.install("facenet_pytorch")
import facenet_pytorch, facenet_pytorch.models.utils.training, mtcnn_fast.compat.facenet_pytorch as ours
from facenet_pytorch import MTCNN, InceptionResnetV1, PNet, fixed_image_standardization, training
from facenet_pytorch.models.mtcnn import MTCNN as same, prewhiten
from facenet_pytorch.models.utils.detect_face import detect_face, extract_face
from facenet_pytorch.models.inception_resnet_v1 import InceptionResnetV1 as Network
assert MTCNN is same is ours.MTCNN
assert extract_face is ours.extract_face
assert InceptionResnetV1 is Network and Network.place == detect_face() == training.pass_epoch() == "theirs"
assert training is facenet_pytorch.models.utils.training and training.collate_pil is ours.training.collate_pil
assert PNet.steps is detect_face and PNet.__module__ == "facenet_pytorch.models.mtcnn"
for kind in (InceptionResnetV1, PNet):
    assert pickle.loads(pickle.dumps(kind)) is kind
""",
        tmp_path,
    )


@needs_torch
@pytest.mark.skipif(importlib.util.find_spec("facenet_pytorch") is not None, reason="facenet-pytorch is installed")
def test_what_facenet_pytorch_would_have_is_told(tmp_path: Path) -> None:
    run(
        """
from mtcnn_fast import compat
compat.install("facenet_pytorch")
import facenet_pytorch
for program in (
    "from facenet_pytorch import InceptionResnetV1",
    "from facenet_pytorch.models.inception_resnet_v1 import InceptionResnetV1",
    "from facenet_pytorch.models.mtcnn import PNet",
    "facenet_pytorch.training.pass_epoch",
):
    try:
        exec(program)
    except ImportError as error:
        assert "which needs facenet_pytorch: pip install --no-deps facenet-pytorch" in str(error), error
    else:
        raise AssertionError(program)
assert not hasattr(facenet_pytorch, "other")
""",
        tmp_path,
    )


@needs_torch
@needs("deepface", "DeepFace")
def test_the_back_ends_of_deepface_find_the_faces(tmp_path: Path, astronaut_path: Path) -> None:
    """DeepFace itself imports mtcnn and facenet-pytorch."""
    run(
        f"""
import os
os.environ["DEEPFACE_HOME"] = {str(tmp_path)!r}
from mtcnn_fast import compat
compat.install("mtcnn")
compat.install("facenet_pytorch")
from deepface import DeepFace
for name, box in (("mtcnn", [179, 60, 88, 114]), ("fastmtcnn", [180, 61, 87, 110])):
    (face,) = DeepFace.extract_faces({str(astronaut_path)!r}, detector_backend=name, align=False)
    assert [face["facial_area"][side] for side in "xywh"] == box, face["facial_area"]
""",
        tmp_path,
    )


def test_a_package_that_is_already_imported_is_told(tmp_path: Path) -> None:
    write(tmp_path / "mtcnn", {"__init__.py": ""})
    run(
        """
import sys, mtcnn
from mtcnn_fast import compat
try:
    compat.install("mtcnn")
except RuntimeError as error:
    assert str(error).startswith(f"mtcnn is already imported, from {mtcnn.__file__}; call install before"), error
else:
    raise AssertionError
assert sys.modules["mtcnn"] is mtcnn and "mtcnn.mtcnn" not in sys.modules
""",
        tmp_path,
    )


def test_another_name_is_told() -> None:
    with pytest.raises(ValueError, match=r"name is 'insightface'; wanted one of \('facenet_pytorch', 'mtcnn'\)"):
        install("insightface")
