"""Curves of evaluations, drawn to PNG files by matplotlib."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtcnn_fast.extra import require

if TYPE_CHECKING:
    from numpy.typing import NDArray

Curve = tuple["NDArray[Any]", "NDArray[Any]", float]
"""x (N,), y (N,) and the number that sums the curve up."""

# Inches of one panel. At 150 dots an inch a panel is 825 x 720 pixels.
_SIZE = (5.5, 4.8)
_DPI = 150


def precision_recall(curves: Mapping[str, Curve], path: str | Path) -> None:
    """Precision over recall: by label the recalls, the precisions and the average precision."""
    precision_recall_panels({"": curves}, path)


def precision_recall_panels(panels: Mapping[str, Mapping[str, Curve]], path: str | Path) -> None:
    """The same, with a panel, under its title, for each set of curves."""
    figure, axes = _figure(len(panels))
    for ax, (title, curves) in zip(axes, panels.items(), strict=True):
        _draw(ax, title, curves, "AP {:.4f}")
        ax.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.01))
        ax.legend(loc="lower left")
    _save(figure, path)


def roc(panels: Mapping[str, Mapping[str, Curve]], limit: int, path: str | Path) -> None:
    """True positive rate over false positives: by title and label the false positives, the rates, the rate at limit."""
    figure, axes = _figure(len(panels))
    for ax, (title, curves) in zip(axes, panels.items(), strict=True):
        _draw(ax, title, curves, f"{{:.4f}} at {limit}", drawstyle="steps-post")
        ax.set(xlabel="false positives", ylabel="true positive rate", xlim=(0, max(limit, 1)), ylim=(0, 1.01))
        ax.legend(loc="lower right")
    _save(figure, path)


def cumulative_errors(curves: Mapping[str, Curve], path: str | Path) -> None:
    """Share of faces over the error that they do not exceed: by label errors, shares and the area under them."""
    figure, axes = _figure(1)
    _draw(axes[0], "", curves, "area {:.4f}")
    largest = max((float(x[-1]) for x, _, _ in curves.values() if len(x)), default=1.0)
    axes[0].set(xlabel="normalised error", ylabel="share of faces", xlim=(0, largest), ylim=(0, 1.01))
    axes[0].legend(loc="lower right")
    _save(figure, path)


def _figure(panels: int) -> tuple[Any, Any]:
    # Not by pyplot, which keeps figures and picks a window system.
    figure_module = require("matplotlib.figure", "plots", extra="evaluate")
    figure = figure_module.Figure((_SIZE[0] * panels, _SIZE[1]), layout="constrained")
    return figure, figure.subplots(1, panels, squeeze=False)[0]


def _draw(ax: Any, title: str, curves: Mapping[str, Curve], summary: str, **style: Any) -> None:
    for label, (x, y, value) in curves.items():
        ax.plot(x, y, label=f"{label} ({summary.format(value)})", **style)
    ax.set_title(title)
    ax.grid(color="0.9")
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)


def _save(figure: Any, path: str | Path) -> None:
    figure.savefig(path, format="png", dpi=_DPI)
