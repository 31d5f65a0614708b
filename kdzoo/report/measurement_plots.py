"""Pictures of how a student does: the confusion matrix and the reliability diagram."""

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.ticker import MaxNLocator

from kdzoo.errors import printable
from kdzoo.report.plot_style import GRID, INK, MUTED, SERIES, SURFACE, Drawing, shorten
from kdzoo.training.measurement import Measurement

MOST_NAMES = 30
"""Classes of which a confusion matrix has room for the names."""
MOST_NUMBERS = 12
"""Classes of which it has room for the numbers."""
MOST_CLASSES = 2000
"""Classes of which a picture still shows anything."""
SHADES = LinearSegmentedColormap.from_list("shades", [SURFACE, SERIES[0]])


def confusion_plot(found: Measurement) -> Drawing | None:
    """Of each class, a row, the share that is taken for each; None where there are too many."""
    K = len(found.classes)
    if K > MOST_CLASSES:
        return None
    matrix = found.confusion_matrix()
    images = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(100 * matrix, images, out=np.zeros((K, K)), where=images > 0)
    drawing = Drawing("confusion", size=_side(K))
    axes = drawing.axes
    axes.grid(False)
    # The square root lets the few that are confused be seen beside the many that are not.
    drawn = axes.imshow(np.sqrt(shares), cmap=SHADES, vmin=0, vmax=10, interpolation="nearest")
    bar = drawing.figure.colorbar(drawn, ax=axes, shrink=0.7, ticks=np.sqrt([0, 3, 10, 40, 100]))
    bar.ax.set_yticklabels(["0", "3", "10", "40", "100"])
    bar.ax.tick_params(length=0, labelcolor=MUTED, labelsize=7)
    bar.outline.set_visible(False)
    bar.set_label("% of the class", color=MUTED)
    axes.set_xlabel("taken for")
    axes.set_ylabel("class")
    if K <= MOST_NAMES:
        names = [shorten(printable(name), 22) for name in found.classes]
        axes.set_xticks(range(K), names, rotation=90, fontsize=7)
        axes.set_yticks(range(K), names, fontsize=7)
    else:
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(integer=True))
    if K <= MOST_NUMBERS:
        for row, column in zip(*np.nonzero(matrix), strict=True):
            light = shares[row, column] > 40
            axes.text(
                column,
                row,
                f"{matrix[row, column]:,}",
                ha="center",
                va="center",
                fontsize=6,
                color=SURFACE if light else INK,
            )
    return drawing


def calibration_plot(found: Measurement) -> Drawing:
    """Accuracy against confidence, bin by bin, above how many images each bin has."""
    drawing = Drawing("calibration", panels=2, heights=(3, 1))
    curve, counts = drawing.panels
    filled = [one for one in found.calibration if one.images]
    confidence = [100 * (one.confidence or 0) for one in filled]
    accuracy = [100 * (one.accuracy or 0) for one in filled]
    curve.plot([0, 100], [0, 100], color=MUTED, linestyle=(0, (5, 1.5)), linewidth=1)
    curve.vlines(confidence, accuracy, confidence, color=SERIES[3], alpha=0.5, linewidth=2)
    curve.plot(confidence, accuracy, color=SERIES[0], marker="o", markersize=4)
    curve.set_ylim(-2, 102)
    curve.set_xlim(-2, 102)
    curve.set_ylabel("accuracy, %")
    figures = found.figures
    curve.set_title(f"ECE {figures['ece']:.2f} %, {figures['images']:,} images", fontsize=8)
    widths = [100 * (one.high - one.low) for one in filled]
    lows = [100 * one.low for one in filled]
    counts.bar(
        lows,
        [one.images for one in filled],
        [width or 1 for width in widths],
        align="edge",
        color=SERIES[0],
        edgecolor=GRID,
    )
    counts.set_yscale("symlog", linthresh=1)
    counts.yaxis.set_major_formatter(lambda count, _: f"{count:,.0f}")
    counts.set_ylabel("images")
    counts.set_xlabel("confidence, %")
    return drawing


def _side(classes: int) -> tuple[float, float]:
    """Inches: room for a name each, where there are names."""
    side = 4.2 if classes > MOST_NAMES else max(3.0, 0.17 * classes + 1.6)
    return side + 0.9, side
