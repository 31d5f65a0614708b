"""What stands in a cell of a table: its text, what it is sorted by, and how it stands out."""

from dataclasses import dataclass
from typing import Literal

from kdzoo.report.measures import Measure
from kdzoo.report.published import PublishedFigure
from kdzoo.report.statistics import Difference, Estimate

MINUS = "\N{MINUS SIGN}"
TOO_FEW = "too few seeds"
"""In place of an interval that says nothing about the methods."""


@dataclass(frozen=True)
class Cell:
    """A cell, before it is rendered.

    Attributes:
        text: e.g. ``97.22 ± 0.28`` or ``+0.46 [+0.21, +0.71] *``.
        value: what a column is sorted by: a figure's number, in the unit of the heading; words are
            their own; empty where there is nothing.
        style: ``up`` and ``down`` are differences whose interval excludes 0.
    """

    text: str
    value: float | str
    style: Literal["", "best", "up", "down", "nothing"] = ""

    @property
    def is_figure(self) -> bool:
        """Whether the text is numbers; otherwise it is words, which may hold any character."""
        return not isinstance(self.value, str)


def words(text: str) -> Cell:
    """Such as a method's name."""
    return Cell(text, text)


def nothing(why: str = "\N{EN DASH}") -> Cell:
    """There is no such figure; ``why`` says so in a word where it helps."""
    return Cell(why, "", "nothing")


def figure(estimate: Estimate, measure: Measure, n: int, best: bool) -> Cell:
    """A mean with its spread, or an exact number.

    Args:
        estimate: in the measure's base unit.
        measure: how it is shown.
        n: how many runs the row has, so that a figure of fewer can say so.
        best: whether it is the best of its column.
    """
    mean = estimate.mean / measure.scale
    text = _number(mean, measure.digits)
    if estimate.std is not None and not measure.exact:
        text += f" ± {_number(estimate.std / measure.scale, measure.digits)}"
    return Cell(text + _fewer(estimate.n, n), mean, "best" if best else "")


def ratio(value: float) -> Cell:
    """How many times the baseline's a mean is."""
    return Cell(_number(value, 2), value)


def difference(found: Difference, digits: int, n: int) -> Cell:
    """A difference from the baseline, with its interval; ``n`` as for a figure."""
    text = _signed(found.mean, digits)
    if found.has_too_few_pairs:
        text += f" ({TOO_FEW})"
    elif found.low is not None and found.high is not None:
        text += f" [{_signed(found.low, digits)}, {_signed(found.high, digits)}]"
    if not found.excludes_zero:
        return Cell(text + _fewer(found.n, n), found.mean)
    style: Literal["up", "down"] = "up" if found.mean > 0 else "down"
    return Cell(f"{text} *{_fewer(found.n, n)}", found.mean, style)


def published(found: PublishedFigure) -> Cell:
    """A figure of the literature: the student's, with its deviation and the ensemble's if given."""
    text = _number(found.student, 2)
    if found.std is not None:
        text += f" ± {_number(found.std, 2)}"
    if found.ensemble is not None:
        text += f" ({_number(found.ensemble, 2)})"
    return Cell(text, found.student)


def _fewer(n: int, of_row: int) -> str:
    return "" if n == of_row else f" (n={n})"


def _number(value: float, digits: int) -> str:
    """With a thousands comma from 10,000 on, and a real minus sign."""
    return f"{value:{',' if abs(value) >= 10_000 else ''}.{digits}f}".replace("-", MINUS)


def _signed(value: float, digits: int) -> str:
    """With its sign, but for what rounds to 0."""
    return _number(value, digits) if round(value, digits) <= 0 else f"+{_number(value, digits)}"
