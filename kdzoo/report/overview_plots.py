"""The plot over all sections of a report: what more training images are worth to each method."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator

from kdzoo.report.measures import MEASURES
from kdzoo.report.plot_style import MUTED, Drawing, Series
from kdzoo.report.plots import Plot
from kdzoo.report.summary import MethodSummary, Report, Section
from kdzoo.training.result import Result

STUDENT = MEASURES["student"].key
SIZE = (4.7, 4.0)
APART = 0.3
"""The part of the way from one size to the next over which the methods' bars are spread, so that
none hides another."""


def overview_plots(report: Report) -> list[Plot]:
    """The students' accuracy against the number of training images, where sections differ in that.

    They differ in it where all are of one data set, one backbone and the same images for testing,
    and no two of one size.
    """
    trained = [section for section in report.sections if any(_runs(section))]
    facts = [
        {
            (run.train_size, section.backbone, run.dataset, run.last.split, run.test_size)
            for run in _runs(section)
        }
        for section in trained
    ]
    if len(trained) < 2 or any(len(of_section) > 1 for of_section in facts):
        return []
    places = [next(iter(of_section)) for of_section in facts]
    sizes = [place[0] for place in places]
    if len({place[1:] for place in places}) > 1 or len(set(sizes)) < len(sizes) or 0 in sizes:
        return []
    return [_against_images(dict(sorted(zip(sizes, trained, strict=True))))]


def _against_images(sections: dict[int, Section]) -> Plot:
    rows = {
        size: {row.label: row for row in section.methods if row.runs}
        for size, section in sections.items()
    }
    baseline = next(row.compared_with for of_size in rows.values() for row in of_size.values())
    labels = dict.fromkeys(row.label for one in sections.values() for row in one.methods)
    series = [Series(index, label, label == baseline) for index, label in enumerate(labels)]
    series = [one for one in series if any(one.label in of_size for of_size in rows.values())]
    compared = any(row.differences for of_size in rows.values() for row in of_size.values())
    drawing = (
        Drawing("overview-images", series, panels=2, heights=(3, 2), size=SIZE)
        if compared
        else Drawing("overview-images", series)
    )
    splits = "/".join(sorted({section.split for section in sections.values()}))
    for one in series:
        points = {
            size: of_size[one.label] for size, of_size in rows.items() if one.label in of_size
        }
        _accuracy(drawing, one, points)
        if compared and not one.is_baseline:
            _differences(drawing, one, points, _beside(one, len(labels), list(sections)))
    drawing.axes.set_ylabel(f"student on {splits}, %")
    described = (
        "Mean over seeds of the student's accuracy, with one standard deviation, against the "
    )
    described += "number of training images."
    if compared:
        below = drawing.panels[1]
        below.axhline(0, color=MUTED, linewidth=0.8)
        below.set_ylabel("difference, points")
        described += (
            f" Below, the difference from {baseline}, paired by seed, with its 95 % interval, "
        )
        described += "which allows for the number of comparisons of that size (Holm)."
    _images_axis(drawing.lowest_panels[0], list(sections))
    return Plot(drawing.key, "", "accuracy against training images", described, drawing.svg())


def _accuracy(drawing: Drawing, one: Series, points: dict[int, MethodSummary]) -> None:
    found = [(size, row.estimates[STUDENT]) for size, row in points.items()]
    drawn = drawing.axes.errorbar(
        [size for size, _ in found],
        [of.mean for _, of in found],
        yerr=[of.std or 0.0 for _, of in found],
        **one.line_style(),
        marker=one.marker,
        markersize=4,
        elinewidth=1,
    )
    said = ", ".join(f"{size:,} images {of.mean:.2f} %" for size, of in found)
    drawing.tag(drawn.get_children(), one, f"{one.label}: {said}")


def _differences(
    drawing: Drawing, one: Series, points: dict[int, MethodSummary], beside: float
) -> None:
    found = {
        size: row.differences[STUDENT] for size, row in points.items() if STUDENT in row.differences
    }
    if not found:
        return
    bars = [
        0.0 if of.high is None or of.has_too_few_pairs else of.high - of.mean
        for of in found.values()
    ]
    drawn = drawing.panels[1].errorbar(
        [size * beside for size in found],
        [of.mean for of in found.values()],
        yerr=bars,
        **one.line_style(),
        marker=one.marker,
        markersize=4,
        elinewidth=1,
    )
    said = ", ".join(f"{size:,} images {of.mean:+.2f}" for size, of in found.items())
    drawing.tag(drawn.get_children(), one, f"{one.label}: {said}")


def _beside(one: Series, of: int, sizes: Sequence[int]) -> float:
    """By how much a method's bars are moved along the logarithmic axis."""
    nearest = min(after / before for before, after in pairwise(sizes))
    return min(nearest, 2.0) ** (APART * ((one.index + 0.5) / of - 0.5))


def _images_axis(axes: Axes, sizes: Sequence[int]) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(sizes))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.set_xlabel("training images")


def _runs(section: Section) -> Iterator[Result]:
    return (run.result for row in section.methods for run in row.runs)
