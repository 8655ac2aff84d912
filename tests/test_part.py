"""Parts of a search: `detect(image, part=(k, n))`."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from mtcnn_fast import MTCNN, Detections

Image = NDArray[np.uint8]


def rows(found: list[Detections]) -> list[tuple[float, ...]]:
    return sorted(tuple(row) for faces in found for row in faces.to_rows().tolist())


@pytest.mark.heavy
@pytest.mark.parametrize("profile", ["reference", "facenet-pytorch"])
def test_parts_together_have_the_candidates_of_the_whole(profile: str, backend: str, astronaut: Image) -> None:
    # Nothing is dropped after P-Net.
    detector = MTCNN(device=backend, profile=profile, thresholds=(0.6, 0, 0), nms_thresholds=(1, 1, 1, 1))
    image = astronaut[60:220, 150:290]
    whole = detector.detect(image)
    assert len(whole) > 20
    assert detector.detect(image, part=(0, 1)) == whole
    for n in (2, 3, 10):
        found = [detector.detect(image, part=(k, n)) for k in range(n)]
        assert rows(found) == rows([whole])
        assert [detector.detect_batch([image, image], part=(k, n)) for k in range(n)] == [[f, f] for f in found]


@pytest.mark.heavy
def test_a_face_is_found_by_some_part(backend: str, astronaut: Image) -> None:
    detector = MTCNN(device=backend)
    (face,) = detector.detect(astronaut)
    near = [
        found.box
        for k in range(5)
        for found in detector.detect(astronaut, part=(k, 5))
        if np.abs(found.box - face.box).max() < 0.1 * face.width
    ]
    assert near
