"""Distillation: the probability of a face that a network is asked for, between the label and a verdict of others.

Labels alone teach a network that everything which annotators called a face is certainly one, and a blurred or hidden
face then costs as much as a clear one. (Hinton, Vinyals, Dean: Distilling the Knowledge in a Neural Network, 2015.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from mtcnn_fast.train.networks import normalise
from mtcnn_fast.train.samples import NEGATIVE, PART, POSITIVE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mtcnn_fast.train.networks import Network
    from mtcnn_fast.train.samples import SampleStore

_AT_ONCE = 1024

# A part face is neither face nor background.
_LABELS = {NEGATIVE: 0.0, POSITIVE: 1.0, PART: 0.5}


@torch.no_grad()
def wanted_faces(store: SampleStore, teacher: Network, share: float, device: torch.device) -> NDArray[np.float32]:
    """(N,): the wanted probability of a face for each sample; NaN for samples that have none.

    Negatives have 0. For positives and part faces it is (1 - share) label + share verdict, with the label 1 or 0.5. The
    verdict is the greater of the probability that `teacher` gives to the crop, and of the verdict of the teachers'
    detections, if there are any.
    """
    wanted = np.full(len(store), np.nan, np.float32)
    for kind, label in _LABELS.items():
        wanted[store.kinds == kind] = label
    verdicts = store.verdicts()
    teacher = teacher.to(device).eval()
    chosen = np.flatnonzero(np.isin(store.kinds, (POSITIVE, PART)))
    for start in range(0, len(chosen), _AT_ONCE):
        indices = chosen[start : start + _AT_ONCE]
        images = torch.from_numpy(store.batch(indices).images).to(device).permute(0, 3, 1, 2)
        own = teacher(normalise(images)).face.softmax(1)[:, 1].numpy(force=True)
        wanted[indices] = (1 - share) * wanted[indices] + share * np.fmax(own, verdicts[indices])
    return wanted
