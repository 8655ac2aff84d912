"""The peers' profiles against what the peers themselves found (tests/golden/peers.json, by tools/make_golden.py)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

GOLDEN = json.loads((Path(__file__).parent / "golden" / "peers.json").read_text())

# What a profile promises: faces found by both with that IoU and scores that near are the same face.
LEAST_IOU = 0.98
SCORE_TOLERANCE = 0.005
LEAST_MATCHED = 0.995
MOST_EXTRA = 0.005


def overlaps(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """IoU (n, m) of boxes (n, 4) with boxes (m, 4)."""
    inner = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    intersection = np.maximum(inner, 0).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (a, b)]
    return np.asarray(intersection / (areas[0][:, None] + areas[1][None] - intersection))


def matches(iou: NDArray[np.float64]) -> Iterator[tuple[int, int]]:
    """Pairs one to one, the most alike first."""
    iou = iou.copy()
    while iou.size and iou.max() >= LEAST_IOU:
        i, j = (int(index) for index in np.unravel_index(iou.argmax(), iou.shape))
        yield i, j
        iou[i], iou[:, j] = -1, -1


@pytest.mark.parametrize("run", GOLDEN["runs"], ids=lambda run: f"{run['peer']}-{run['options']['min_face_size']}")
@pytest.mark.heavy
def test_profile_finds_the_peers_faces(backend: str, run: dict[str, Any], data: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    import mtcnn_fast

    detector = mtcnn_fast.MTCNN(device=backend, profile=run["peer"], **run["options"])
    theirs = ours = matched = 0
    differing = []
    for name, expected in run["results"].items():
        image = cv2.imread(str(data / name))
        assert image is not None, f"{name} cannot be read"
        faces = detector.detect(np.ascontiguousarray(image[:, :, ::-1]))
        boxes, scores = np.array(expected["boxes"]).reshape(-1, 4), np.array(expected["scores"])
        landmarks = np.array(expected["landmarks"]).reshape(-1, 5, 2)
        pairs = list(matches(overlaps(boxes, faces.boxes.astype(np.float64))))
        good = 0
        for i, j in pairs:
            if abs(scores[i] - faces.scores[j]) <= SCORE_TOLERANCE:
                good += 1
                # A face found with a nearly equal box has its landmarks within a few hundredths of the box.
                assert np.abs(landmarks[i] - faces.landmarks[j]).max() <= 0.03 * np.ptp(boxes[i][[0, 2]]) + 0.01, name
        theirs, ours, matched = theirs + len(boxes), ours + len(faces), matched + good
        if not len(boxes) == len(faces) == good:
            differing.append(f"{name}: the peer has {len(boxes)}, the profile {len(faces)}, {good} alike")
    summary = f"{matched} of {theirs} matched, {ours - matched} extra\n" + "\n".join(differing)
    assert theirs - matched <= max(1, (1 - LEAST_MATCHED) * theirs), summary
    # Of a small set, one face of doubt.
    assert ours - matched <= max(1, MOST_EXTRA * theirs), summary
