"""A program of a user of facenet-pytorch: the faces of a picture, and crops of them for recognition."""

from __future__ import annotations

import sys

import numpy as np
from facenet_pytorch import MTCNN
from PIL import Image

mtcnn = MTCNN(image_size=160, margin=14, keep_all=True)


def find(image):
    boxes, probabilities, points = mtcnn.detect(image, landmarks=True)
    if boxes is None:
        return np.empty((0, 15))
    crops = mtcnn.extract(image, boxes, None)
    assert crops.shape == (len(boxes), 3, 160, 160)
    return np.column_stack([boxes, probabilities, points.reshape(-1, 10)]).astype(float)


if __name__ == "__main__":
    print(find(Image.open(sys.argv[1])))
