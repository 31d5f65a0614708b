"""Ways for a command to be killed: at a file operation, after a while, or as a whole process."""

import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.campaign.command import Ended, forks, kdzoo

SIGKILL = -int(signal.SIGKILL)
PATIENCE = 300
"""Seconds after which a run counts as hanging."""
Dies = Callable[[int, str], bool]
"""Whether to die before an operation: its number, and what it is."""


def die_before(command: Sequence[str], place: Path, operation: str, time: int = 1) -> None:
    """Have a command killed just before it carries out an operation for that ``time``.

    Raises:
        RuntimeError: it came to its end without.
    """
    seen = Counter[str]()

    def now(_: int, line: str) -> bool:
        seen[line] += 1
        return seen[operation] == time

    end, trace = watched(command, place, now)
    if end.code != SIGKILL:
        raise RuntimeError(f"No {operation} for the {time}. time: {end.said}; {trace}")


def kill_at(command: Sequence[str], place: Path, operation: int) -> str | None:
    """Kill it just before that file operation."""
    end, trace = watched(command, place, lambda number, _: number == operation)
    return f"before {trace[-1]}" if end.code == SIGKILL else None


def kill_after(command: Sequence[str], place: Path, seconds: float) -> str | None:
    end, trace = watched(command, place, patience=seconds)
    return f"some time after {trace[-1] if trace else 'start'}" if end.code == SIGKILL else None


def kill_process(command: Sequence[str], place: Path, seconds: float) -> str | None:
    """Kill a process that starts from nothing, as a person's does."""
    process = subprocess.Popen(
        [sys.executable, "-m", "kdzoo", *command],
        cwd=place,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        process.wait(seconds)
        return None
    except subprocess.TimeoutExpired:
        return "any time, a process of its own"
    finally:
        process.kill()
        process.wait()


def _never(number: int, operation: str) -> bool:
    return False


def watched(
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
        process.join()
        if process.exitcode != SIGKILL:
            end = Ended(None, crash=f"the interpreter ended with {process.exitcode}")
    finally:
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
        line = f"{operation} {anonymous(absolute.name)}"
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

    os.fsync = noted_sync  # type: ignore[assignment] # the one operation that Python does not announce
    sys.addaudithook(hook)
    connection.send(kdzoo(command, place))


_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_OPERATIONS = {
    "open": 0,
    "os.rename": 1,
    "os.link": 1,
    "os.symlink": 1,
    "os.truncate": 0,
    "os.remove": 0,
    "os.mkdir": 0,
    "os.rmdir": 0,
    "os.chmod": 0,
}
"""Audit events, and which of their arguments is the path that they change."""


def anonymous(name: str) -> str:
    """A file's name without what is random in it."""
    name = re.sub(r"[0-9a-f]{32}", "KEY", re.sub(r"(seed\d+)-[0-9a-f]+", r"\1", name))
    return re.sub(r"(^|/)\.([\w.]+)\.[\w-]{8}$", r"\1.\2.*", re.sub(r"\.\d+(/|$)", r".PID\1", name))
