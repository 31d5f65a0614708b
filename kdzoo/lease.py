"""A sign of life in a file (lease, heartbeat), for what file locks do not reach: other machines.

Who holds it renews it every :data:`BEAT` seconds. A holder on this machine is looked up among its
processes; one on another machine is taken for dead once nothing has been renewed for
:data:`EXPIRES` seconds by the clock of who looks. No two clocks are compared.
"""

import json
import os
import platform
import threading
import time
import uuid
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import psutil

BEAT = 10.0
"""Seconds from one sign of life to the next."""
EXPIRES = 60.0
"""Seconds without one after which the holder is taken for dead."""
SETTLE = 1.0
"""Seconds in which two that take over from the same dead holder see which of them was the last."""

_looked: dict[Path, tuple[bytes, float]] = {}
"""What was read of others' leases, and since when it has been the same."""


class Lease:
    """Held from :meth:`take` to :meth:`release`; a thread renews it.

    Attributes:
        path: the file; it is removed in the end.
        lost: whether somebody else has taken it over, because it could not be renewed in time.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lost = False
        self._beats = 0
        self._token = uuid.uuid4().hex
        self._over = threading.Event()

    @classmethod
    def take(cls, path: Path) -> "Lease | None":
        """A lease of one's own; None while another holder is, or may be, alive.

        Raises:
            OSError: the file cannot be written.
        """
        lease = cls(path)
        return lease if lease._is_taken() else None

    def release(self) -> None:
        """Let others have it; may be called from any thread, and twice."""
        self._over.set()
        with suppress(OSError):
            if self._is_ours():
                self.path.unlink()

    def _is_taken(self) -> bool:
        try:
            handle = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        except FileExistsError:
            if not is_dead(self.path):
                return False
            other = self.path.with_name(f"{self.path.name}.{self._token}")
            other.write_bytes(self._content())
            other.replace(self.path)
            time.sleep(SETTLE)
            if not self._is_ours():
                return False
        else:
            with os.fdopen(handle, "wb") as file:
                file.write(self._content())
        threading.Thread(target=self._renew, name=f"lease of {self.path}", daemon=True).start()
        return True

    def _renew(self) -> None:
        while not self._over.wait(BEAT):
            with suppress(OSError):  # a server that is away for a while
                if not self._is_ours():
                    self.lost = not self._over.is_set()
                    return
                self._beats += 1
                # in place, by as many bytes: a new file could take that of another holder away
                with self.path.open("r+b") as file:
                    file.write(self._content())

    def _is_ours(self) -> bool:
        return _read(self.path).get("token") == self._token

    def _content(self) -> bytes:
        holder = {"token": self._token, "beat": f"{self._beats:012}", **this_process()._asdict()}
        return json.dumps(holder).encode()


class Process(NamedTuple):
    """A process, so that it is not taken for another one."""

    machine: str
    host: str
    pid: int
    since_boot: float


@cache
def _machine() -> str:
    """Tells machines apart, and containers whose processes do not see each other."""
    parts = [platform.node()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)


def this_process() -> Process:
    """The one that asks."""
    return Process(_machine(), platform.node(), os.getpid(), _since_boot(psutil.Process()))


def _since_boot(process: psutil.Process) -> float:
    """When a process began, in seconds that a clock which is set does not change.

    Linux counts from the start of the machine, to which psutil adds what the clock says of that
    now; other systems note the time.
    """
    return process.create_time() - (psutil.boot_time() if psutil.LINUX else 0.0)


def holder_of(path: Path) -> str:
    """Who holds a lease, in words; empty where nobody says so."""
    found = _read(path)
    return f"process {found['pid']} on {found['host']}" if {"pid", "host"} <= set(found) else ""


def is_elsewhere(path: Path) -> bool:
    """Whether a lease is of another machine, so that only time tells whether its holder lives."""
    return _read(path).get("machine") != _machine()


def is_dead(path: Path) -> bool:
    """Whether the holder of a lease is known to be dead; it may take several looks to know."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return False  # let go of in this moment
    found = _parse(content)
    if found.get("machine") == _machine():
        _looked.pop(path, None)
        return not _is_running(found)
    before, since = _looked.get(path, (b"", 0.0))
    if before != content:
        _looked[path] = content, time.monotonic()
        return False
    return time.monotonic() - since > EXPIRES


def _is_running(found: dict[str, Any]) -> bool:
    try:
        since_boot = _since_boot(psutil.Process(int(found["pid"])))
    except (psutil.NoSuchProcess, LookupError, TypeError, ValueError):
        return False
    except psutil.Error:  # there is one, of which no more is told
        return True
    return abs(since_boot - float(found.get("since_boot", since_boot))) < 2.0


def _read(path: Path) -> dict[str, Any]:
    try:
        return _parse(path.read_bytes())
    except FileNotFoundError:
        return {}


def _parse(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except ValueError:  # half written
        return {}
    return found if isinstance(found, dict) else {}
