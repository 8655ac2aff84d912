"""Curves of evaluations: matplotlib draws them as PNGs into files that are open for writing bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

from mtcnn_fast.extra import require
from mtcnn_fast.writing import reason

if TYPE_CHECKING:
    from numpy.typing import NDArray

Curve = tuple["NDArray[Any]", "NDArray[Any]", float]
"""x (N,), y (N,), and the number that sums up the curve."""

# Inches of one panel. At 150 dots per inch a panel is 825 x 720 pixels.
_SIZE = (5.5, 4.8)
_DPI = 150


def check() -> None:
    """Raises ImportError if matplotlib is missing or broken."""
    try:
        _figure_module()
    except ImportError:
        raise
    except Exception as error:  # any type, because packages of other versions may be incompatible
        raise ImportError(f"matplotlib cannot be imported: {reason(error)}") from error


def precision_recall(curves: Mapping[str, Curve], file: BinaryIO) -> None:
    """Draws precision over recall. curves: by label, the recalls, the precisions and the average precision."""
    precision_recall_panels({"": curves}, file)


def precision_recall_panels(panels: Mapping[str, Mapping[str, Curve]], file: BinaryIO) -> None:
    """Draws the same, with one panel per set of curves. panels: the curves by the panel's title."""
    figure, axes = _figure(len(panels))
    for ax, (title, curves) in zip(axes, panels.items(), strict=True):
        _draw(ax, title, curves, "AP {:.4f}")
        ax.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.01))
        _legend(ax, "lower left")
    _save(figure, file)


def roc(panels: Mapping[str, Mapping[str, Curve]], limit: int, file: BinaryIO) -> None:
    """Draws the true positive rate over false positives, up to `limit`.

    panels: by title and label, the false positives, the rates, and the rate at `limit`.
    """
    figure, axes = _figure(len(panels))
    for ax, (title, curves) in zip(axes, panels.items(), strict=True):
        _draw(ax, title, curves, f"{{:.4f}} at {limit}", drawstyle="steps-post")
        ax.set(xlabel="false positives", ylabel="true positive rate", xlim=(0, max(limit, 1)), ylim=(0, 1.01))
        _legend(ax, "lower right")
    _save(figure, file)


def cumulative_errors(curves: Mapping[str, Curve], file: BinaryIO) -> None:
    """Draws the share of faces over the error that they do not exceed.

    curves: by label, the errors, the shares and the area under the curve.
    """
    figure, axes = _figure(1)
    _draw(axes[0], "", curves, "area {:.4f}")
    largest = max((float(x[-1]) for x, _, _ in curves.values() if len(x)), default=1.0)
    axes[0].set(xlabel="normalised error", ylabel="share of faces", xlim=(0, largest), ylim=(0, 1.01))
    _legend(axes[0], "lower right")
    _save(figure, file)


def _figure(panels: int) -> tuple[Any, Any]:
    # Not made by pyplot, which keeps figures and chooses a window system.
    figure = _figure_module().Figure((_SIZE[0] * panels, _SIZE[1]), layout="constrained")
    return figure, figure.subplots(1, panels, squeeze=False)[0]


def _figure_module() -> Any:
    return require("matplotlib.figure", "plots", extra="evaluate")


def _draw(ax: Any, title: str, curves: Mapping[str, Curve], summary: str, **style: Any) -> None:
    for label, (x, y, value) in curves.items():
        # matplotlib leaves labels that begin with an underscore out of its legends.
        shown = f" {label}" if label.startswith("_") else label
        ax.plot(x, y, label=f"{shown} ({summary.format(value)})", **style)
    ax.set_title(title)
    ax.grid(color="0.9")
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)


def _legend(ax: Any, place: str) -> None:
    for text in ax.legend(loc=place).get_texts():
        text.set_parse_math(False)  # a dollar sign in a label is no formula


def _save(figure: Any, file: BinaryIO) -> None:
    figure.savefig(file, format="png", dpi=_DPI)
