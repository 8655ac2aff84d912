"""Crops of faces as tensors, by facenet-pytorch's rules of rounding and resizing."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mtcnn_fast.checks import described
from mtcnn_fast.extra import require
from mtcnn_fast.image import is_pil


def fixed_image_standardization(image_tensor: Any) -> Any:
    """Maps grey levels 0 to 255 onto -0.996 to 0.996."""
    return (image_tensor - 127.5) / 128.0


def prewhiten(x: torch.Tensor) -> torch.Tensor:
    """Subtracts the mean and divides by the standard deviation, which counts as at least 1 / sqrt(number of values)."""
    least = 1 / float(x.numel()) ** 0.5
    return (x - x.mean()) / x.std().clamp(min=least)


def extract_face(
    img: Any, box: Any, image_size: int = 160, margin: float = 0, save_path: str | os.PathLike[str] | None = None
) -> torch.Tensor:
    """Cuts one face out: float32 (channels, image_size, image_size) with values 0 to 255, in the host's memory.

    img: a PIL image, or an array or tensor (H, W, channels) with values 0 to 255. box: x1, y1, x2, y2 in pixels.
    margin: pixels of the result that are added to the box, half on each side. save_path: a file to write the crop to;
    its folder is made. Raises ValueError for a margin as large as image_size and for a box without a pixel in the
    image.
    """
    if margin >= image_size:
        raise ValueError(f"margin is {margin}; wanted less than image_size, which is {image_size}")
    width, height = image_shape(img)
    grow_x, grow_y = (margin * (box[i + 2] - box[i]) / (image_size - margin) for i in (0, 1))
    x1, y1 = int(max(box[0] - grow_x / 2, 0)), int(max(box[1] - grow_y / 2, 0))
    x2, y2 = int(min(box[2] + grow_x / 2, width)), int(min(box[3] + grow_y / 2, height))
    if x1 >= x2 or y1 >= y2:
        sides = [float(side) for side in box]
        raise ValueError(f"box is {sides}, which holds no pixel of the image of {width} x {height}")

    if is_pil(img):
        bilinear = require("PIL.Image", "extract_face").Resampling.BILINEAR
        face = img.crop((x1, y1, x2, y2)).resize((image_size, image_size), bilinear)
        if save_path is not None:
            _make_folder(save_path)
            face.save(save_path)
        pixels: NDArray[Any] = np.asarray(face)
    else:
        cut = img[y1:y2, x1:x2]
        pixels = _resized_tensor(cut, image_size) if isinstance(img, torch.Tensor) else _resized(cut, image_size)
        if save_path is not None:
            _make_folder(save_path)
            # 95 is the quality of cv2.imwrite, by which facenet-pytorch writes arrays. Only JPEG and WebP have one.
            whole = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
            require("PIL.Image", "save_path").fromarray(whole).save(save_path, quality=95)
    planes = pixels.transpose(2, 0, 1) if pixels.ndim == 3 else pixels[np.newaxis]
    return torch.from_numpy(planes.astype(np.float32, order="C"))


def image_shape(img: Any) -> tuple[int, int]:
    """Width and height of a PIL image, an array or a tensor."""
    if is_pil(img):
        width, height = img.size
    elif isinstance(img, np.ndarray | torch.Tensor) and img.ndim in (2, 3):
        height, width = img.shape[:2]
    else:
        raise TypeError(f"img is {described(img)}; wanted a PIL image, or an array or tensor (height, width, channels)")
    return int(width), int(height)


def _make_folder(path: str | os.PathLike[str]) -> None:
    if folder := os.path.dirname(path):  # noqa: PTH120 - the path may be a plain string, and is kept as it is
        os.makedirs(folder, exist_ok=True)  # noqa: PTH103


def _resized_tensor(cut: torch.Tensor, side: int) -> NDArray[np.uint8]:
    planes = cut.detach().permute(2, 0, 1)[None].float()
    resized = torch.nn.functional.interpolate(planes, (side, side), mode="area").byte()[0]
    return np.asarray(resized.permute(1, 2, 0).cpu().numpy())


def _resized(cut: NDArray[Any], side: int) -> NDArray[Any]:
    """What cv2.resize with INTER_AREA gives, to one grey level, without OpenCV."""
    height, width = cut.shape[:2]
    shrinks = min(height, width) >= side
    rows, columns = (_weights(length, side, shrinks) for length in (height, width))
    resized = np.tensordot(rows, np.tensordot(columns, cut.astype(np.float32), (1, 1)), (1, 1))
    return np.clip(np.rint(resized), 0, 255).astype(np.uint8) if cut.dtype == np.uint8 else resized


def _weights(length: int, side: int, shrinks: bool) -> NDArray[np.float32]:
    """float32 (side, length): the share of each value in each resized one.

    Where both sides shrink, INTER_AREA is the mean over the area that a resized pixel covers. If a side grows, it takes
    two neighbors along each side, the second by the share that lies beyond the first one's end.
    """
    scale = length / side
    starts = np.arange(side)[:, np.newaxis] * scale
    if shrinks:
        begins = np.arange(length)
        covered = np.minimum(starts + scale, begins + 1) - np.maximum(starts, begins)
        return np.asarray(np.maximum(covered, 0) / scale, dtype=np.float32)
    first = np.floor(starts[:, 0]).astype(int)
    beyond = np.arange(1, side + 1) - (first + 1) / scale
    beyond = np.where(beyond <= 0, 0, beyond - np.floor(beyond))
    weights = np.zeros((side, length), np.float32)
    weights[np.arange(side), first] = 1 - beyond
    weights[np.arange(side), np.minimum(first + 1, length - 1)] += beyond
    return weights
