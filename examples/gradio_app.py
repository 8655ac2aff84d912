"""A page in the browser: drop a picture, see its faces, move the thresholds.

    pip install ".[cli]" gradio
    python examples/gradio_app.py

It is served at http://127.0.0.1:7860, or at the address that Gradio's GRADIO_SERVER_NAME and GRADIO_SERVER_PORT name.
"""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any

import mtcnn_fast
from mtcnn_fast.detections import FACE_COLUMNS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

STAGES = ("P-Net", "R-Net", "O-Net")
DEFAULTS = {name: option.default for name, option in inspect.signature(mtcnn_fast.MTCNN).parameters.items()}


@functools.lru_cache(maxsize=16)
def detector(min_face_size: float, thresholds: tuple[float, float, float]) -> mtcnn_fast.MTCNN:
    """A detector with these options. Requests share it: a detector can be used by several threads."""
    return mtcnn_fast.MTCNN(min_face_size=min_face_size, thresholds=thresholds)


def find_faces(
    path: str | None, min_face_size: float, pnet: float, rnet: float, onet: float
) -> tuple[NDArray[np.uint8] | None, list[list[float]], str]:
    """The picture in a file with its faces drawn, a row of FACE_COLUMNS per face, and a line about them.

    path: None: there is no picture. Raises OSError that says why a file cannot be read.
    """
    if path is None:
        return None, [], ""
    image = mtcnn_fast.read(path)
    faces = detector(min_face_size, (pnet, rnet, onet)).detect(image)
    height, width = image.shape[:2]
    line = f"{len(faces)} {'face' if len(faces) == 1 else 'faces'} in {width} x {height} pixels"
    return mtcnn_fast.draw(image, faces), faces.to_rows().astype("float64").round(3).tolist(), line


def page() -> Any:
    """The page, as a gradio.Blocks."""
    import gradio

    def update(*arguments: Any) -> Any:
        try:
            return find_faces(*arguments)
        except OSError as error:
            raise gradio.Error(str(error)) from error

    with gradio.Blocks(title="mtcnn_fast") as blocks:
        gradio.Markdown("# mtcnn_fast\nFaces and their landmarks. Faces must be upright.")
        with gradio.Row():
            with gradio.Column():
                # A file, not an array: mtcnn_fast.read turns it upright by EXIF.
                picture = gradio.Image(type="filepath", label="Picture", height=420)
                least = gradio.Slider(4, 400, DEFAULTS["min_face_size"], step=1, label="Smallest face, in pixels")
                thresholds = [
                    gradio.Slider(0, 0.99, default, step=0.01, label=f"Least face probability after {stage}")
                    for stage, default in zip(STAGES, DEFAULTS["thresholds"], strict=True)
                ]
            with gradio.Column():
                drawn = gradio.Image(label="Faces", format="png", height=420, interactive=False)
                line = gradio.Markdown()
        rows = gradio.Dataframe(headers=list(FACE_COLUMNS), label="Faces, in pixels", interactive=False)
        inputs = [picture, least, *thresholds]
        gradio.on([each.change for each in inputs], update, inputs, [drawn, rows, line], api_name="find_faces")
    return blocks


if __name__ == "__main__":
    page().launch()
