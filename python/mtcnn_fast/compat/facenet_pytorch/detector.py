"""facenet-pytorch's class MTCNN on this package's detector."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import mtcnn_fast.detector
from mtcnn_fast.compat.facenet_pytorch.crops import extract_face, fixed_image_standardization
from mtcnn_fast.compat.facenet_pytorch.selection import areas, best_face
from mtcnn_fast.compat.shared import LatestDetector, rounded

_NETWORKS = ("pnet", "rnet", "onet")
_DEVICES = ("cpu", "cuda")


class MTCNN(torch.nn.Module):
    """Finds faces and crops them to tensors, with the interface of facenet-pytorch's MTCNN.

    * image_size: side of the crops in pixels. margin: pixels of the crop that are added to the box.
    * min_face_size, thresholds, factor: smallest face in pixels, least probability of each network, scale from one
      pyramid level to the next.
    * post_process: crops are (value - 127.5) / 128 instead of 0 to 255.
    * select_largest: faces are in the order of their areas; else of their probabilities.
    * selection_method: which face a call returns: "probability", "largest", "largest_over_threshold" or
      "center_weighted_size"; None: as `select_largest` says.
    * keep_all: a call returns all faces.
    * device: None is the CPU. A GPU of CUDA is used if it is named; any other device gives a UserWarning and the CPU.

    All arguments are attributes. A changed attribute counts from the next call on. Raises as `mtcnn_fast.MTCNN` does.
    """

    def __init__(
        self,
        image_size: int = 160,
        margin: float = 0,
        min_face_size: float = 20,
        thresholds: Sequence[float] = (0.6, 0.7, 0.7),
        factor: float = 0.709,
        post_process: bool = True,
        select_largest: bool = True,
        selection_method: str | None = None,
        keep_all: bool = False,
        device: Any = None,
    ) -> None:
        super().__init__()
        self.image_size = image_size
        self.margin = margin
        self.min_face_size = min_face_size
        self.thresholds = list(thresholds)
        self.factor = factor
        self.post_process = post_process
        self.select_largest = select_largest
        self.selection_method = selection_method or ("largest" if select_largest else "probability")
        self.keep_all = keep_all
        self.device = torch.device("cpu") if device is None else device
        # Callers ask next(mtcnn.parameters()).device. The networks have no parameters that PyTorch knows.
        self.placeholder = torch.nn.Parameter(torch.zeros(1, device=_core_device(self.device)), requires_grad=False)
        if (kind := torch.device(self.device).type) not in _DEVICES:
            warnings.warn(f"device is {kind!r}, which mtcnn_fast does not use; it runs on the CPU", stacklevel=2)
        self._latest_detector = LatestDetector()
        self._detector()

    def __getattr__(self, name: str) -> Any:
        if name in _NETWORKS:
            raise AttributeError(f"MTCNN has no {name}: mtcnn_fast runs the networks itself, outside of PyTorch")
        return super().__getattr__(name)

    def _detector(self) -> mtcnn_fast.detector.MTCNN:
        return self._latest_detector(
            min_face_size=self.min_face_size,
            thresholds=tuple(self.thresholds),
            scale_factor=self.factor,
            device=_core_device(self.device),
            profile="facenet-pytorch",
        )

    def detect(self, img: Any, landmarks: bool = False) -> tuple[Any, ...]:
        """Finds all faces. Returns boxes and probabilities, and with `landmarks` the points.

        img: a PIL image, an array or a tensor (H, W, 3), uint8 or float 0 to 255, in RGB; a batch is a list or tuple of
        these, or a 4-D array or tensor. Floats are rounded. The images of a list may differ in size.

        One image with N faces gives object arrays of Python floats: boxes (N, 4), probabilities (N,), points (N, 5, 2).
        Without a face boxes and points are None, and the probabilities are an array of one None. A batch of I images
        with N faces in each gives object arrays (I, N, 4), (I, N) and (I, N, 5, 2). Where the numbers of faces differ,
        it gives object arrays (I,) of float32 arrays, with None for boxes and points, and [None] for probabilities, of
        an image without a face.
        """
        batch = is_batch(img)
        images = list(img) if batch else [img]
        if not images:
            raise ValueError("img is an empty batch; wanted at least one image")
        detector = self._detector()
        names = [f"image {i}" if batch else "image" for i in range(len(images))]
        inputs = [_core_input(image, name, detector.device) for image, name in zip(images, names, strict=True)]
        boxes: list[Any] = []
        probs: list[Any] = []
        points: list[Any] = []
        for faces in detector.detect_batch(inputs) if batch else [detector.detect(inputs[0])]:
            if not len(faces):
                boxes.append(None)
                probs.append([None])
                points.append(None)
                continue
            found = (faces.boxes, faces.scores, faces.landmarks)
            # The copies can be written to.
            order = np.argsort(areas(faces.boxes))[::-1] if self.select_largest else np.arange(len(faces))
            for rows, values in zip((boxes, probs, points), found, strict=True):
                rows.append(values[order])
        # NumPy decides between (I, N, ...) and (I,) as it does for facenet-pytorch, which makes its results so.
        results = [np.array(rows, dtype=object) for rows in (boxes, probs, points)]
        if not batch:
            results = [rows[0] for rows in results]
        return tuple(results if landmarks else results[:2])

    def select_boxes(
        self,
        all_boxes: Any,
        all_probs: Any,
        all_points: Any,
        imgs: Any,
        method: str = "probability",
        threshold: float = 0.9,
        center_weight: float = 2.0,
    ) -> tuple[Any, Any, Any]:
        """Chooses one face per image from the results of `detect`.

        method: the most probable face, the largest, the largest whose probability is over `threshold`, or the one with
        the greatest area minus `center_weight` times the squared distance from the image's center.

        One image gives a box (1, 4), the probability and points (1, 5, 2), or three times None. A batch of I images
        gives (I, 1, 4), (I, 1) and (I, 1, 5, 2); if an image has no such face, object arrays (I,), (I, 1) and (I,) with
        None for it. Raises ValueError for an unknown method.
        """
        batch = is_batch(imgs)
        if not batch:
            imgs, all_boxes, all_probs, all_points = [imgs], [all_boxes], [all_probs], [all_points]
        chosen: list[tuple[Any, Any, Any]] = []
        for img, boxes, probs, points in zip(imgs, all_boxes, all_probs, all_points, strict=True):
            arrays = () if boxes is None else tuple(np.array(rows) for rows in (boxes, probs, points))
            best = best_face(arrays[0], arrays[1], img, method, threshold, center_weight) if arrays else None
            if best is None:
                chosen.append((None, [None], None))
            else:
                chosen.append((arrays[0][[best]], arrays[1][[best]], arrays[2][[best]]))
        if not batch:
            box, prob, point = chosen[0]
            return box, prob[0], point
        boxes, probs, points = zip(*chosen, strict=True)
        return _stacked(boxes), np.array(probs), _stacked(points)

    def extract(self, img: Any, batch_boxes: Any, save_path: Any) -> Any:
        """Crops the faces in the boxes of `detect` or `select_boxes`, the first of each image unless `keep_all`.

        Returns float32 (3, image_size, image_size), with `keep_all` (N, 3, image_size, image_size), None without a
        face; a list of these for a batch. save_path: None, a path, or for a batch a list with a path or None per image.
        With `keep_all` the second face goes to root_2.ext, and so on. The written crops are not standardized. Raises
        ValueError if there is not one path per image.
        """
        batch = is_batch(img)
        images, image_boxes = (img, batch_boxes) if batch else ([img], [batch_boxes])
        paths = _paths(save_path, len(images))
        crops = [
            None if boxes is None else self._crops(image, boxes, path)
            for image, boxes, path in zip(images, image_boxes, paths, strict=True)
        ]
        return crops if batch else crops[0]

    def _crops(self, image: Any, boxes: Any, path: str | None) -> torch.Tensor:
        crops = []
        for i, box in enumerate(boxes if self.keep_all else boxes[[0]]):
            root, suffix = os.path.splitext(path or "")  # noqa: PTH122 - the path is kept as the caller wrote it
            numbered = path if path is None or i == 0 else f"{root}_{i + 1}{suffix}"
            crop = extract_face(image, box, self.image_size, self.margin, numbered)
            crops.append(fixed_image_standardization(crop) if self.post_process else crop)
        return torch.stack(crops) if self.keep_all else crops[0]

    def forward(self, img: Any, save_path: Any = None, return_prob: bool = False) -> Any:
        """Finds and crops: what `detect`, `select_boxes` (unless `keep_all`) and `extract` return one after the other.

        With `return_prob` it is a pair of the crops and the probabilities.
        """
        boxes, probs, points = self.detect(img, landmarks=True)
        if not self.keep_all:
            boxes, probs, points = self.select_boxes(boxes, probs, points, img, method=self.selection_method)
        crops = self.extract(img, boxes, save_path)
        return (crops, probs) if return_prob else crops


def is_batch(img: Any) -> bool:
    return isinstance(img, list | tuple) or (isinstance(img, np.ndarray | torch.Tensor) and img.ndim == 4)


def _core_device(device: Any) -> str:
    wanted = torch.device(device)
    return str(wanted) if wanted.type == "cuda" else "cpu"


def _core_input(image: Any, name: str, device: str) -> Any:
    """The image as `mtcnn_fast.MTCNN.detect` takes it: a PIL image, a uint8 array, or a uint8 tensor on `device`."""
    if isinstance(image, torch.Tensor):
        image = image.detach()
        if image.device.type == "cuda" and str(image.device) == device:
            return image if image.dtype == torch.uint8 else image.round().clamp(0, 255).byte()
        image = image.cpu().numpy()
    return rounded(image, name)


def _paths(save_path: Any, images: int) -> Sequence[str | None]:
    if save_path is None:
        return [None] * images
    paths = [save_path] if isinstance(save_path, str | os.PathLike) else list(save_path)
    if len(paths) != images:
        raise ValueError(f"save_path has {len(paths)} paths; wanted {images}, one per image")
    return [None if path is None else os.fspath(path) for path in paths]


def _stacked(rows: Sequence[Any]) -> NDArray[Any]:
    """One array of the rows; an object array of them if one is None."""
    if all(row is not None for row in rows):
        return np.array(rows)
    array = np.empty(len(rows), dtype=object)
    array[:] = rows
    return array
