"""Things in front of faces, in batches of crops."""

from __future__ import annotations

import math
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from mtcnn_fast.train import occlude  # noqa: E402

SIDE = 48
FACE = torch.tensor([[0.3, 0.35], [0.7, 0.35], [0.5, 0.55], [0.33, 0.72], [0.67, 0.72]])
UNKNOWN = torch.full((5, 2), torch.nan)
NO_BOX = torch.full((4,), torch.nan)


def turned(points: Any, degrees: float) -> Any:
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return (points - 0.5) @ torch.tensor([[cosine, sine], [-sine, cosine]]) + 0.5


def share_at(shares: Any, point: Any) -> float:
    x, y = (point * SIDE).floor().int().tolist()
    return float(shares[0, 0, y, x])


def outlines(landmarks: Any, boxes: Any, draw: float = 0.5) -> Any:
    return occlude.masks(boxes[None], landmarks[None], torch.full((occlude.SHAPE_DRAWS, 1), draw))


@pytest.mark.parametrize("degrees", [0, 20, -35, 90, 180])
@pytest.mark.parametrize("draw", [0.0, 0.5, 1.0])
def test_masks_lie_over_the_mouth_and_leave_the_eyes(degrees: float, draw: float) -> None:
    points = turned(FACE, degrees)
    shares = occlude.inside(outlines(points, NO_BOX, draw), SIDE)
    assert [share_at(shares, point) for point in points[[0, 1, 3, 4]]] == [0, 0, 1, 1]


def test_masks_of_mirrored_and_of_turned_away_faces_lie_over_the_mouth() -> None:
    mirrored = FACE * torch.tensor([-1, 1]) + torch.tensor([1, 0])  # left and right keep their places in the list
    profile = FACE.clone()
    profile[:, 0] = torch.tensor([0.52, 0.5, 0.3, 0.42, 0.4])
    for points in (mirrored, profile):
        shares = occlude.inside(outlines(points, NO_BOX), SIDE)
        assert [share_at(shares, point) for point in points[[0, 3, 4]]] == [0, 1, 1]


def test_masks_lie_where_the_box_says_without_landmarks() -> None:
    whole = outlines(UNKNOWN, NO_BOX)
    assert torch.equal(outlines(UNKNOWN, torch.zeros(4)), whole)
    box = torch.tensor([0.1, 0.2, -0.3, 0.1])  # x from 0.1 to 0.7, y from 0.2 to 1.1
    expected = torch.tensor([0.1, 0.2]) + torch.tensor([0.6, 0.9]) * whole
    assert torch.allclose(outlines(UNKNOWN, box), expected, atol=1e-6)
    known = outlines(FACE, box)
    assert torch.equal(known, outlines(FACE, NO_BOX))


@pytest.mark.parametrize("draws", [(0, 0, 0), (1, 1, 1), (0, 1, 0), (1, 0, 1), (0.5, 1, 1), (0.5, 0, 1)])
def test_outlines_are_convex_and_clockwise(draws: tuple[float, float, float]) -> None:
    high = FACE - torch.tensor([0, 0.15])
    outline = occlude.masks(NO_BOX[None], high[None], torch.tensor(draws)[:, None])[0]
    edges = outline.roll(-1, 0) - outline
    following = edges.roll(-1, 0)
    assert (edges[:, 0] * following[:, 1] - edges[:, 1] * following[:, 0] >= -1e-6).all()
    # Of a convex outline, the covered shares of pixels add up to its area.
    area = (outline[:, 0] * outline.roll(-1, 0)[:, 1] - outline[:, 1] * outline.roll(-1, 0)[:, 0]).sum() / 2
    assert math.isclose(occlude.inside(outline[None], SIDE).sum() / SIDE**2, area, rel_tol=0.02)


def test_inside() -> None:
    square = torch.tensor([[[0.25, 0.25], [0.75, 0.25], [0.75, 0.875], [0.25, 0.875]]])
    shares = occlude.inside(square, 4)
    assert shares.shape == (1, 1, 4, 4)
    assert shares[0, 0].tolist() == [[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0.5, 0.5, 0]]


def test_cloth() -> None:
    others = torch.rand(200, 3, 24, 24, generator=torch.Generator().manual_seed(0)) * 255
    draws = torch.rand(occlude.CLOTH_DRAWS, 200, generator=torch.Generator().manual_seed(1))
    found = occlude.cloth(others, draws)
    assert found.shape == others.shape
    assert found.min() >= 0
    assert found.max() <= 255
    assert found.mean((2, 3)).std(0).min() > 30  # any colour
    draws[[5, 6, 10]] = 0.5  # no shade, no texture
    draws[7] = 0
    draws[8] = 0  # no folds
    plain = occlude.cloth(others, draws)
    assert torch.equal(plain, plain[..., :1, :1].expand_as(plain))


def test_rectangles() -> None:
    places = torch.tensor([[0.5, 0.5, 0.5, 0.25], [0, 1, 0.5, 1]])
    middle, corner = occlude.rectangles(places, 8)[:, 0].int()
    assert middle.sum(0).tolist() == [0, 0, 2, 2, 2, 2, 0, 0]
    assert middle.sum(1).tolist() == [0, 0, 0, 4, 4, 0, 0, 0]
    assert corner.sum(0).tolist() == [4, 4, 0, 0, 0, 0, 0, 0]


def test_borders() -> None:
    left, top, right, bottom = occlude.borders(torch.tensor([0.25, 0.5, 0, 0.75]), torch.arange(4), 4)[:, 0].int()
    assert left.tolist() == [[1, 0, 0, 0]] * 4
    assert top.tolist() == [[1] * 4] * 2 + [[0] * 4] * 2
    assert right.sum() == 0
    assert bottom.tolist() == [[0] * 4] + [[1] * 4] * 3
