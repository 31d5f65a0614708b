"""Carries out a bench: every run that is not finished, several at a time, a thread a slot.

It resumes what is unfinished, goes on past failures, and has its runs save and end on a signal that
asks it to end (Ctrl-C, preemption).
"""

from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from kdzoo.bench.board import Board, Entry, State
from kdzoo.bench.launchers.base import Launcher, LaunchError
from kdzoo.bench.matrix import Matrix, PlannedRun, same_run
from kdzoo.bench.view import View, choose_view
from kdzoo.compose import to_yaml
from kdzoo.config import RunConfig
from kdzoo.console import print_event
from kdzoo.errors import UserError
from kdzoo.files import make_folder, write_text
from kdzoo.home import expand_user
from kdzoo.registry import launchers
from kdzoo.training.build import prerequisites
from kdzoo.training.preemption import StopSignals

POLL = 0.2
"""Seconds between looks for a Ctrl-C."""


def run_bench(matrix: Matrix, console: Console) -> Board:
    """Carry out every run that is not finished, and go on past those that fail.

    Args:
        matrix: the spec and its runs.
        console: where the state of things is shown.

    Returns:
        where every run stands at the end.

    Raises:
        UserError: the launcher cannot work here, the folder cannot be written, or a run's data or
            network are not to be had.
        Stopped: a signal has ended the bench; its runs have been stopped too, and can go on.
    """
    spec = matrix.spec
    make_folder(expand_user(spec.out))
    board = Board(_entries(matrix))
    for entry in board.entries:
        if entry.message:
            line = f"again   {entry.run}: {entry.message}"
            print_event(console, line)
    open_runs = [entry.run.config for entry in board.entries if entry.state is not State.FINISHED]
    if not open_runs:
        return board
    launcher: Launcher = launchers.get(spec.launcher.name)(spec.launcher, spec.jobs, open_runs)
    view = choose_view(console, board)
    with view, ThreadPoolExecutor(len(board.entries)) as pool, StopSignals():
        pending: set[Future[None]] = set()
        said, workers = "", 0
        try:
            while pending or not workers:
                board.slots = launcher.slots
                line = f"{board.slots} at a time: {launcher.why}."
                if line != said:
                    print_event(console, line)
                    said = line
                for slot in range(workers, board.slots):
                    pending.add(pool.submit(_work, board, launcher, slot, view))
                workers = max(workers, board.slots)
                done, pending = wait(pending, POLL, FIRST_EXCEPTION)
                for future in done:
                    future.result()
                view.look()
        finally:
            board.stop()
            launcher.stop()
    return board


def _work(board: Board, launcher: Launcher, slot: int, view: View) -> None:
    """Carry out one run after the other, for as long as there is the slot."""
    while slot < launcher.slots and (entry := board.take()) is not None:
        view.changed(entry)
        try:
            _carry_out(entry, launcher, slot)
        except (UserError, OSError) as error:
            if board.stopped:
                board.put_back(entry)
            else:
                board.fail(entry, str(error))
        else:
            board.finish(entry)
        view.changed(entry)


def _carry_out(entry: Entry, launcher: Launcher, slot: int) -> None:
    config, folder = entry.run.config, entry.folder
    with folder.locked():
        folder.check(entry.run.identity)
        write_text(folder.config, to_yaml(config))
    launcher.carry_out(config, folder, [need.folder for need in entry.needs], slot)
    if not folder.is_finished:
        raise LaunchError("It ended without a result.")


def _entries(matrix: Matrix) -> list[Entry]:
    """The spec's runs, each after what it needs; a need may be one of the spec's own runs."""
    entries: dict[Path, Entry] = {}
    asked: dict[Path, PlannedRun] = {}
    for run in matrix.runs:
        twin = asked.setdefault(run.folder.path, run)
        if twin is not run:  # say, one data set under two paths
            raise UserError(same_run(twin, run))

    def add(run: PlannedRun) -> Entry:
        path = run.folder.path
        run = asked.get(path, run)
        if path not in entries:
            needs = tuple(add(_need(run, config)) for config in prerequisites(run.config).values())
            entries[path] = Entry(run, needs, in_tables=path in asked)
        return entries[path]

    for run in matrix.runs:
        add(run)
    return list(entries.values())


def _need(run: PlannedRun, config: RunConfig) -> PlannedRun:
    return replace(run, method=f"{run.method}: {config.method.name} first", config=config)
