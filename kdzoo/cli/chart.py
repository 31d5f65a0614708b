"""Curves in characters, for terminals and pipes alike."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

Points = Sequence[tuple[float, float]]


def chart(curves: Mapping[str, Points], width: int, height: int = 12) -> list[str]:
    """Lines of text: the curves, each drawn in its own character, with the axes' ends.

    Args:
        curves: by the character that draws it; where two meet, the first one is seen.
        width: of the whole, in characters.
        height: of the curves, in lines.
    """
    points = [point for curve in curves.values() for point in curve]
    (left, right), (low, high) = (_ends([one[axis] for one in points]) for axis in (0, 1))
    labels = [_short(high), *[""] * (height - 2), _short(low)]
    margin = max(map(len, labels)) + 2
    columns = max(width - margin, 10)
    canvas = [[" "] * columns for _ in range(height)]
    for mark, curve in reversed(list(curves.items())):
        for column, value in _columns(curve, left, right, columns):
            row = round((height - 1) * (high - value) / (high - low))
            canvas[row][column] = mark
    lines = [
        f"{label:>{margin - 2}} |{''.join(row).rstrip()}"
        for label, row in zip(labels, canvas, strict=True)
    ]
    first, last = f"{left:g}", f"{right:g}"
    axis = " " * margin + first + last.rjust(columns - len(first))
    return [*lines, axis]


def _ends(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if low < high else (low, low + 1)


def _columns(curve: Points, left: float, right: float, columns: int) -> list[tuple[int, float]]:
    """The curve's height in each column from its first point to its last, straight between them."""
    at = [round((columns - 1) * (x - left) / (right - left)) for x, _ in curve]
    found = dict(zip(at, (y for _, y in curve), strict=True))
    known = sorted(found.items())
    for (a, low), (b, high) in pairwise(known):
        for column in range(a + 1, b):
            found[column] = low + (high - low) * (column - a) / (b - a)
    return sorted(found.items())


def _short(value: float) -> str:
    return f"{value:.4g}"
