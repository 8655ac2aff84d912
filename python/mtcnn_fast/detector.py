"""The detector: checks of what goes in; the work is done by the C++ core."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from mtcnn_fast import _core
from mtcnn_fast.checks import described, each, flag, floats, integer, number, text
from mtcnn_fast.detections import Detections, Face
from mtcnn_fast.extra import require
from mtcnn_fast.image import checked_channel_order, has_zero_stride, is_pil, pixels, walkable
from mtcnn_fast.weights import load_weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Images of each thread in a call of the core. The call cannot be interrupted: Ctrl-C is answered between calls.
_IMAGES_A_THREAD = 8

_ALL_FACES = 2**31 - 1


class MTCNN:
    """Finds faces, with five landmarks each. Immutable; safe to use from many threads; can be pickled.

    Every argument goes by keyword.

    * min_face_size: pixels, shorter side of the smallest face looked for, >= 4. The larger, the faster.
    * max_face_size: pixels; None: as large as the image.
    * scale_factor: between pyramid levels, in (0, 0.99].
    * thresholds: face probability asked of P-Net, R-Net and O-Net, each in [0, 1].
    * nms_thresholds: greatest overlap left per level, across levels, after R-Net (over the union of two boxes) and
      after O-Net (over the smaller box), each in [0, 1].
    * device: "auto", "cpu", "cuda" or "cuda:N". "auto" takes what is there; `device` says what.
    * channel_order: "rgb", or "bgr" for what cv2.imread gives, of images with three or four channels.
    * profile: "reference", "facenet-pytorch" or "mtcnn": whose numbers to give.
    * precision: "fp32", or "fast": bf16 where the processor multiplies tiles of it (AMX), else fp32; `precision` says
      what.
    * weights: None for the embedded networks, the path of a safetensors file, or a mapping of names to float32 arrays.
    * num_threads: CPU threads; None: MTCNN_FAST_NUM_THREADS, else the processors that this process may use.

    Raises TypeError for an option of a wrong type, ValueError for one out of its range and for a weight file that is
    not whole, RuntimeError for a device that is not there.
    """

    __slots__ = ("_channel_order", "_core", "_options")

    def __init__(
        self,
        *,
        min_face_size: float = 20,
        max_face_size: float | None = None,
        scale_factor: float = 0.709,
        thresholds: Sequence[float] = (0.6, 0.7, 0.7),
        nms_thresholds: Sequence[float] = (0.5, 0.7, 0.7, 0.7),
        device: str = "auto",
        channel_order: str = "rgb",
        profile: str = "reference",
        precision: str = "fp32",
        weights: str | os.PathLike[str] | Mapping[str, NDArray[np.float32]] | None = None,
        num_threads: int | None = None,
    ) -> None:
        self._channel_order = checked_channel_order(channel_order)
        self._options: dict[str, Any] = {
            "min_face_size": number("min_face_size", min_face_size),
            "max_face_size": None if max_face_size is None else number("max_face_size", max_face_size),
            "scale_factor": number("scale_factor", scale_factor),
            "thresholds": each("thresholds", thresholds, 3, number),
            "nms_thresholds": each("nms_thresholds", nms_thresholds, 4, number),
            "device": text("device", device),
            "profile": text("profile", profile),
            "precision": text("precision", precision),
            "weights": load_weights(weights),
            "num_threads": None if num_threads is None else integer("num_threads", num_threads),
        }
        self._core = _core.Detector(**self._options)

    @property
    def device(self) -> str:
        """What it really runs on: "cpu" or "cuda:0"."""
        return self._core.device

    @property
    def isa(self) -> str:
        """Instruction set of the CPU kernels in use: one of `available_isas()`."""
        return self._core.isa

    @property
    def precision(self) -> str:
        """What it really computes in: "fp32" or "bf16"."""
        return self._core.precision

    @property
    def num_threads(self) -> int:
        """CPU threads in use. Results do not depend on it."""
        return self._core.num_threads

    def detect(self, image: Any, max_faces: int | None = None, clip: bool = False) -> Detections:
        """Finds the faces in one image, highest score first.

        image: a uint8 array (H, W, 3), (H, W, 4: alpha is ignored), (H, W) or (H, W, 1), in `channel_order`, with any
        strides; or a PIL image in mode RGB, RGBA or L. An image too small for a face has none.
        max_faces: keep those with the highest scores. clip: cut boxes to the image.

        Raises TypeError or ValueError for anything else, saying what came and what is wanted.
        """
        return self._detect([self._view(image)], *_selection(max_faces, clip))[0]

    def detect_batch(
        self,
        images: Sequence[Any] | NDArray[np.uint8],
        max_faces: int | None = None,
        clip: bool = False,
        progress: bool = False,
    ) -> list[Detections]:
        """Finds the faces in each of several images, which may differ in size: the same as `detect` one by one.

        images: a list or tuple of what `detect` takes, or a uint8 array (N, H, W, 1, 3 or 4).
        progress: show a bar on stderr (needs tqdm, extra `cli`).

        Raises as `detect` does, with the image's index.
        """
        if isinstance(images, np.ndarray):
            if images.ndim != 4:
                raise ValueError(f"images is {described(images)}; wanted (N, H, W, channels); detect takes one image")
        elif not isinstance(images, list | tuple):
            hint = "; detect takes one image" if is_pil(images) else ""
            raise TypeError(f"images is {described(images)}; wanted a list, a tuple or a 4-D uint8 array{hint}")
        selection = _selection(max_faces, clip)
        views = [self._view(image, f"image {i}") for i, image in enumerate(images)]
        bar = _progress_bar(len(views)) if flag("progress", progress) else nullcontext()
        found: list[Detections] = []
        with bar as shown:
            chunk = _IMAGES_A_THREAD * self.num_threads
            for start in range(0, len(views), chunk):
                found += self._detect(views[start : start + chunk], *selection)
                if shown is not None:
                    shown.update(len(found) - shown.n)
        return found

    def inspect(self, image: Any) -> dict[str, Any]:
        """Detects in one image and tells what was done.

        {"levels": [{"scale", "height", "width", "cells", "candidates", "after_nms"}, ...], one a pyramid level;
        "candidates": {"cells", "rnet", "onet", "faces"}: P-Net cells above the threshold, crops that R-Net and O-Net
        looked at, faces; "confirmed": {"cells", "rnet", "onet"}: what each network computed in fp32: everything, what a
        screen in bf16 left, or, where `precision` is "bf16", nothing; "milliseconds": {"pnet", "nms", "rnet", "onet",
        "total"}}
        """
        return self._core.inspect(self._view(image))

    def align(self, image: Any, faces: Detections | Face | NDArray[np.float32], size: int = 112) -> NDArray[np.uint8]:
        """Cuts the faces out upright, for a recognition network: uint8 (N, size, size, 3), channels as in the image.

        The landmarks are mapped by a least-squares similarity onto the ArcFace template scaled by size / 112; bilinear,
        black outside the image. faces: detections, one face, or landmarks (N, 5, 2).
        """
        landmarks = _rows(faces, "landmarks", (5, 2))
        return _core.align(_walkable(image, self._channel_order), landmarks, integer("size", size))

    def crop(
        self, image: Any, faces: Detections | Face | NDArray[np.float32], size: int = 160, margin: float = 0.0
    ) -> NDArray[np.uint8]:
        """Cuts the boxes out, stretched to squares: uint8 (N, size, size, 3), channels as in the image.

        margin: share of a box's width and height added on each side. Pixel area where both sides shrink, else
        bilinear; black outside the image. faces: detections, one face, or boxes (N, 4).
        """
        boxes = _rows(faces, "boxes", (4,))
        size, margin = integer("size", size), number("margin", margin)
        return _core.crop(_walkable(image, self._channel_order), boxes, size, margin)

    def __repr__(self) -> str:
        shown = {name: value for name, value in self._options.items() if name not in ("device", "weights")}
        shown["channel_order"] = self._channel_order
        options = ", ".join(f"{name}={value!r}" for name, value in shown.items())
        weights = "embedded" if self._options["weights"] is None else "custom"
        return f"<MTCNN on {self.device} ({self.isa}), {weights} weights: {options}>"

    def __reduce__(self) -> tuple[Any, ...]:
        # By options: the weights travel as arrays, so that a worker elsewhere needs no file.
        return _restored, (type(self), {**self._options, "channel_order": self._channel_order})

    def _view(self, image: Any, name: str = "image") -> tuple[NDArray[np.uint8], str]:
        array, pixel_format = pixels(image, self._channel_order, name)
        if has_zero_stride(array):
            # A few bytes can stand for an image of any size: refuse one beyond the limits before it is copied.
            self._core.levels(*array.shape[:2])
        return walkable(array), pixel_format

    def _detect(self, views: list[tuple[NDArray[np.uint8], str]], max_faces: int, clip: bool) -> list[Detections]:
        return [Detections(*arrays) for arrays in self._core.detect(views, max_faces, clip)]


def _restored(kind: type[MTCNN], options: dict[str, Any]) -> MTCNN:
    return kind(**options)


def _selection(max_faces: object, clip: object) -> tuple[int, bool]:
    limit = _ALL_FACES if max_faces is None else integer("max_faces", max_faces)
    if limit < 0:
        raise ValueError(f"max_faces is {limit}; wanted None or an integer of at least 0")
    return limit, flag("clip", clip)


def _progress_bar(total: int) -> Any:
    return require("tqdm", "progress=True").tqdm(total=total, unit="image")


def _walkable(image: object, channel_order: str) -> tuple[NDArray[np.uint8], str]:
    array, pixel_format = pixels(image, channel_order)
    return walkable(array), pixel_format


def _rows(faces: object, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """The boxes or landmarks, by `name`, of detections or of one face; or a caller's own array (N, *shape)."""
    if isinstance(faces, Face):
        rows = (faces.box if name == "boxes" else faces.landmarks)[np.newaxis]
    elif isinstance(faces, Detections):
        rows = getattr(faces, name)
    else:
        rows = floats(f"faces, as {name},", faces, (None, *shape))
    return np.ascontiguousarray(rows, dtype=np.float32)
