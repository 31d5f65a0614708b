"""Cells as plain text, which the terminal, Markdown and HTML share."""

from functools import singledispatch

from kdzoo.bench.cells import Cell, Figure, Gap, Nothing, Published, Text

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
    student = number(cell.student, 2)
    return student if cell.ensemble is None else f"{student} ({number(cell.ensemble, 2)})"


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
