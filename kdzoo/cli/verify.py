"""``kdzoo verify``: a published run and its repetition, side by side."""

from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.table import Table

from kdzoo.console import print_line, print_wrapped
from kdzoo.training.result import Evaluation
from kdzoo.verify import Verification


def verification_json(found: Verification) -> dict[str, Any]:
    """The figures of both, what they ran on where that differs, and what it comes to."""
    now = dict(_figures(found.again.last))
    return {
        "run": found.kept.labels.model_dump() | {"seed": found.kept.result.seed},
        "split": found.again.last.split,
        "figures": [
            {"name": name, "published": then, "again": now[name]}
            for name, then in _figures(found.kept.result.last)
            if name in now
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
    table.add_column(f"{found.again.last.split}, last epoch")
    for heading in ("published", "again", "difference"):
        table.add_column(heading, justify="right")
    now = dict(_figures(found.again.last))
    for name, then in _figures(found.kept.result.last):
        if name in now:
            digits = 4 if "nll" in name or "L2" in name else 2
            table.add_row(
                name,
                f"{then:.{digits}f}",
                f"{now[name]:.{digits}f}",
                f"{now[name] - then:+.{digits}f}",
            )
    return table


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
    if found.same_student:
        return "The same: the student has the same weights, byte by byte."
    if found.same_figures:
        return "The same figures; the students' weights differ, or are not known to be equal."
    apart = f"The students are {abs(found.difference):.2f} points apart"
    if found.spread is None:
        return f"Not the same: {apart.lower()}, and too few other seeds say how far two may be."
    of_seeds = f"the other seeds of this row allow {found.spread:.2f} between two runs"
    if found.agrees:
        return f"It agrees: {apart.lower()}, and {of_seeds}."
    return f"It does not agree: {apart.lower()}, but {of_seeds}."
