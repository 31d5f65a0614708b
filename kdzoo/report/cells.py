"""What can stand in a cell of a table, before it is rendered."""

from dataclasses import dataclass
from functools import singledispatch

from kdzoo.report.statistics import Difference, Estimate


@dataclass(frozen=True)
class Text:
    """Words, such as a method's name."""

    text: str


@dataclass(frozen=True)
class Figure:
    """A mean with its spread, or an exact number.

    Attributes:
        estimate: in the unit of the heading.
        digits: decimals to show.
        best: whether it is the best of its column.
        n: how many runs the row has, so that a figure of fewer can say so.
        exact: the same in every run, so that a spread would say nothing.
    """

    estimate: Estimate
    digits: int
    best: bool
    n: int
    exact: bool = False


@dataclass(frozen=True)
class Gap:
    """A difference from the baseline, with its interval."""

    difference: Difference
    digits: int
    n: int


@dataclass(frozen=True)
class Published:
    """A figure of the literature: student and, where given, its deviation, and ensemble."""

    student: float
    std: float | None
    ensemble: float | None


@dataclass(frozen=True)
class Nothing:
    """There is no such figure; ``why`` says so in a word where it helps."""

    why: str = ""


Cell = Text | Figure | Gap | Published | Nothing


MINUS = "\N{MINUS SIGN}"


@singledispatch
def as_text(cell: Cell) -> str:
    """What a cell says, e.g. ``97.22 ± 0.28`` or ``+0.46 [+0.21, +0.71] *``."""
    raise TypeError(f"{type(cell).__name__} is no cell.")


@as_text.register
def _(cell: Text) -> str:
    return cell.text


@as_text.register
def _(cell: Figure) -> str:
    estimate, digits = cell.estimate, cell.digits
    text = number(estimate.mean, digits)
    if estimate.std is not None and not cell.exact:
        text += f" ± {number(estimate.std, digits)}"
    return text if estimate.n == cell.n else f"{text} (n={estimate.n})"


@as_text.register
def _(cell: Gap) -> str:
    difference, digits = cell.difference, cell.digits
    text = signed(difference.mean, digits)
    if difference.low is not None and difference.high is not None:
        text += f" [{signed(difference.low, digits)}, {signed(difference.high, digits)}]"
    if difference.excludes_zero:
        text += " *"
    return text if difference.n == cell.n else f"{text} (n={difference.n})"


@as_text.register
def _(cell: Published) -> str:
    text = number(cell.student, 2)
    if cell.std is not None:
        text += f" ± {number(cell.std, 2)}"
    return text if cell.ensemble is None else f"{text} ({number(cell.ensemble, 2)})"


@as_text.register
def _(cell: Nothing) -> str:
    return cell.why or "\N{EN DASH}"


def number(value: float, digits: int) -> str:
    """With a thousands comma from 10,000 on, and a real minus sign."""
    return f"{value:{',' if abs(value) >= 10_000 else ''}.{digits}f}".replace("-", MINUS)


def signed(value: float, digits: int) -> str:
    """With its sign, but for what rounds to 0."""
    return number(value, digits) if round(value, digits) <= 0 else f"+{number(value, digits)}"


def is_best(cell: Cell) -> bool:
    """Whether a cell is to be set in bold."""
    return isinstance(cell, Figure) and cell.best
