"""How much training samples are changed: the options of `augment`."""

from __future__ import annotations

from dataclasses import dataclass, fields

from mtcnn_fast.checks import each, number

# The bounds of what is neither a probability nor a share.
_BOUNDS = {
    "brightness": (0, 255),
    "shrink_range": (0.05, 1),
    "noise_range": (0, 255),
    "jpeg_range": (1, 100),
    "gamma_range": (0.1, 10),
    "motion_range": (0, 0.5),
}


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How much samples are changed. By default the ranges of colour are those of SSD (Liu et al. 2016).

    NAME_range has the least and the greatest value of what the probability `NAME` turns on. All values between them are
    equally likely. Raises TypeError or ValueError for other values.
    """

    flip: float = 0.5
    """Probability of mirroring left and right."""
    brightness: float = 32
    """The most that is added to all pixel values, or subtracted."""
    contrast: float = 0.5
    """The distance from the mean grey of the crop is multiplied by a number from 1 - this to 1 + this."""
    saturation: float = 0.5
    """The distance of a pixel from its grey is multiplied by a number from 1 - this to 1 + this."""
    grey: float = 0.05
    """Probability that a crop loses its colour."""
    blur: float = 0.1
    """Probability of smoothing by three taps along rows and columns: at most the binomial filter 1 2 1."""
    mask: float = 0
    """Probability of a mask over the lower face. Crops without a face get it too: else it would be a sign of a face."""
    patch: float = 0
    """Probability of a rectangle that shows another sample of the batch: skin or background."""
    patch_range: tuple[float, float] = (0.2, 0.5)
    """Width and height of the rectangle, in sides of the crop."""
    gamma: float = 0
    """Probability that pixel values, as shares of 255, are raised to a power."""
    gamma_range: tuple[float, float] = (0.4, 2)
    """The power. Its logarithm is drawn: crops become lighter as often as darker between 0.5 and 2."""
    motion: float = 0
    """Probability of blur by a motion in any direction."""
    motion_range: tuple[float, float] = (0, 0.15)
    """The length of the motion, in sides of the crop."""
    shrink: float = 0
    """Probability of scaling down and up again, by one of `degrade.FILTERS`."""
    shrink_range: tuple[float, float] = (0.3, 1)
    """The scale between down and up."""
    noise: float = 0
    """Probability of normally distributed noise on every pixel and colour, between scaling down and up."""
    noise_range: tuple[float, float] = (0, 12)
    """The standard deviation of the noise, in pixel values."""
    jpeg: float = 0
    """Probability of compression by JPEG, after the noise."""
    jpeg_range: tuple[float, float] = (20, 90)
    """The quality, on libjpeg's scale."""
    border: float = 0
    """Probability of black along one side of the crop, as where a window leaves the picture."""
    border_range: tuple[float, float] = (0, 0.3)
    """The width of the border, in sides of the crop."""

    def __post_init__(self) -> None:
        for name in (field.name for field in fields(self)):
            value = getattr(self, name)
            bounds = _BOUNDS.get(name, (0, 1))
            if not name.endswith("_range"):
                _check(name, number(name, value), bounds)
                continue
            least, greatest = each(name, value, 2, number)
            for i, end in enumerate((least, greatest)):
                _check(f"{name}[{i}]", end, bounds)
            if least > greatest:
                raise ValueError(f"{name} is {value}; wanted the least value first, then the greatest")
            # TOML gives lists, which equal no tuple.
            object.__setattr__(self, name, (least, greatest))


def _check(name: str, value: float, bounds: tuple[float, float]) -> None:
    least, greatest = bounds
    if not least <= value <= greatest:
        raise ValueError(f"{name} is {value}; wanted {least} to {greatest}")
