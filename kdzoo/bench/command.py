"""``kdzoo bench`` and ``kdzoo report``, as a person meets them."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from kdzoo.bench.board import Board, State
from kdzoo.bench.matrix import read_matrix
from kdzoo.bench.outcome import LOG
from kdzoo.bench.render.terminal import TerminalReport
from kdzoo.bench.report import make_report, matrix_report, write_report
from kdzoo.bench.runner import run_bench


def bench_command(spec: Path, overrides: Sequence[str], out: Console, err: Console) -> int:
    """Carry out a spec and print its tables.

    Returns:
        the exit code: 0 when every run is finished, 1 when some failed, 130 when it was stopped.

    Raises:
        UserError: the spec cannot be carried out.
    """
    matrix = read_matrix(spec, overrides)
    try:
        board = run_bench(matrix, out)
    except KeyboardInterrupt:
        err.print("Stopped, and the runs with it. The same command goes on where they were.")
        return 130
    out.print(TerminalReport(matrix_report(matrix)))
    command = shlex.join(["kdzoo", "report", str(spec), *overrides])
    _say(out, f"{command} writes this as Markdown, LaTeX, CSV and a web page.")
    return _report_failures(board, err)


def report_command(target: Path, overrides: Sequence[str], to: Path | None, out: Console) -> None:
    """Print the tables of finished runs, and write them in every format.

    Raises:
        UserError: there is nothing to report on, or the files cannot be written.
    """
    report, runs = make_report(target, overrides)
    out.print(TerminalReport(report))
    files = write_report(report, to or runs / "report")
    _say(out, f"Wrote {', '.join(file.name for file in files)} to {files[0].parent}")


def _report_failures(board: Board, err: Console) -> int:
    failed = [entry for entry in board.entries if entry.state is State.FAILED]
    for entry in failed:
        _say(err, f"failed: {entry.cell}: {entry.message} Log: {entry.folder.path / LOG}")
    return 1 if failed else 0


def _say(console: Console, line: str) -> None:
    console.print(line, highlight=False, markup=False, soft_wrap=True)
