"""Labels beside the points of a plot, where they cover the least.

Each label tries eight places that touch its point, so it needs no line to it. adjustText and
textalloc move labels freely: with error bars around, onto other points or far away on long lines.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.text import Annotation

from kdzoo.report.plot_style import in_any_script

PLACES = (
    (7, 0, "left", "center"),
    (-7, 0, "right", "center"),
    (0, 8, "center", "bottom"),
    (0, -8, "center", "top"),
    (6, 7, "left", "bottom"),
    (6, -7, "left", "top"),
    (-6, 7, "right", "bottom"),
    (-6, -7, "right", "top"),
)
"""Offsets in typographic points, and how the label hangs there; the first are preferred."""


class Point(NamedTuple):
    """A mean in a plot, in its units, with the standard deviation that its bar shows."""

    x: float
    y: float
    spread: float


@in_any_script()
def place_labels(axes: Axes, points: Sequence[Point], labels: Sequence[str]) -> list[Annotation]:
    """A label beside each point, where it covers the least of points, bars and other labels."""
    figure = axes.figure
    figure.canvas.draw()
    inside = axes.get_window_extent().extents
    taken: list[Sequence[float]] = []
    for point in points:
        x, y = axes.transData.transform((point.x, point.y))
        _, low = axes.transData.transform((point.x, point.y - point.spread))
        taken += [(x - 5, y - 5, x + 5, y + 5), (x - 2, low, x + 2, 2 * y - low)]
    placed: list[Annotation] = []
    for point, label in zip(points, labels, strict=True):
        candidates = [_annotate(axes, (point.x, point.y), label, *place) for place in PLACES]
        boxes = [one.get_window_extent().extents for one in candidates]
        cost = [_cost(box, taken, inside) for box in boxes]
        best = cost.index(min(cost))
        for index, candidate in enumerate(candidates):
            if index != best:
                candidate.remove()
        placed.append(candidates[best])
        taken.append(boxes[best])
    return placed


def _annotate(
    axes: Axes, point: tuple[float, float], label: str, dx: float, dy: float, ha: Any, va: Any
) -> Annotation:
    annotation = axes.annotate(
        label, point, (dx, dy), textcoords="offset points", ha=ha, va=va, fontsize=8
    )
    annotation.set_parse_math(False)  # it is measured outside of the plots' style
    annotation.set_in_layout(False)  # a long name shall not shrink the axes
    return annotation


def _cost(box: Any, taken: Sequence[Any], inside: Any) -> float:
    """The covered area, and ten times what sticks out of the axes."""
    x0, y0, x1, y1 = box
    covered = sum(
        max(0.0, min(x1, b[2]) - max(x0, b[0])) * max(0.0, min(y1, b[3]) - max(y0, b[1]))
        for b in taken
    )
    visible = max(0.0, min(x1, inside[2]) - max(x0, inside[0])) * max(
        0.0, min(y1, inside[3]) - max(y0, inside[1])
    )
    return covered + 10 * ((x1 - x0) * (y1 - y0) - visible)
