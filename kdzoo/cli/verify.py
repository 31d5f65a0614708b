"""``kdzoo verify``: a published run and its repetition, side by side."""

import math
import re
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.table import Table

from kdzoo.console import print_line, print_wrapped
from kdzoo.training.result import Evaluation
from kdzoo.verify.comparison import Figure, Verification

IN_TABLE = re.compile(r"last\.((student|ensemble)\.(top1|nll|ece)|diversity\.(disagreement|l2))")
"""Figures that have a row of their own, whether they differ or not."""

Row = tuple[str, Figure, Figure]
"""A figure's name, as it was published, and as it came out again."""


def verification_json(found: Verification) -> dict[str, Any]:
    """The figures of both, what they ran on where that differs, and what it comes to."""
    return {
        "run": found.kept.labels.model_dump() | {"seed": found.kept.result.seed},
        "split": found.again.result.last.split,
        "figures": [
            {"name": name, "published": then, "again": now} for name, then, now in _rows(found)
        ],
        "ran_on": {
            name: {"published": then, "again": again}
            for name, (then, again) in found.ran_on.items()
        },
        "same_student": found.same_student,
        "same_figures": found.same_figures,
        "difference": found.difference,
        "spread": found.spread,
        "agrees": found.agrees,
        "folder": str(found.folder.path),
    }


def print_verification(found: Verification, out: Console) -> None:
    """The same in the terminal."""
    out.print(_table(found))
    for name, (then, now) in found.ran_on.items():
        print_wrapped(out, f"{name}: {then} then, {now} now")
    print_wrapped(out, _verdict(found))
    print_line(out, f"The new run is in {found.folder.path}")


def _table(found: Verification) -> Table:
    table = Table(title=str(found.kept), title_justify="left")
    table.add_column(f"{found.again.result.last.split}, last epoch")
    for heading in ("published", "again", "difference"):
        table.add_column(heading, justify="right")
    for name, then, now in _rows(found):
        digits = 4 if "nll" in name or "l2" in name.lower() else 2
        shown = (_shown(then, digits), _shown(now, digits))
        table.add_row(name, *shown, _apart(then, now, digits))
    return table


def _rows(found: Verification) -> Iterator[Row]:
    """The figures of the last epoch, then all others that differ."""
    now = dict(_figures(found.again.result.last))
    for name, then in _figures(found.kept.result.last):
        if name in now:
            yield name, then, now[name]
    yield from _others(found)


def _others(found: Verification) -> Iterator[Row]:
    """What else differs; of each learning curve, the point that does most."""
    furthest: dict[str, Row] = {}
    for name, (then, now) in found.different.items():
        if IN_TABLE.fullmatch(name) and then is not None and now is not None:
            continue
        where = name.split(".")
        of = f"curve {where[-1]}" if where[0] == "curve" else name
        row = (_in_words(name), then, now)
        if of not in furthest or _distance(row) > _distance(furthest[of]):
            furthest[of] = row
    yield from furthest.values()


def _in_words(name: str) -> str:
    return name.replace(".", " ").replace("_", " ")


def _distance(row: Row) -> float:
    _, then, now = row
    if isinstance(then, int | float) and isinstance(now, int | float):
        return abs(now - then)
    return math.inf


def _shown(value: Figure, digits: int) -> str:
    if value is None:
        return "none"
    return f"{value:.{digits}f}" if isinstance(value, float) else str(value)


def _apart(then: Figure, now: Figure, digits: int) -> str:
    if isinstance(then, float) and isinstance(now, float):
        return f"{now - then:+.{digits}f}"
    return f"{now - then:+}" if isinstance(then, int) and isinstance(now, int) else ""


def _figures(of: Evaluation) -> Iterator[tuple[str, float]]:
    for name, score in (("student", of.student), ("ensemble", of.ensemble)):
        if score is not None:
            yield f"{name} top-1 %", score.top1
            yield f"{name} nll", score.nll
            if score.ece is not None:
                yield f"{name} ece %", score.ece
    if of.mean_peer is not None:
        yield "mean peer top-1 %", of.mean_peer
    if of.diversity is not None:
        yield "disagreement %", of.diversity.disagreement
        yield "L2", of.diversity.l2


def _verdict(found: Verification) -> str:
    if found.same_student and not found.agrees:
        return (
            "Not the same: the student has the same weights, byte by byte, but the figures that "
            "were published are not theirs."
        )
    if found.same_last_epoch and not found.agrees:
        return (
            "Not the same: the last epoch's figures are equal, but others that were published are "
            "not this run's."
        )
    if found.same_student:
        return "The same: the student has the same weights, byte by byte."
    if found.same_last_epoch:
        return "The same figures; the students' weights differ, or are not known to be equal."
    apart = f"The students are {abs(found.difference):.2f} points apart"
    if found.other_counts:
        named = ", ".join(map(_in_words, found.other_counts))
        return f"Not the same: {apart.lower()}, and what no rounding changes differs: {named}."
    if found.spread is None:
        return f"Not the same: {apart.lower()}, and too few other seeds say how far two may be."
    of_seeds = f"the other seeds of this row allow {found.spread:.2f} between two runs"
    if found.agrees:
        return f"It agrees: {apart.lower()}, and {of_seeds}."
    if abs(found.difference) <= found.spread:
        apart = f"In their best epochs they are {abs(found.best_difference):.2f} points apart"
    return f"It does not agree: {apart.lower()}, but {of_seeds}."
