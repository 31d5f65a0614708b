"""``kdzoo curves``: what a run learnt, epoch by epoch, in the terminal or as a picture."""

from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from kdzoo.cli.chart import chart
from kdzoo.cli.json_output import print_json
from kdzoo.console import print_line
from kdzoo.report.curves import TRAINED, Curve, LearningCurves, curves_plot, learning_curves
from kdzoo.training.run_folder import RunFolder

MARKS = {"student": "s", "ensemble": "e", "mean peer": "p", TRAINED: "."}
"""The character that draws each curve, those first that are seen where several meet."""
WIDEST = 100
"""Characters beyond which a chart is no easier to read."""


def curves_command(run: Path, to: Path | None, as_json: bool, out: Console, aside: Console) -> None:
    """Show the curves, and write the picture where one is asked for.

    Raises:
        UserError: there are none, or the picture cannot be written.
    """
    curves = learning_curves(RunFolder(run if run.is_dir() else run.parent))
    if to is not None:
        curves_plot(curves).write(to)
    if as_json:
        print_json(asdict(curves), out)
    else:
        _print_charts(curves, out)
    if to is not None:
        print_line(aside, f"The picture is in {to}")


def _print_charts(curves: LearningCurves, out: Console) -> None:
    print_line(out, curves.run)
    width = min(out.width, WIDEST)
    marked = {MARKS[name]: curves.accuracy[name] for name in MARKS if name in curves.accuracy}
    if marked:
        on = "" if curves.split is None else f" on {curves.split}"
        out.print(f"\naccuracy{on}, %, by epoch")
        _print_lines(chart(marked, width), out)
        for name, mark in MARKS.items():
            if name in curves.accuracy:
                out.print(f"{mark}  {name}: {_said(curves.accuracy[name])}")
    if curves.loss:
        out.print("\nloss of the training, by epoch")
        _print_lines(chart({"*": curves.loss}, width, 8), out)


def _print_lines(lines: list[str], out: Console) -> None:
    for line in lines:
        out.print(line, no_wrap=True, crop=False)


def _said(curve: Curve) -> str:
    best, last = max(curve, key=lambda point: point[1]), curve[-1]
    return f"{last[1]:.2f} % after epoch {last[0]}, highest {best[1]:.2f} % after {best[0]}"
