"""A program of a user of mtcnn 0.1.1: the faces of a picture."""

from __future__ import annotations

import sys

import numpy as np
from mtcnn import MTCNN
from PIL import Image

detector = MTCNN()


def find(image):
    rows = []
    for face in detector.detect_faces(np.asarray(image)):
        x, y, width, height = face["box"]
        points = [face["keypoints"][name] for name in ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")]
        rows.append([x, y, x + width, y + height, face["confidence"], *np.ravel(points)])
    return np.array(rows).reshape(-1, 15)


if __name__ == "__main__":
    print(find(Image.open(sys.argv[1])))
