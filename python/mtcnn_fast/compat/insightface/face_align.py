"""InsightFace's crops for recognition, `insightface.utils.face_align`: faces upright, by the ArcFace template."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mtcnn_fast import _core
from mtcnn_fast.checks import floats, integer
from mtcnn_fast.image import walkable_pixels

if TYPE_CHECKING:
    from numpy.typing import NDArray

arcface_dst = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]], np.float32
)
"""float32 (5, 2): the places of the landmarks in a crop of 112 x 112."""


def estimate_norm(lmk: NDArray[Any], image_size: int = 112, mode: str = "arcface") -> NDArray[np.float64]:
    """The similarity that maps landmarks (5, 2) onto the template with the least squares: float64 (2, 3).

    image_size: a multiple of 112, for which the template is scaled, or of 128, for which it has a wider border. mode:
    not used. Raises TypeError or ValueError for other arguments.
    """
    points = _complex(floats("lmk", lmk, (5, 2), integers=True))
    wanted = _complex(_template(image_size))
    if not np.isfinite(points).all() or (points == points[0]).all():
        raise ValueError(f"lmk is {lmk.tolist()}; wanted five finite points that differ")
    centered = points - points.mean()
    # In complex numbers a similarity is factor * point + shift.
    factor = np.vdot(centered, wanted - wanted.mean()) / np.vdot(centered, centered).real
    shift = wanted.mean() - factor * points.mean()
    return np.array([[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]])


def norm_crop(img: Any, landmark: NDArray[Any], image_size: int = 112, mode: str = "arcface") -> NDArray[np.uint8]:
    """The face with these landmarks, upright: uint8 (image_size, image_size, 3), channels as in the image.

    img: as `mtcnn_fast.MTCNN.detect` takes it. The other arguments are those of `estimate_norm`.
    """
    return norm_crop2(img, landmark, image_size, mode)[0]


def norm_crop2(
    img: Any, landmark: NDArray[Any], image_size: int = 112, mode: str = "arcface"
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """The crop of `norm_crop` and the similarity of `estimate_norm`."""
    similarity = estimate_norm(landmark, image_size, mode)
    # The core maps landmarks onto its own template, so it gets those that the similarity maps there.
    scaled = arcface_dst.astype(np.float64) * (image_size / 112)
    source = np.linalg.solve(similarity[:, :2], (scaled - similarity[:, 2]).T).T[np.newaxis]
    view = walkable_pixels(img, "bgr")
    crop: NDArray[np.uint8] = _core.align(view, source.astype(np.float32, order="C"), image_size)[0]
    return crop, similarity


def _template(image_size: int) -> NDArray[np.float64]:
    size = integer("image_size", image_size)
    template: NDArray[np.float64] = arcface_dst.astype(np.float64)
    if size > 0 and size % 112 == 0:
        return template * (size / 112)
    if size > 0 and size % 128 == 0:
        template[:, 0] += 8
        return template * (size / 128)
    raise ValueError(f"image_size is {size}; wanted a multiple of 112 or of 128")


def _complex(points: NDArray[Any]) -> NDArray[np.complex128]:
    return points[:, 0].astype(np.float64) + 1j * points[:, 1]
