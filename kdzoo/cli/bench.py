"""``kdzoo bench`` and ``kdzoo report``, as a person meets them."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from kdzoo.bench.board import Board, State
from kdzoo.bench.collect_matrix import collect_matrix
from kdzoo.bench.kept import nothing_yet, refuse_to_lose
from kdzoo.bench.matrix import Matrix, read_matrix
from kdzoo.bench.runner import run_bench
from kdzoo.cli.json_output import print_json
from kdzoo.component import validate
from kdzoo.compose import merge_all, parse_override
from kdzoo.console import print_event, print_line, print_wrapped
from kdzoo.errors import ConfigError, UserError
from kdzoo.home import expand_user
from kdzoo.report.collect import collect_folder
from kdzoo.report.collect_results import collect_results
from kdzoo.report.render.json import json_report
from kdzoo.report.render.terminal import TerminalReport
from kdzoo.report.results_file import FILE, is_written, read_results
from kdzoo.report.run_files import run_folders
from kdzoo.report.summary import Presentation, Report, summarise
from kdzoo.report.write import write_report
from kdzoo.training.preemption import Stopped


def bench_command(
    spec: Path, overrides: Sequence[str], as_json: bool, out: Console, aside: Console, err: Console
) -> int:
    """Carry out a spec and print its tables; how it goes is shown in ``aside``.

    Returns:
        the exit code: 0 when every run is finished, 1 when some failed, 128 and the signal's number
        when one has ended it.

    Raises:
        UserError: the spec cannot be carried out.
    """
    matrix = read_matrix(spec, overrides)
    try:
        board = run_bench(matrix, aside)
    except KeyboardInterrupt as stop:
        err.print("Stopped, and the runs with it. The same command goes on where they were.")
        return stop.exit_code if isinstance(stop, Stopped) else 130
    report = matrix_report(matrix)
    if as_json:
        print_json(json_report(report), out)
        return _report_failures(board, err)
    out.print(TerminalReport(report))
    command = shlex.join(["kdzoo", "report", str(spec), *overrides])
    print_line(out, f"{command} writes this as Markdown, LaTeX, CSV and a web page.")
    return _report_failures(board, err)


def report_command(
    target: Path,
    overrides: Sequence[str],
    to: Path | None,
    as_json: bool,
    out: Console,
    aside: Console,
) -> None:
    """Print the tables of finished runs, and write them in every format.

    Raises:
        UserError: there is nothing to report on, or the files cannot be written.
    """
    source = results_of(target)
    if source is not None:
        report, folder = kept_report(source, overrides), source.parent
    else:
        report, runs = make_report(target, overrides, aside)
        # a spec's has its name, since specs may share the folder of their runs
        folder = runs / ("report" if target.is_dir() else f"report-{target.stem}")
    folder = to or folder
    if not as_json:
        out.print(TerminalReport(report))  # which is there also where the folder cannot be written
    if source is None and not target.is_dir() and read_matrix(target, overrides).kept.files:
        refuse_to_lose(folder / FILE, report.runs)
    files = write_report(report, folder, source)
    if as_json:
        print_json({**json_report(report), "files": list(map(str, files))}, out)
    else:
        print_wrapped(out, f"Wrote {', '.join(file.name for file in files)} to {files[0].parent}")


def results_of(target: Path) -> Path | None:
    """The ``results.json`` that is reported on; None where the target is a spec or has runs.

    A folder with both is one of runs, of which its ``results.json`` may be an earlier report.
    """
    if not target.is_dir():
        return target if target.suffix == ".json" else None
    file = target / FILE
    return file if is_written(file) and not run_folders(target) else None


def kept_report(file: Path, overrides: Sequence[str] = ()) -> Report:
    """The report that a ``results.json`` was written with, again.

    Args:
        file: the ``results.json``.
        overrides: of ``title``, ``baseline`` and ``published``.

    Raises:
        UserError: it is none, or an override does not fit.
    """
    results = read_results(file)
    written = {
        "title": file.absolute().parent.name if results.title is None else results.title,
        "baseline": results.baseline,
        "published": results.published,
    }
    values = merge_all([written, *map(parse_override, overrides)])
    try:
        presentation: Presentation = validate(Presentation, values)
        return summarise(collect_results(results, file), presentation)
    except ConfigError as error:
        raise UserError(f"{file}: {error}") from None


def make_report(
    target: Path, overrides: Sequence[str] = (), aside: Console | None = None
) -> tuple[Report, Path]:
    """The report of a spec's runs, or of the runs below a folder.

    Args:
        target: a spec file, or a folder with runs in it.
        overrides: of the spec; for a folder, of ``title``, ``baseline`` and ``published``.
        aside: told what the spec counts as kept and is not there yet.

    Returns:
        the report, and the folder that its runs are in.

    Raises:
        UserError: there is no such spec or folder, or an override does not fit.
    """
    if target.is_dir():
        values = merge_all([{"title": target.name}, *map(parse_override, overrides)])
        presentation: Presentation = validate(Presentation, values)
        return summarise(collect_folder(target), presentation), target
    matrix = read_matrix(target, overrides)
    if aside is not None:
        for file in matrix.kept.unwritten:
            print_event(aside, nothing_yet(file))
    return matrix_report(matrix), expand_user(matrix.spec.out)


def matrix_report(matrix: Matrix) -> Report:
    """The report of a spec's runs, as far as they are finished."""
    return summarise(collect_matrix(matrix), matrix.spec)


def _report_failures(board: Board, err: Console) -> int:
    failed = [entry for entry in board.entries if entry.state is State.FAILED]
    for entry in failed:
        print_line(err, f"failed: {entry.run}: {entry.message} Log: {entry.folder.log}")
    return 1 if failed else 0
