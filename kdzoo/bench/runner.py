"""Carries out a bench: every run that is not finished, several at a time, a thread a slot.

It resumes what is unfinished, goes on past failures, and has its runs save and end on a signal that
asks it to end (Ctrl-C, preemption).
"""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait

from rich.console import Console

from kdzoo.bench.board import OPEN, Board, Entry, State
from kdzoo.bench.entries import entries_of
from kdzoo.bench.kept import nothing_yet
from kdzoo.bench.launchers.base import Launcher, LaunchError
from kdzoo.bench.match_kept import Matches, match_kept
from kdzoo.bench.matrix import Matrix
from kdzoo.bench.view import View, choose_view
from kdzoo.compose import to_yaml
from kdzoo.console import print_event
from kdzoo.errors import UserError
from kdzoo.files import make_folder, write_text
from kdzoo.home import expand_user
from kdzoo.registry import launchers
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
    matches = match_kept(matrix.kept, matrix.runs, [run.identity for run in matrix.runs])
    board = Board(entries_of(matrix, matches.found))
    for line in _about_kept(matrix, matches, board):
        print_event(console, line)
    for entry in board.entries:
        if entry.message and entry.state is State.WAITING:
            line = f"again   {entry.run}: {entry.message}"
            print_event(console, line)
    open_runs = [entry.run.config for entry in board.entries if entry.state in OPEN]
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


def _about_kept(matrix: Matrix, matches: Matches, board: Board) -> Iterator[str]:
    """What is kept of the spec's runs, and what else is."""
    counted = Counter(entry.kept.folder for entry in board.entries if entry.kept)
    unmatched = Counter(one.folder for one in matches.left_out if one.state == "unmatched")
    for file in matrix.kept.files:
        if file in matrix.kept.unwritten:
            yield nothing_yet(file)
            continue
        yield f"{counted[file]} of {len(matrix.runs)} runs are kept in {file}."
        if unmatched[file]:
            yield f"For {unmatched[file]} of the runs in {file}, this spec has no place."
    for one in (*matrix.kept.left_out, *matches.left_out):
        if one.state != "unmatched":
            yield f"{one.folder}: {one.reason}"
