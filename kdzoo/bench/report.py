"""From run folders to a report, on the screen and in files."""

import json
from collections.abc import Sequence
from pathlib import Path

from kdzoo.bench.collect import collect_folder, collect_matrix
from kdzoo.bench.matrix import Matrix, read_matrix
from kdzoo.bench.plots import report_plots
from kdzoo.bench.render.csv import csv_report
from kdzoo.bench.render.html import html_report
from kdzoo.bench.render.latex import latex_report
from kdzoo.bench.render.markdown import markdown_report
from kdzoo.bench.results import Run
from kdzoo.bench.spec import Presentation
from kdzoo.bench.summary import Report, summarise
from kdzoo.component import validate
from kdzoo.compose import merge_all, parse_override
from kdzoo.files import write_text


def make_report(target: Path, overrides: Sequence[str] = ()) -> tuple[Report, Path]:
    """The report of a spec's runs, or of the runs below a folder.

    Args:
        target: a spec file, or a folder with runs in it.
        overrides: of the spec; for a folder, of ``title``, ``baseline`` and ``published``.

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
    return matrix_report(matrix), Path(matrix.spec.out).expanduser()


def matrix_report(matrix: Matrix) -> Report:
    """The report of a spec's runs, as far as they are finished."""
    return summarise(collect_matrix(matrix), matrix.spec)


def write_report(report: Report, folder: Path) -> list[Path]:
    """Write the report in every format.

    Returns:
        the files: ``report.md``, ``.tex``, ``.csv`` and ``.html``, ``results.json`` and the plots.

    Raises:
        UserError: the folder cannot be written.
    """
    plots = report_plots(report)
    texts = {
        "report.md": markdown_report(report, [plot for part in plots for plot in part]),
        "report.tex": latex_report(report),
        "report.csv": csv_report(report),
        "report.html": html_report(report, plots),
        "results.json": json.dumps([_raw(run) for run in report.runs], indent=1) + "\n",
        **{plot.file_name: plot.svg for part in plots for plot in part},
    }
    for name, text in texts.items():
        write_text(folder / name, text)
    return [folder / name for name in texts]


def _raw(run: Run) -> dict[str, object]:
    """A run as it is kept: its place in the tables, its result, and where it ran."""
    return {
        "labels": {"dataset": run.dataset, "backbone": run.backbone, "method": run.method},
        "result": run.result.model_dump(mode="json"),
        "environment": run.environment,
    }
