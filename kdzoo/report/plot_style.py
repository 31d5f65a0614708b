"""How plots look, and the drawing that they begin as: each of its parts knows its method."""

import io
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import matplotlib
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

from kdzoo.errors import UserError
from kdzoo.files import ANOTHER_TO, replacing

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
LONGEST_LABEL = 32
"""Characters of a label that a plot has room for."""

LONGEST_IN_PANEL = 20

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


@contextmanager
def in_any_script() -> Iterator[None]:
    """Measure or draw text without a warning of what matplotlib's own font lacks.

    An SVG has the text itself, which its reader's fonts draw.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        yield


def shorten(label: str, longest: int) -> str:
    """A label of at most so many characters."""
    return label if len(label) <= longest else f"{label[: longest - 1]}…"


@dataclass(frozen=True)
class Series:
    """One method in the plots of a section: the same colour and marker in all of them."""

    index: int
    label: str
    is_baseline: bool = False

    @property
    def short_label(self) -> str:
        """As much of the label as a plot has room for; whoever points at it is shown all of it."""
        return shorten(self.label, LONGEST_LABEL)

    @property
    def panel_label(self) -> str:
        """As much of it as a panel has room for."""
        return shorten(self.label, LONGEST_IN_PANEL)

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


@dataclass(frozen=True)
class Dashes:
    """What the curves of one dash are, whatever their colour."""

    short_label: str
    dash: Any
    color: str = INK

    def line_style(self) -> dict[str, Any]:
        return {"color": self.color, "linestyle": self.dash}


Explained = Series | Dashes
"""What a line of a legend may be of."""


class Drawing:
    """One plot being drawn.

    Args:
        key: of the plot; names in the SVG begin with it, so that a page can hold many.
        legend: what to explain below the axes.
        panels: how many axes it has, of one scale, up to three beside each other.
        heights: of panels below each other, which then share the x axis alone.
        size: of the picture without the legend, in inches.
    """

    WIDTH, HEIGHT = 4.7, 3.1
    ROW_HEIGHT = 1.3

    def __init__(
        self,
        key: str,
        legend: Sequence[Explained] = (),
        panels: int = 1,
        heights: Sequence[float] = (),
        size: tuple[float, float] | None = None,
    ) -> None:
        self.key = key
        self._said: list[tuple[Series, str]] = []
        columns = _legend_columns(legend, self.WIDTH)
        lines = -(-len(legend) // columns)
        across = 1 if heights else min(3, panels)
        down = -(-panels // across)
        rows_height = self.HEIGHT if panels == 1 else 0.5 + self.ROW_HEIGHT * down
        width, height = size or (self.WIDTH, rows_height)
        with matplotlib.rc_context(STYLE):
            self.figure = Figure((width, height + 0.2 * lines), layout="constrained")
            FigureCanvasAgg(self.figure)
            grid = self.figure.subplots(
                down,
                across,
                sharex=True,
                sharey=not heights,
                squeeze=False,
                height_ratios=heights or None,
            )
            self.panels: list[Axes] = list(grid.flat)[:panels]
            for axes in self.panels:
                axes.tick_params(length=0)
            for empty in list(grid.flat)[panels:]:
                empty.remove()
            self.lowest_panels = self.panels[-across:]  # of each column
            for axes in self.lowest_panels:
                axes.tick_params(labelbottom=True)
            if legend:
                self._explain(legend, columns)

    @property
    def axes(self) -> Axes:
        """The first panel, for a plot that has one."""
        return self.panels[0]

    def tag(self, artists: Iterable[Artist], series: Series, said: str) -> None:
        """Mark what belongs to a series, and what is said of it when someone points at it."""
        for artist in artists:
            artist.set_gid(f"{self.key}-tag{len(self._said)}")
            self._said.append((series, said))

    def svg(self) -> str:
        """The whole document; the same for the same figures."""
        buffer = io.StringIO()
        for text in self.figure.findobj(Text):  # those that were made outside of the style, too
            text.set_parse_math(False)
        style = {**STYLE, "svg.hashsalt": self.key}
        with matplotlib.rc_context(style), in_any_script():
            self.figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
        return re.sub(rf'<g id="{re.escape(self.key)}-tag(\d+)">', self._tagged, buffer.getvalue())

    def png(self) -> bytes:
        """The picture at twice the size of the SVG, for documents that take no SVG."""
        buffer = io.BytesIO()
        for text in self.figure.findobj(Text):
            text.set_parse_math(False)
        with matplotlib.rc_context(STYLE), in_any_script():  # boxes stand for what the font lacks
            self.figure.savefig(buffer, format="png", dpi=200, metadata={"Software": None})
        return buffer.getvalue()

    def write(self, path: Path) -> None:
        """Write the picture as what the path ends in, ``.svg`` or ``.png``.

        Raises:
            UserError: it ends in something else, or cannot be written.
        """
        if path.suffix.lower() == ".svg":
            content = self.svg().encode()
        elif path.suffix.lower() == ".png":
            content = self.png()
        else:
            raise UserError(f"{path}: A picture is called NAME.svg or NAME.png.")
        with replacing(path, ANOTHER_TO) as temporary:
            temporary.write_bytes(content)

    def _tagged(self, match: re.Match[str]) -> str:
        series, said = self._said[int(match[1])]
        return f'<g class="series m{series.index}">\n<title>{escape(said)}</title>'

    def _explain(self, legend: Sequence[Explained], columns: int) -> None:
        handles = [Line2D([], [], **one.line_style()) for one in legend]
        drawn = self.figure.legend(
            handles,
            [one.short_label for one in legend],
            loc="outside lower center",
            ncols=columns,
        )
        parts = zip(legend, drawn.get_lines(), drawn.get_texts(), strict=True)
        for one, line, text in parts:
            if isinstance(one, Series):
                self.tag([line, text], one, one.label)


def _legend_columns(legend: Sequence[Explained], width: float) -> int:
    """How many fit beside each other, in a figure of so many inches; four at the most."""
    points = 38 + 4.6 * max((len(one.short_label) for one in legend), default=0)
    return max(1, min(4, len(legend), int(72 * width / points)))
