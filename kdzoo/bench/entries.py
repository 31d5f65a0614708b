"""A bench's entries: the spec's runs and what they need, less what needs no training any more."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from kdzoo.bench.board import Entry
from kdzoo.bench.matrix import Matrix, PlannedRun, same_run
from kdzoo.config import RunConfig
from kdzoo.errors import UserError
from kdzoo.report.run_files import Run
from kdzoo.training.build import prerequisites


def entries_of(matrix: Matrix, kept: Sequence[Run | None]) -> list[Entry]:
    """The spec's runs, each with what it needs; a need may be one of the spec's own runs.

    Args:
        matrix: the spec and its runs.
        kept: for each of them, what is kept of it. That is its result and not its student, so it
            does for a table, and what another run needs is trained again.

    Raises:
        UserError: two of the runs are the same, or the data or network of one are not to be had.
    """
    entries: dict[Path, Entry] = {}
    asked: dict[Path, PlannedRun] = {}
    for run in matrix.runs:
        twin = asked.setdefault(run.folder.path, run)
        if twin is not run:  # say, one data set under two paths
            raise UserError(same_run(twin, run))
    kept_at = {
        run.folder.path: one
        for run, one in zip(matrix.runs, kept, strict=True)
        if one is not None and not run.is_finished
    }

    def add(run: PlannedRun, needed_by: PlannedRun | None = None) -> Entry:
        path = run.folder.path
        there = entries.get(path)
        if there is None or (there.kept is not None and needed_by is not None):
            entries[path] = make(asked.get(path, run), needed_by)
        return entries[path]

    def make(run: PlannedRun, needed_by: PlannedRun | None) -> Entry:
        path = run.folder.path
        in_tables, one = path in asked, kept_at.get(path)
        if one is not None and needed_by is None:
            return Entry(run, in_tables=in_tables, kept=one)
        user = None if kept_at and run.is_finished else run
        needs = [add(_need(run, config), user) for config in prerequisites(run.config).values()]
        why = f"{needed_by} needs its student, and only its figures are kept." if one else ""
        return Entry(run, tuple(needs), in_tables, message=why)

    for run in matrix.runs:
        add(run)
    return list(entries.values())


def _need(run: PlannedRun, config: RunConfig) -> PlannedRun:
    return replace(run, method=f"{run.method}: {config.method.name} first", config=config)
