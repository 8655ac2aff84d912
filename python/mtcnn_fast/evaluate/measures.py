"""The protocol that measures of detections on annotated pictures share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mtcnn_fast.datasets import Annotation


class DetectedFaces(Protocol):
    """The detections in one picture: `PictureDetections`, or the detector's own `Detections`."""

    @property
    def boxes(self) -> NDArray[np.float32]: ...
    @property
    def scores(self) -> NDArray[Any]: ...
    @property
    def landmarks(self) -> NDArray[np.float32]: ...


class Measure(Protocol):
    """Receives the pictures of a set one by one, in any order, and then gives the figures."""

    def update(self, annotation: Annotation, detections: DetectedFaces | None) -> None:
        """Adds a picture and the faces that a detector found in it; None: no faces."""

    def compute(self) -> object:
        """The figures of the pictures so far."""
