"""What can stand in a cell of a table, before it is rendered."""

from dataclasses import dataclass

from kdzoo.bench.statistics import Difference, Estimate


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
    """A figure of the literature: student and, where given, ensemble."""

    student: float
    ensemble: float | None


@dataclass(frozen=True)
class Nothing:
    """There is no such figure; ``why`` says so in a word where it helps."""

    why: str = ""


Cell = Text | Figure | Gap | Published | Nothing
