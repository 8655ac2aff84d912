"""The peers' profiles against what the peers themselves found (tests/golden/peers.json, by tools/make_golden.py)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import mtcnn_fast
from promise import check_promise

GOLDEN = json.loads((Path(__file__).parent / "golden" / "peers.json").read_text())


@pytest.mark.parametrize("run", GOLDEN["runs"], ids=lambda run: f"{run['peer']}-{run['options']['min_face_size']}")
@pytest.mark.heavy
def test_profile_finds_the_peers_faces(backend: str, run: dict[str, Any], data: Path) -> None:
    detector = mtcnn_fast.MTCNN(device=backend, profile=run["peer"], **run["options"])
    check_promise(run["results"], lambda image: detector.detect(image).astuple(), data)
