"""Runs that are killed, several times, and then run to their end.

A run dies at one of its file operations, which is when there is something to lose; at any moment
of its time; and, now and then, as a process of its own anywhere from the start of Python on.
"""

import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.campaign.command import Ended, forks, kdzoo, preload
from benchmarks.campaign.photos import make_photos
from benchmarks.campaign.run_files import figures, halves, names
from benchmarks.campaign.verdict import Verdict, gist

SIGKILL = -int(signal.SIGKILL)
PATIENCE = 300
"""Seconds after which a run counts as hanging."""
Dies = Callable[[int, str], bool]
"""Whether to die before an operation: its number, and what it is."""
SMALL = ("backbone=resnet8", "batch_size=64", "lr=0.02", "device=cpu", "precision=fp32")
DIGITS = (*SMALL, "dataset.train_subset=128", "epochs=3")
PHOTOS = (
    *SMALL,
    "method=independent",
    "dataset=imagefolder",
    "dataset.root=photos",
    "dataset.cache=cache",
    "dataset.workers=0",
    "epochs=3",
)


def cases(folder: Path, seed: int, count: int, only: int | None = None) -> Iterator[Verdict]:
    """Verdicts on runs that were killed ``count`` times in all, or the verdict on one of them.

    Args:
        folder: where the runs go.
        seed: what they are drawn from.
        count: of kills.
        only: the number of a run, to have it alone.
    """
    preload()
    works = _works(folder)
    number, landed = only or 0, 0
    while landed < count:
        verdict, kills = _case(folder, works[number % len(works)], seed, number)
        yield verdict
        if only is not None:
            return
        landed += kills
        number += 1


def _works(folder: Path) -> list["_Work"]:
    from kdzoo import registry

    runs = [(f"method={method}", *DIGITS) for method in registry.methods.names()]
    held_out = ("method=mbde", *DIGITS, "dataset.val_fraction=0.2", "training.eval_every=2")
    return [_Work(folder / f"whole-{i}", run) for i, run in enumerate([PHOTOS, held_out, *runs])]


@dataclass
class _Work:
    """A run, and what it comes to, in ``folder``, when nobody disturbs it."""

    folder: Path
    settings: tuple[str, ...]

    @property
    def command(self) -> list[str]:
        return ["run", *self.settings, "out=runs"]

    @property
    def name(self) -> str:
        return " ".join(setting for setting in self.settings if setting not in DIGITS)

    @cached_property
    def undisturbed(self) -> "_Outcome":
        place = _fresh(self.folder, self)
        started = time.perf_counter()
        end, trace = _watched(self.command, place)
        seconds = time.perf_counter() - started
        if end.code != 0:
            raise RuntimeError(f"kdzoo {' '.join(self.command)} fails by itself: {end.said}")
        return _Outcome(_all_figures(place), names(place), len(trace), seconds)


@dataclass(frozen=True)
class _Outcome:
    figures: dict[str, Any]
    files: set[str]
    operations: int
    seconds: float


def _case(folder: Path, work: _Work, seed: int, number: int) -> tuple[Verdict, int]:
    """A run that is killed up to four times, and how often it was."""
    whole = work.undisturbed
    random_ = random.Random(f"kills/{seed}/{number}")
    place = _fresh(folder / f"case-{number}", work)
    phases: list[str] = []
    faults: list[str] = []
    for _ in range(random_.randint(1, 4)):
        chance = random_.random()
        moment = random_.random()
        if chance < 0.7:
            phase = _kill_at(work.command, place, 1 + int(moment * whole.operations))
        elif chance < 0.97:
            phase = _kill_after(work.command, place, moment * whole.seconds)
        else:
            phase = _kill_process(work.command, place, moment * (whole.seconds + 6))
        if phase is None:  # it was at its end before
            break
        phases.append(phase)
        faults += [f"half a {name} under its own name" for name in halves(place)]
    end, _ = _watched(work.command, place)
    faults += _differences(end, place, whole)
    verdict = Verdict(
        number,
        f"{work.name} killed at: {'; '.join(phases) or 'no time'}",
        "faulty" if faults else "the same as undisturbed",
        tuple(dict.fromkeys(faults)),
        end.said,
        tuple(f"kill at {phase}" for phase in phases),
    )
    return verdict, len(phases)


def _differences(end: Ended, place: Path, whole: _Outcome) -> Iterator[str]:
    if end.fault():
        yield end.fault()
    elif end.code != 0:
        yield f"the run does not go on: {gist(end.err)}"
    else:
        found = _all_figures(place)
        for run, expected in whole.figures.items():
            for key, value in expected.items():
                if found.get(run, {}).get(key) != value:
                    yield f"another {key}"
        for name in sorted(names(place) - whole.files):
            yield f"left over: {_anonymous(Path(name).name)}"
        for name in sorted(whole.files - names(place)):
            yield f"missing: {_anonymous(Path(name).name)}"


