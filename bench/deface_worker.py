"""The package deface for bench/blurring.py, which runs this file by an interpreter that has deface.

stdin: for each frame a line, the shape as JSON, and the bytes of its pixels in RGB. stdout: a line of JSON about
deface, and one per frame: the rectangles of the ellipses that were hidden, and the processor time.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import math
import sys
import time

import cv2
import numpy as np
from deface import deface
from deface.centerface import CenterFace

# The defaults of its command line.
THRESHOLD = 0.2
MASK_SCALE = 1.3


def limit_threads() -> None:
    cv2.setNumThreads(1)
    with contextlib.suppress(ImportError):
        import onnxruntime

        make_session = onnxruntime.InferenceSession

        def limited(*arguments: object, **options: object) -> object:
            settings = onnxruntime.SessionOptions()
            settings.intra_op_num_threads = settings.inter_op_num_threads = 1
            return make_session(*arguments, sess_options=settings, **options)

        onnxruntime.InferenceSession = limited


def main() -> None:
    limit_threads()
    with contextlib.redirect_stdout(sys.stderr):
        detector = CenterFace(backend="auto")
    about = f"deface {importlib.metadata.version('deface')} by {detector.backend}"
    print(json.dumps({"about": about}), flush=True)
    while line := sys.stdin.buffer.readline():
        shape = json.loads(line)
        image = np.frombuffer(sys.stdin.buffer.read(math.prod(shape)), np.uint8).reshape(shape).copy()
        begin = time.process_time()
        found, _ = detector(image, threshold=THRESHOLD)
        deface.anonymize_frame(found, image, MASK_SCALE, "blur", True, False, None, 20)
        seconds = time.process_time() - begin
        height, width = shape[:2]
        regions = []
        for x1, y1, x2, y2 in found[:, :4]:
            left, top, right, bottom = deface.scale_bb(int(x1), int(y1), int(x2), int(y2), MASK_SCALE).tolist()
            # It draws the ellipse in the part of the rectangle that is in the picture.
            regions.append([max(0, left), max(0, top), min(width - 1, right), min(height - 1, bottom)])
        print(json.dumps({"regions": regions, "seconds": seconds}), flush=True)


if __name__ == "__main__":
    main()
