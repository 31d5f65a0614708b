"""The rows as a Markdown table."""

from collections.abc import Sequence
from typing import Any

UNITS = {"step": ("ms", 1000), "epoch": ("s", 1)}
FIGURES = {"step": ("median", "min"), "epoch": ("mean",)}
"""What is shown: not every epoch has an evaluation in it, so of epochs only the mean tells."""


def markdown(rows: Sequence[dict[str, Any]], clock: str = "") -> str:
    """A step's median [minimum], or an epoch's mean, of each contestant, and their ratios.

    Args:
        rows: of :mod:`benchmarks.speed.measure`.
        clock: ``""`` for the time that passed, ``"cpu_"`` for the CPU time of the process.
    """
    lines = [
        "| method | backbone | precision | | kdzoo | bare | conventional | kdzoo / bare "
        "| conventional / kdzoo |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        unit, factor = UNITS[row["what"]]
        cells = [row["method"], row["backbone"], row["precision"], f"{row['what']}, {unit}"]
        for name in ("kdzoo", "bare", "conventional"):
            figures = row["seconds"].get(name)
            cells.append(_cell(row["what"], figures, clock, factor, digits=4))
        for name in ("kdzoo/bare", "conventional/kdzoo"):
            ratio = row["ratios"].get(name)
            cells.append(_cell(row["what"], ratio, clock, 1, digits=3))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(
    what: str, figures: dict[str, float] | None, clock: str, factor: float, digits: int
) -> str:
    if figures is None:
        return ""
    first, *others = (_rounded(figures[clock + one] * factor, digits) for one in FIGURES[what])
    return " ".join([first, *(f"[{other}]" for other in others)])


def _rounded(value: float, digits: int) -> str:
    """At most so many digits, and no more than two behind the point."""
    whole = len(str(int(value)))
    return f"{value:.{max(min(digits - whole, 2), 0)}f}"