def _all_figures(place: Path) -> dict[str, Any]:
    return {
        str(config.parent.relative_to(place)): figures(config.parent)
        for config in place.rglob("config.yaml")
    }


def _fresh(place: Path, work: _Work) -> Path:
    place.mkdir(parents=True)
    if work.settings is PHOTOS:
        make_photos(place / "photos")
    return place


def die_before(command: Sequence[str], place: Path, operation: str, time: int = 1) -> None:
    """Have a command killed just before it carries out an operation for that ``time``.

    Raises:
        RuntimeError: it came to its end without.
    """
    seen = Counter[str]()

    def now(_: int, line: str) -> bool:
        seen[line] += 1
        return seen[operation] == time

    end, trace = _watched(command, place, now)
    if end.code != SIGKILL:
        raise RuntimeError(f"No {operation} for the {time}. time: {end.said}; {trace}")


def _kill_at(command: Sequence[str], place: Path, operation: int) -> str | None:
    """Kill it just before that file operation."""
    end, trace = _watched(command, place, lambda number, _: number == operation)
    return f"before {trace[-1]}" if end.code == SIGKILL else None


def _kill_after(command: Sequence[str], place: Path, seconds: float) -> str | None:
    end, trace = _watched(command, place, patience=seconds)
    return f"some time after {trace[-1] if trace else 'start'}" if end.code == SIGKILL else None


def _kill_process(command: Sequence[str], place: Path, seconds: float) -> str | None:
    """Kill a process that starts from nothing, as a person's does."""
    process = subprocess.Popen(
        [sys.executable, "-m", "kdzoo", *command],
        cwd=place,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
        return None
    process.kill()
    process.wait()
    return "any time, a process of its own"


def _never(number: int, operation: str) -> bool:
    return False


def _watched(
    command: Sequence[str], place: Path, dies: Dies = _never, patience: float = PATIENCE
) -> tuple[Ended, list[str]]:
    """Run a command in a fork, and note its file operations in ``place``.

    Returns:
        its end, with ``code`` -9 if it was killed, and the operations.
    """
    trace = place.with_name(f"{place.name}.trace")
    trace.unlink(missing_ok=True)
    ours, theirs = forks.Pipe(duplex=False)
    process = forks.Process(target=_run_watched, args=(command, place, trace, dies, theirs))
    process.start()
    theirs.close()
    end = Ended(SIGKILL)
    try:
        if ours.poll(patience):
            end = ours.recv()
        elif patience == PATIENCE:
            end = Ended(None, crash=f"no end after {PATIENCE} s")
    except EOFError:
        pass
    process.kill()
    process.join()
    ours.close()
    lines = trace.read_text().splitlines() if trace.exists() else []
    trace.unlink(missing_ok=True)
    return end, lines


def _run_watched(
    command: Sequence[str], place: Path, trace: Path, dies: Dies, connection: Any
) -> None:
    descriptor = os.open(trace, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    done = 0

    def note(operation: str, path: object) -> None:
        nonlocal done
        if not isinstance(path, str | bytes | os.PathLike):
            return
        absolute = place / os.fsdecode(path)
        if not absolute.is_relative_to(place) or absolute == place:
            return
        line = f"{operation} {_anonymous(absolute.name)}"
        os.write(descriptor, f"{line}\n".encode())
        done += 1
        if dies(done, line):
            os.kill(os.getpid(), signal.SIGKILL)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _OPERATIONS and (event != "open" or arguments[2] & _WRITES):
            note(event.removeprefix("os."), arguments[_OPERATIONS[event]])

    sync = os.fsync

    def noted_sync(file: Any) -> None:
        name = Path(f"/proc/self/fd/{file if isinstance(file, int) else file.fileno()}")
        note("fsync", name.readlink() if name.is_symlink() else place / "a file")
        sync(file)

    os.fsync = noted_sync  # the one operation that Python does not announce
    sys.addaudithook(hook)
    connection.send(kdzoo(command, place))


_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_OPERATIONS = {
    "open": 0,
    "os.rename": 1,
    "os.remove": 0,
    "os.mkdir": 0,
    "os.rmdir": 0,
    "os.chmod": 0,
}
"""Audit events, and which of their arguments is the path that they change."""


def _anonymous(name: str) -> str:
    """A name without what is random in it."""
    name = re.sub(r"[0-9a-f]{32}", "KEY", re.sub(r"(seed\d+)-[0-9a-f]+", r"\1", name))
    return re.sub(r"(^|/)\.([\w.]+)\.[\w-]{8}$", r"\1.\2.*", re.sub(r"\.\d+(/|$)", r".PID\1", name))
