"""The rows as a Markdown table."""

from collections.abc import Sequence
from typing import Any

UNITS = {"step": ("ms", 1000), "epoch": ("s", 1)}


def markdown(rows: Sequence[dict[str, Any]], clock: str = "") -> str:
    """Median [minimum] of each contestant and how many times as long as kdzoo the others take.

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
            cells.append(_pair(figures, clock, factor, digits=4) if figures else "")
        for name in ("kdzoo/bare", "conventional/kdzoo"):
            ratio = row["ratios"].get(name)
            cells.append(_pair(ratio, clock, 1, digits=3) if ratio else "")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _pair(figures: dict[str, float], clock: str, factor: float, digits: int) -> str:
    median, smallest = (figures[clock + name] * factor for name in ("median", "min"))
    return f"{_rounded(median, digits)} [{_rounded(smallest, digits)}]"


def _rounded(value: float, digits: int) -> str:
    """At most so many digits, and no more than two behind the point."""
    whole = len(str(int(value)))
    return f"{value:.{max(min(digits - whole, 2), 0)}f}"
