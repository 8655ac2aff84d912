"""Hard samples: the windows that the cascade hands to its next network, labelled."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mtcnn_fast import MTCNN
from mtcnn_fast.boxes import overlaps
from mtcnn_fast.checks import at_least, number, text
from mtcnn_fast.datasets.annotated_set import AnnotatedSet
from mtcnn_fast.train import NETWORK_NAMES
from mtcnn_fast.train.generate import make_samples
from mtcnn_fast.train.run_options import RunOptions
from mtcnn_fast.train.samples import NEGATIVE, PART, POSITIVE, SampleStore
from mtcnn_fast.train.windows import LabelledFaces, Recipe, Windows, draw, label
from mtcnn_fast.weights import weights_digest

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MINED = NETWORK_NAMES[1:]

# Options that a detector's windows do not depend on, or only in their last bits.
_NO_SETTINGS = ("channel_order", "device", "num_threads")

# Random windows beside the mined ones: landmark faces, which the cascade does not label, and positives of faces that it
# misses. There is no random background, because a window that P-Net rejects never reaches R-Net and O-Net. Neither do
# faces of less than 20 pixels, the default min_face_size of a detector. The windows of both may lie partly outside.
MINING_RECIPE = Recipe(background=0, near=0, about=5, min_face=20, outside=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The most windows of each kind that are kept per picture: negatives of the highest scores, and a random choice of
    positives and part faces.

    thin: a negative that overlaps one of a higher score by a greater IoU is left out. At 1 none is.

    Raises TypeError or ValueError for other values.
    """

    negative: int = 60
    positive: int = 200
    part: int = 200
    thin: float = 1.0

    def __post_init__(self) -> None:
        for kind in ("negative", "positive", "part"):
            at_least(kind, getattr(self, kind), 0)
        if not 0 < number("thin", self.thin) <= 1:
            raise ValueError(f"thin is {self.thin}; wanted more than 0, at most 1")


def mine(
    sources: Sequence[AnnotatedSet],
    folder: str | os.PathLike[str],
    *,
    size: int,
    detector: MTCNN,
    network: str = "rnet",
    recipe: Recipe = MINING_RECIPE,
    limits: Limits | None = None,
    seed: int = 0,
    options: RunOptions | None = None,
) -> SampleStore:
    """Makes samples of the windows that R-Net ("rnet") or O-Net ("onet") would look at, and of a recipe's.

    size: side of the crops in pixels: 24 for R-Net, 48 for O-Net. detector: the networks before, on the CPU, with lower
    thresholds than in use (about 0.3 to 0.5 for P-Net, 0.1 for R-Net): the usual ones leave few positives and only the
    negatives that R-Net cannot tell. With many workers the detector needs one thread. limits: None: `Limits()`. The
    other arguments, the guarantees and the errors are those of `generate`. The samples also depend on the options and
    the weights of the detector.
    """
    if text("network", network) not in _MINED:
        raise ValueError(f"network is {network!r}; wanted one of {_MINED}")
    limits, takes_rgb = limits or Limits(), detector.options["channel_order"] == "rgb"

    def choose(image: NDArray[np.uint8], faces: LabelledFaces, rng: np.random.Generator) -> Windows:
        pixels = image if takes_rgb else image[..., ::-1]
        mined = _hardest(*detector.windows(pixels, network), faces, limits, rng)
        return Windows.joined([mined, draw(faces, image.shape[0], image.shape[1], recipe, rng)])

    settings = {
        "size": size,
        "made_by": f"mine {network}",
        "seed": seed,
        "recipe": asdict(recipe),
        "limits": asdict(limits),
        "detector": _settings_of(detector),
    }
    return make_samples(sources, folder, settings=settings, recipe=recipe, choose=choose, options=options)


def _hardest(
    windows: NDArray[np.float32],
    scores: NDArray[np.float32],
    faces: LabelledFaces,
    limits: Limits,
    rng: np.random.Generator,
) -> Windows:
    # The engine cuts whole pixels.
    boxes = np.rint(windows.astype(np.float64))
    real = (boxes[:, 2:] > boxes[:, :2]).all(1)
    boxes, scores = boxes[real], scores[real]
    kinds, matched = label(boxes, faces)
    choices = []
    for kind, limit in ((NEGATIVE, limits.negative), (POSITIVE, limits.positive), (PART, limits.part)):
        indices = np.flatnonzero(kinds == kind)
        if kind == NEGATIVE:
            indices = indices[np.argsort(-scores[indices], kind="stable")]
            if limits.thin < 1:
                indices = _thinned(boxes, indices, limits.thin, limit)
            indices = indices[:limit]
        elif len(indices) > limit:
            indices = np.sort(rng.choice(indices, limit, replace=False))
        choices.append(indices)
    chosen = np.concatenate(choices)
    return Windows.upright(boxes[chosen], kinds[chosen], matched[chosen])


def _thinned(
    boxes: NDArray[np.float64], indices: NDArray[np.intp], most_overlap: float, limit: int
) -> NDArray[np.intp]:
    """Up to `limit` of the indices, in their order: each that overlaps no earlier chosen one by more."""
    chosen: list[np.intp] = []
    while len(indices) and len(chosen) < limit:
        chosen.append(indices[0])
        indices = indices[1:][overlaps(boxes[indices[1:]], boxes[indices[:1]])[:, 0] <= most_overlap]
    return np.array(chosen, np.intp)


def _settings_of(detector: MTCNN) -> dict[str, Any]:
    """The options and weights that the detector's windows depend on, in JSON's types."""
    options = {name: value for name, value in detector.options.items() if name not in _NO_SETTINGS}
    return {**options, "weights": weights_digest(options["weights"])}
