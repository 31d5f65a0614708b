"""The plots of a report, as SVG: learning curves, accuracy against cost, diversity's worth."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.ticker import MaxNLocator

from kdzoo.report.measures import MEASURES, Measure
from kdzoo.report.plot_labels import Point, place_labels
from kdzoo.report.plot_style import MUTED, Dashes, Drawing, Explained, Series
from kdzoo.report.summary import MethodSummary, Report, Section


@dataclass(frozen=True)
class Plot:
    """A picture.

    Attributes:
        key: a short name that is safe in files.
        place: the section that it belongs to; empty for a plot of all of them.
        title: what it shows.
        description: the same for people who cannot see it.
        svg: a whole SVG document in the light colours of :mod:`kdzoo.report.plot_style`.
    """

    key: str
    place: str
    title: str
    description: str
    svg: str

    @property
    def full_title(self) -> str:
        """The title where nothing else says which section it is about."""
        return f"{self.place}: {self.title}" if self.place else self.title

    @property
    def file_name(self) -> str:
        return f"{self.key}.svg"


PEERS_CURVES = {
    "student": Dashes("student", "-"),
    "mean_peer": Dashes("mean peer", (0, (5, 1.5))),
    "ensemble": Dashes("ensemble", (0, (1.5, 1.5))),
}
"""The figures of a method with several peers, and how each one's curve is drawn."""

StyledMethod = tuple[MethodSummary, Series]
"""A method's figures, and how plots draw it."""


def report_plots(report: Report) -> list[list[Plot]]:
    """The plots of each section; those that would be empty are left out."""
    return [
        list(_section_plots(section, key))
        for section, key in zip(report.sections, report.keys, strict=True)
    ]


def _section_plots(section: Section, key: str) -> Iterator[Plot]:
    series = [
        Series(index, row.label, row.label == row.compared_with)
        for index, row in enumerate(section.methods)
    ]
    rows = list(zip(section.methods, series, strict=True))
    trained = [(row, one) for row, one in rows if row.runs]
    if any(_mean_curve(row) is not None for row, _ in trained):
        yield _learning_curves(section, key, trained)
    together = [(row, one) for row, one in trained if _mean_curve(row, "ensemble") is not None]
    if together:
        plain = next(((row, one) for row, one in trained if one.is_baseline), None)
        among = plain is not None and _mean_curve(plain[0], "ensemble") is not None
        yield _peers_curves(section, key, together, None if among else plain)
    if trained:
        yield _scatter(
            f"{key}-cost",
            (section.name, "accuracy against training time"),
            trained,
            (MEASURES["seconds"], "training time, s"),
            (MEASURES["student"], "student accuracy, %"),
        )
    diverse = [
        (row, one) for row, one in trained if {"disagreement", "ensemble"} <= row.estimates.keys()
    ]
    if diverse:
        yield _scatter(
            f"{key}-diversity",
            (section.name, "ensemble accuracy against the peers' diversity"),
            diverse,
            (MEASURES["disagreement"], "disagreement of two peers, %"),
            (MEASURES["ensemble"], "ensemble accuracy, %"),
        )


