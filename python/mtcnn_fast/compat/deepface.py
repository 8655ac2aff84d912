"""This package's detector as a detector of DeepFace.

>>> from deepface import DeepFace
>>> from mtcnn_fast.compat.deepface import register
>>> register()
>>> faces = DeepFace.extract_faces("picture.jpg", detector_backend="mtcnn_fast")

docs/compatibility.md lists what the faces hold.
"""

from __future__ import annotations

import inspect
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from mtcnn_fast.checks import text
from mtcnn_fast.compat.shared import rounded
from mtcnn_fast.detections import Face
from mtcnn_fast.detector import MTCNN
from mtcnn_fast.extra import require

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Client", "register"]

_TASK = "face_detector"
_REMEDY = "pip install deepface"


def register(name: str = "mtcnn_fast", **options: Any) -> None:
    """Makes `detector_backend=name` of DeepFace's functions this package's detector, in this process.

    name: a new one, or one of DeepFace's own, such as "mtcnn" or "fastmtcnn", which it replaces. options: arguments of
    `mtcnn_fast.MTCNN` except for `channel_order`. A second call with the same name replaces the first.

    Raises ImportError without DeepFace, RuntimeError for a version of it that does not take the detector, and errors as
    `mtcnn_fast.MTCNN` does.
    """
    client = Client(**options)
    modeling = require("deepface.modules.modeling", "register", remedy=_REMEDY)
    # The models that DeepFace has built. It makes the same dictionary if there is none when the first model is asked
    # for, and takes a model that is in it in all versions, while the list of names differs in form and place.
    built = vars(modeling).setdefault("cached_models", defaultdict(dict))
    built[_TASK][text("name", name)] = client
    try:
        taken = modeling.build_model(_TASK, name) is client
    except (TypeError, ValueError):
        taken = False
    if not taken:
        raise RuntimeError("this version of deepface does not take other detectors; 0.0.93 to 0.0.103 do")


class Client:
    """A detector with the interface of deepface.models.Detector.Detector. The arguments are those of `register`."""

    def __init__(self, **options: Any) -> None:
        if "channel_order" in options:
            raise TypeError("channel_order is given; images of DeepFace are BGR")
        self._detector = MTCNN(channel_order="bgr", **options)

    def detect_faces(self, img: NDArray[Any]) -> list[Any]:
        """Finds the faces of an image: a list of deepface.models.Detector.FacialAreaRegion, highest score first.

        img: BGR, BGRA or gray (H, W, channels): uint8, or other numbers from 0 to 255, which are rounded. Coordinates
        are rounded to pixels. Left and right are the person's, as DeepFace has them. Raises ImportError without
        DeepFace, TypeError or ValueError for anything that is not an image.
        """
        region = require("deepface.models.Detector", "Client.detect_faces", remedy=_REMEDY).FacialAreaRegion
        # Nose and mouth are fields of the later versions.
        fields = inspect.signature(region).parameters
        values = [_values(face) for face in self._detector.detect(rounded(img))]
        return [region(**{name: value for name, value in face.items() if name in fields}) for face in values]


def _values(face: Face) -> dict[str, Any]:
    x1, y1, x2, y2 = (round(float(side)) for side in face.box)
    return {
        "x": x1,
        "y": y1,
        "w": x2 - x1,
        "h": y2 - y1,
        "left_eye": _point(face.right_eye),
        "right_eye": _point(face.left_eye),
        "nose": _point(face.nose),
        "mouth_left": _point(face.mouth_right),
        "mouth_right": _point(face.mouth_left),
        "confidence": face.score,
    }


def _point(point: NDArray[Any]) -> tuple[int, int]:
    return round(float(point[0])), round(float(point[1]))
