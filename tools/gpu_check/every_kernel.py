"""Every kernel a few times, on as little as reaches them: an image with a face, a batch of mixed sizes, no face.

What NVIDIA's sanitizers run, under which a kernel takes a hundred times as long. The argument is the tests' picture.
"""

from __future__ import annotations

import sys

import numpy as np

import mtcnn_fast


def main(picture: str) -> None:
    face = np.ascontiguousarray(mtcnn_fast.read(picture)[60:180, 170:270])
    for precision in ("fp32", "fast"):
        for profile in ("reference", "facenet-pytorch", "mtcnn"):
            detector = mtcnn_fast.MTCNN(device="cuda:0", precision=precision, profile=profile)
            print(precision, profile, detector.inspect(face)["candidates"], flush=True)
            assert len(detector.detect(face)) == 1
        batch = [face, face[::2, ::2], face[:12, :12], np.zeros_like(face), face[:, ::-1]]
        print([len(faces) for faces in detector.detect_batch(batch)], flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
