"""The status of every run of a bench, and claims (file locks) that keep two benches off one run.

A board is shared by the threads that carry the runs out and by the display.
"""

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

from kdzoo.bench.matrix import PlannedRun
from kdzoo.bench.progress import Progress, read_progress
from kdzoo.errors import UnreadableError, UserError
from kdzoo.files import Lock, try_lock
from kdzoo.report.run_files import Run
from kdzoo.training.run_folder import RunFolder

RECHECK = 1.0
"""Seconds between looks at the runs that another bench is at work on."""


class Claim:
    """A bench's claim on a run, kept from before the run starts until its outcome is noted.

    It is free again when the bench has died. Its run may live on for a while then,
    and still holds the run folder itself, which counts as well.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._lock: Lock | None = None

    def take(self) -> bool:
        """Whether the run is ours now, and nobody is at work on it.

        Raises:
            UserError: the folder cannot be written.
        """
        self._lock = try_lock(self._folder.path / ".bench.lock")
        if self._lock is not None and self._is_at_work():
            self.give_up()
        return self._lock is not None

    def give_up(self) -> None:
        """Let others have it."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _is_at_work(self) -> bool:
        try:
            with self._folder.locked():
                return False
        except UserError:
            return True


class State(Enum):
    """Where a run stands."""

    WAITING = "waiting"
    ELSEWHERE = "elsewhere"  # another process is at work on it
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"


OPEN = (State.WAITING, State.ELSEWHERE)


@dataclass(eq=False)
class Entry:
    """One run on the board.

    Attributes:
        run: what it is, and where.
        needs: runs that have to be finished first, such as its teacher's.
        in_tables: whether the spec asks for it; a teacher is only needed.
        kept: the finished run, where there is no folder of it but a ``results.json`` that keeps it.
        message: why it failed, or is carried out again.
        started: when this bench began it, on the monotonic clock.
        trained_before: seconds of training that it had behind it then.
        overhead: seconds between its beginning and its end that were no training of its epochs:
            starting a process, reading data; None unless this bench carried it out.
    """

    run: PlannedRun
    needs: tuple["Entry", ...] = ()
    in_tables: bool = True
    kept: Run | None = None
    state: State = State.WAITING
    message: str = ""
    started: float = 0.0
    trained_before: float = 0.0
    overhead: float | None = None

    @property
    def folder(self) -> RunFolder:
        return self.run.folder

    @cached_property
    def claim(self) -> Claim:
        return Claim(self.folder)

    @cached_property
    def outcome(self) -> Progress:
        """What the run has reached, once it is finished; read once."""
        if self.kept is not None:
            result = self.kept.result
            return Progress(result.epochs, result.last.student.top1, result.seconds)
        return read_progress(self.folder)


class Board:
    """The runs of a bench, in the order in which they are to be taken.

    Args:
        entries: every run after those that it needs.

    Attributes:
        slots: how many are carried out at a time, at present.
    """

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = list(entries)
        self.stopped = False
        self.slots = 1
        self._changed = threading.Condition()
        for entry in self.entries:
            if entry.kept is not None:
                entry.state = State.FINISHED
                continue
            try:
                why = entry.run.why_unfinished()
            except UserError as error:
                entry.state, entry.message = State.FAILED, str(error)
                continue
            entry.state = State.FINISHED if why is None else State.WAITING
            entry.message = why or entry.message
        self.found_finished = self.count(State.FINISHED)

    def count(self, *states: State) -> int:
        """How many of the spec's runs are in one of those states."""
        return sum(entry.in_tables and entry.state in states for entry in self.entries)

    def take(self) -> Entry | None:
        """The next run to carry out, claimed; waits while there may be one later.

        Returns:
            None once there is nothing more to do, or the bench is stopped.
        """
        with self._changed:
            while not self.stopped and any(entry.state in OPEN for entry in self.entries):
                for entry in self.entries:
                    if entry.state in OPEN and self._try(entry):
                        return entry
                self._changed.wait(RECHECK)
        return None

    def finish(self, entry: Entry) -> None:
        """The run is finished."""
        trained = entry.outcome.seconds - entry.trained_before
        entry.overhead = max(0.0, time.monotonic() - entry.started - trained)
        self._settle(entry, State.FINISHED)

    def fail(self, entry: Entry, message: str) -> None:
        """The run failed; the bench goes on."""
        with suppress(UserError):  # where even that cannot be written, the bench still tells
            entry.folder.record_failure(message)
        self._settle(entry, State.FAILED, message)

    def put_back(self, entry: Entry) -> None:
        """The run was stopped, and can go on another time."""
        self._settle(entry, State.WAITING)

    def stop(self) -> None:
        """Hand out nothing more."""
        with self._changed:
            self.stopped = True
            self._changed.notify_all()

    def _try(self, entry: Entry) -> bool:
        """Claim a run whose needs are met; note it where that is not possible."""
        failed = [need for need in entry.needs if need.state is State.FAILED]
        if failed:
            entry.state = State.FAILED
            entry.message = f"What it builds on failed: {failed[0].folder.path}"
            return False
        if any(need.state is not State.FINISHED for need in entry.needs):
            return False
        try:
            if not entry.claim.take():
                entry.state = State.ELSEWHERE
                return False
            entry.folder.forget_failure()
        except PermissionError as error:
            self._refuse(entry, str(UnreadableError(entry.folder.path, error)))
            return False
        except (UserError, OSError) as error:
            self._refuse(entry, str(error))
            return False
        if entry.run.is_finished:  # another bench was faster
            entry.claim.give_up()
            entry.state = State.FINISHED
            return False
        entry.state, entry.started, entry.message = State.RUNNING, time.monotonic(), ""
        entry.trained_before = read_progress(entry.folder).seconds
        return True

    def _refuse(self, entry: Entry, message: str) -> None:
        entry.claim.give_up()
        entry.state, entry.message = State.FAILED, message

    def _settle(self, entry: Entry, state: State, message: str = "") -> None:
        with self._changed:
            entry.state, entry.message = state, message
            entry.claim.give_up()
            self._changed.notify_all()
