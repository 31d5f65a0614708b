"""``kdzoo eval``: a student's figures in a line, its weak classes and how calibrated it is."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kdzoo.cli.json_output import print_json
from kdzoo.console import print_event, print_line, print_wrapped
from kdzoo.data.dataset import Measured
from kdzoo.errors import UserError
from kdzoo.report.labels import plain
from kdzoo.report.measurement_files import measurement_json, write_measurement
from kdzoo.training.evaluate_student import measure_student
from kdzoo.training.measurement import Bin, ClassFigures, Confusion, Measurement

SHORT = 5
"""Rows of the tables that are not shown whole."""
BAR = 20
"""Characters of a bar that stands for 100 %."""


def eval_command(
    runs: Sequence[Path],
    overrides: Sequence[str],
    split: Measured,
    trust: bool,
    whole: bool,
    to: Path | None,
    as_json: bool,
    out: Console,
    err: Console,
) -> None:
    """Measure students one by one; of several, a line each unless the tables are asked for.

    Raises:
        UserError: no run is named, one cannot be measured, or ``to`` is given for several.
    """
    if not runs:
        raise UserError("Name the folder of a finished run.")
    if to is not None and len(runs) > 1:
        raise UserError(f"--to takes the files of one student, and these are {len(runs)} runs.")
    entries: list[dict[str, Any]] = []
    for run in runs:
        found = measure_student(run, overrides, split, trust)
        about = {"run": str(run), "split": split}
        if as_json:
            entries.append(about | measurement_json(found))
        else:
            if len(runs) == 1:
                print_event(out, _line("student", found.figures))
            else:  # a line each
                print_line(out, _line(str(run), found.figures))
            if whole or len(runs) == 1:
                _print_tables(found, whole, out)
        if to is not None:
            files = write_measurement(found, about, to)
            said = f"Wrote {', '.join(file.name for file in files)} to {to}"
            print_wrapped(err if as_json else out, said)
    if as_json:
        print_json(entries, out)


def _line(name: str, figures: Mapping[str, float]) -> str:
    top5 = f"top-5 {figures['top5']:.2f} %  " if "top5" in figures else ""
    return (
        f"{name} top-1 {figures['top1']:.2f} %  {top5}nll {figures['nll']:.4f}  "
        f"ece {figures['ece']:.2f} %  ({_counted(figures)})"
    )


def _counted(figures: Mapping[str, float]) -> str:
    """How many images were measured, and how many of them the student was trained on."""
    images, trained_on = figures["images"], figures.get("trained_on")
    counted = f"{images} images"
    if not trained_on:
        return counted
    looked_for = figures.get("looked_for", images)
    if looked_for < images:
        return f"{counted}; of {looked_for} looked for, {trained_on} were trained on"
    return f"{counted}, {'all' if trained_on == images else trained_on} of them trained on"


def _print_tables(found: Measurement, whole: bool, out: Console) -> None:
    classes = sorted(found.by_class, key=_worst_first)
    if not whole:
        classes = [one for one in classes if one.recall is not None and one.recall < 100]
    shown, pairs = (classes, found.confusions) if whole else (classes[:SHORT], _short(found))
    if shown:
        out.print()
        out.print(_class_table(shown, _heading("class", len(shown), len(found.classes))))
    if pairs:
        out.print()
        heading = _heading("taken for", len(pairs), len(found.confusions))
        out.print(_confusion_table(pairs, heading))
    out.print()
    if whole:
        out.print(_calibration_table(found.calibration))
    else:
        print_wrapped(out, _confidence(found))
        out.print("--all shows every class, pair and bin; --to FOLDER writes them, with pictures.")


def _short(found: Measurement) -> list[Confusion]:
    return found.confusions[:SHORT]


def _worst_first(one: ClassFigures) -> tuple[bool, float]:
    return one.recall is None, one.recall or 0.0


def _heading(what: str, shown: int, there: int) -> str:
    return what if shown == there else f"{what} ({shown} of {there:,})"


def _class_table(classes: Sequence[ClassFigures], heading: str) -> Table:
    table = _table(heading, "images", "recall %", "precision %")
    for one in classes:
        table.add_row(
            _name(one.name), f"{one.images:,}", _percent(one.recall), _percent(one.precision)
        )
    return table


def _confusion_table(pairs: Sequence[Confusion], heading: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("class", overflow="fold")
    table.add_column(heading, overflow="fold")
    for right in ("images", "% of class"):
        table.add_column(right, justify="right", no_wrap=True)
    for one in pairs:
        table.add_row(
            _name(one.label), _name(one.taken_for), f"{one.images:,}", _percent(one.share)
        )
    return table


def _calibration_table(bins: Sequence[Bin]) -> Table:
    table = _table("confidence %", "images", "mean %", "accuracy %")
    table.add_column("accuracy: =, mean confidence: |", no_wrap=True)
    for one in bins:
        low, high = f"{100 * one.low:.1f}", f"{100 * one.high:.1f}"
        table.add_row(
            low if low == high else f"{low} to {high}",
            f"{one.images:,}",
            _percent(one.confidence, 100),
            _percent(one.accuracy, 100),
            _bar(one),
        )
    return table


def _bar(of: Bin) -> str:
    if of.accuracy is None or of.confidence is None:
        return ""
    bar = list(("=" * round(BAR * of.accuracy)).ljust(BAR + 1))
    bar[round(BAR * of.confidence)] = "|"
    return "".join(bar).rstrip()


def _confidence(found: Measurement) -> str:
    """How sure the student is on the whole, and whether rightly so."""
    images = sum(one.images for one in found.calibration)
    mean = 100 * sum(one.images * (one.confidence or 0) for one in found.calibration) / images
    top1 = found.figures["top1"]
    apart = f"{abs(mean - top1):.2f} points too {'sure' if mean > top1 else 'unsure'}"
    return f"Mean confidence {mean:.2f} %, accuracy {top1:.2f} %: {apart}."


def _table(first: str, *headings: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(first, overflow="fold")
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _name(text: str) -> Text:
    return Text(plain(text))


def _percent(value: float | None, scale: float = 1) -> str:
    return "" if value is None else f"{scale * value:.2f}"
