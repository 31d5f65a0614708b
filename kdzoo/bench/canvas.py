"""How plots look, and what ties their parts to the methods they show."""

import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

import matplotlib
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Annotation

INK, MUTED, GRID, SURFACE = "#1f2329", "#5a6470", "#e3e7ec", "#fefefe"
SERIES = (
    "#2a6fdb",
    "#c9620a",
    "#18864f",
    "#c73838",
    "#7d4ddb",
    "#0c8286",
    "#bf3488",
    "#74740a",
    "#87562f",
    "#3a5f8f",
)
MARKERS = "osD^vPX<>p"
DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.5)), (0, (6, 1.5, 1.5, 1.5)))

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: small files, and readers can search it
    "text.parse_math": False,  # a name with $ in it is no formula
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": GRID,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "figure.facecolor": SURFACE,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.6,
}


@dataclass(frozen=True)
class Series:
    """One method in the plots of a section: the same colour and marker in all of them."""

    index: int
    label: str
    is_baseline: bool = False

    @property
    def color(self) -> str:
        return MUTED if self.is_baseline else SERIES[self.index % len(SERIES)]

    @property
    def marker(self) -> str:
        return MARKERS[self.index % len(MARKERS)]

    def line_style(self) -> dict[str, Any]:
        """Colours repeat after ten methods; dashes tell those apart."""
        dash = DASHES[1] if self.is_baseline else DASHES[self.index // len(SERIES) % len(DASHES)]
        return {"color": self.color, "linestyle": dash}


class Point(NamedTuple):
    """A mean in a plot, in its units, with the standard deviation that its bar shows."""

    x: float
    y: float
    spread: float


class Canvas:
    """One plot being drawn.

    Args:
        key: of the plot; names in the SVG begin with it, so that a page can hold many.
        legend: what to explain below the axes.
    """

    WIDTH, HEIGHT = 4.7, 3.1
    LEGEND_COLUMNS = 4

    def __init__(self, key: str, legend: Sequence[Series] = ()) -> None:
        self.key = key
        self._said: list[tuple[Series, str]] = []
        lines = -(-len(legend) // self.LEGEND_COLUMNS)
        with matplotlib.rc_context(STYLE):
            self.figure = Figure((self.WIDTH, self.HEIGHT + 0.2 * lines), layout="constrained")
            FigureCanvasAgg(self.figure)
            self.axes: Axes = self.figure.add_subplot()
            self.axes.tick_params(length=0)
            if legend:
                self._explain(legend)

    def tag(self, artists: Iterable[Artist], series: Series, said: str) -> None:
        """Mark what belongs to a series, and what is said of it when someone points at it."""
        for artist in artists:
            artist.set_gid(f"{self.key}-tag{len(self._said)}")
            self._said.append((series, said))

    def svg(self) -> str:
        """The whole document; the same for the same figures."""
        buffer = io.StringIO()
        with matplotlib.rc_context({**STYLE, "svg.hashsalt": self.key}):
            self.figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
        return re.sub(rf'<g id="{re.escape(self.key)}-tag(\d+)">', self._tagged, buffer.getvalue())

    def _tagged(self, match: re.Match[str]) -> str:
        series, said = self._said[int(match[1])]
        return f'<g class="series m{series.index}">\n<title>{escape(said)}</title>'

    def _explain(self, legend: Sequence[Series]) -> None:
        handles = [Line2D([], [], **one.line_style()) for one in legend]
        drawn = self.figure.legend(
            handles,
            [one.label for one in legend],
            loc="outside lower center",
            ncols=min(self.LEGEND_COLUMNS, len(legend)),
        )
        parts = zip(legend, drawn.get_lines(), drawn.get_texts(), strict=True)
        for one, line, text in parts:
            self.tag([line, text], one, one.label)


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
        candidates = [_annotate(axes, (point.x, point.y), label, *place) for place in _PLACES]
        boxes = [one.get_window_extent().extents for one in candidates]
        cost = [_cost(box, taken, inside) for box in boxes]
        best = cost.index(min(cost))
        for index, candidate in enumerate(candidates):
            if index != best:
                candidate.remove()
        placed.append(candidates[best])
        taken.append(boxes[best])
    return placed


_PLACES = tuple(
    (dx, dy, ha, va)
    for dx, dy, ha, va in (
        (7, 0, "left", "center"),
        (-7, 0, "right", "center"),
        (0, 8, "center", "bottom"),
        (0, -8, "center", "top"),
        (6, 7, "left", "bottom"),
        (6, -7, "left", "top"),
        (-6, 7, "right", "bottom"),
        (-6, -7, "right", "top"),
    )
)
"""Offsets in points, and how the label hangs there; the first are preferred."""


def _annotate(
    axes: Axes, point: tuple[float, float], label: str, dx: float, dy: float, ha: Any, va: Any
) -> Annotation:
    annotation = axes.annotate(
        label, point, (dx, dy), textcoords="offset points", ha=ha, va=va, fontsize=8
    )
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