def _learning_curves(section: Section, key: str, rows: Sequence[StyledMethod]) -> Plot:
    drawing = Drawing(f"{key}-curves", legend=[one for _, one in rows])
    axes = drawing.axes
    lowest: list[float] = []
    highest: list[float] = []
    bands: list[Any] = []
    for row, one in rows:
        curve = _mean_curve(row)
        if curve is None:
            continue
        epochs, mean, std = curve
        low, high = np.clip((mean - std, mean + std), 0, 100)
        line = axes.plot(epochs, mean, **one.line_style())
        bands.append((one, line, epochs, low, high))
        lowest.append(float(low[len(low) // 5 :].min()))
        highest.append(float(high.max()))
    # The first epochs would squeeze all the differences into a line.
    bottom, top = _room(min(lowest), max(highest))
    axes.set_ylim(bottom, top)
    for one, line, epochs, low, high in bands:
        inside = low >= bottom  # a band is whole or not there
        band = axes.fill_between(
            epochs, low, high, where=inside, color=one.color, alpha=0.12, linewidth=0
        )
        drawing.tag([*line, band], one, f"{one.label}: {line[0].get_ydata()[-1]:.2f} % at the end")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch")
    axes.set_ylabel(f"student accuracy on {section.split}, %")
    description = "Mean over seeds of the student's accuracy after each epoch, with one standard "
    description += "deviation around it."
    if any((low < bottom).any() for _, _, _, low, _ in bands):
        description += " The first epochs are below the picture."
    return Plot(drawing.key, section.name, "learning curves", description, drawing.svg())


def _peers_curves(
    section: Section, key: str, rows: Sequence[StyledMethod], plain: StyledMethod | None
) -> Plot:
    """A panel a method: what its student, its mean peer and its ensemble learn."""
    explained: list[Explained] = [*PEERS_CURVES.values(), *([plain[1]] if plain else [])]
    drawing = Drawing(f"{key}-peers", explained, len(rows))
    lowest: list[float] = []
    highest: list[float] = []

    def draw(
        axes: Axes, row: MethodSummary, one: Series, which: str, style: dict[str, Any]
    ) -> None:
        found = _mean_curve(row, which)
        if found is None:
            return
        epochs, mean, _ = found
        line = axes.plot(epochs, mean, **style, linewidth=1.2)
        what = PEERS_CURVES[which].short_label
        drawing.tag(line, one, f"{one.label}, {what}: {mean[-1]:.2f} % at the end")
        lowest.append(float(mean[len(mean) // 5 :].min()))
        highest.append(float(mean.max()))

    for axes, (row, one) in zip(drawing.panels, rows, strict=True):
        axes.set_title(one.panel_label, color=one.color, fontsize=8)
        if plain is not None:
            draw(axes, *plain, "student", plain[1].line_style())
        for which, curve in PEERS_CURVES.items():
            draw(axes, row, one, which, {"color": one.color, "linestyle": curve.dash})
    drawing.axes.set_ylim(*_room(min(lowest), max(highest)))
    drawing.axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    for axes in drawing.lowest_panels:
        axes.set_xlabel("epoch")
    drawing.figure.supylabel(f"accuracy on {section.split}, %", color=MUTED, fontsize=9)
    description = "Mean over seeds of the accuracy of student, mean peer and ensemble after each "
    description += "epoch, a panel for each method with several peers."
    return Plot(
        drawing.key, section.name, "student, peers and ensemble", description, drawing.svg()
    )


def _room(low: float, high: float) -> tuple[float, float]:
    """The ends of an axis of percentages that has these in it, and room for the lines' width."""
    margin = max(0.04 * (high - low), 0.05)
    return max(low - max(1.0, margin), -margin), min(high + margin, 100 + margin)


def _mean_curve(
    row: MethodSummary, which: str = "student"
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Epochs, mean and standard deviation [E] of one curve, over the runs that have it."""
    found = [run.curve for run in row.runs]
    curves = [curve for curve in found if curve and getattr(curve[0], which) is not None]
    if not curves:
        return None
    length = min(map(len, curves))
    accuracy = np.array([[getattr(point, which) for point in curve[:length]] for curve in curves])
    epochs = np.array([point.epoch for point in curves[0][:length]])
    spread = accuracy.std(axis=0, ddof=1) if len(curves) > 1 else np.zeros(length)
    return epochs, accuracy.mean(axis=0), spread


def _scatter(
    key: str,
    title: tuple[str, str],
    rows: Sequence[StyledMethod],
    x: tuple[Measure, str],
    y: tuple[Measure, str],
) -> Plot:
    drawing = Drawing(key)
    axes = drawing.axes
    points: list[Point] = []
    for row, one in rows:
        across, up = row.estimates[x[0].key], row.estimates[y[0].key]
        mark = _mark(axes, across.mean, up.mean, up.std or 0.0, one)
        said = f"{one.label}: {up.mean:.{y[0].digits}f} %, {x[1]} {across.mean:.{x[0].digits}f}"
        drawing.tag(mark.get_children(), one, said)
        points.append(Point(across.mean, up.mean, up.std or 0.0))
    axes.margins(0.12)
    axes.set_xlabel(x[1])
    axes.set_ylabel(y[1])
    labels = place_labels(axes, points, [one.short_label for _, one in rows])
    for (_, one), text in zip(rows, labels, strict=True):
        text.set_color(one.color)
        drawing.tag([text], one, one.label)
    description = "Each point is the mean over seeds of a method; bars are one standard deviation."
    return Plot(key, *title, description, drawing.svg())


def _mark(axes: Axes, x: float, y: float, spread: float, one: Series) -> ErrorbarContainer:
    return axes.errorbar(
        [x],
        [y],
        yerr=[spread],
        color=one.color,
        marker=one.marker,
        markersize=6,
        elinewidth=1,
        linestyle="none",
    )
