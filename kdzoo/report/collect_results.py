"""The runs of a ``results.json``, in the places of the tables that it was written with."""

from pathlib import Path

from kdzoo.report.collect import Collection, ComparedMethod
from kdzoo.report.labels import plain
from kdzoo.report.results_file import Results, restore
from kdzoo.report.run_files import LeftOut, Run

LOST = "Only that it was left out is kept."


def collect_results(results: Results, file: Path) -> Collection:
    """Everything that is kept, for the same report again.

    Args:
        results: the content.
        file: where it was read.

    Raises:
        UserError: a run's identity is none.
    """
    runs = [restore(run, file) for run in results.runs]
    sections = _as_written(results) or _as_they_come(runs)
    first = next((rows[0].label for rows in sections.values() if rows), "")
    left_out = [
        LeftOut(file, state, LOST)
        for state, count in results.left_out.items()
        for _ in range(count)
    ]
    return Collection(sections, plain(results.baseline or first), runs, left_out)


def _as_written(results: Results) -> dict[tuple[str, str], list[ComparedMethod]]:
    """Nothing where an earlier version has not written any."""
    return {
        (plain(section.dataset), plain(section.backbone)): [
            ComparedMethod(plain(row.method), None if row.of is None else plain(row.of))
            for row in section.rows
        ]
        for section in results.sections or ()
    }


def _as_they_come(runs: list[Run]) -> dict[tuple[str, str], list[ComparedMethod]]:
    places: dict[tuple[str, str], dict[str, ComparedMethod]] = {}
    for run in runs:
        rows = places.setdefault((run.dataset, run.backbone), {})
        rows.setdefault(run.method, ComparedMethod(run.method))
    return {place: list(rows.values()) for place, rows in places.items()}
