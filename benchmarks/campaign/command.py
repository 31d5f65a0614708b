"""kdzoo commands in forked processes, which have imported everything before they start.

A start of Python with torch takes seconds; a fork takes a fraction of one, and yet a command that
hangs, crashes the interpreter or is killed takes nothing else with it.
"""

import contextlib
import importlib
import io
import multiprocessing
import os
import resource
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

MEMORY = 16 * 2**30
"""Bytes of address space: a file that asks for more must not take the machine with it."""
LINES, CHARACTERS = 10, 2000
"""The longest message."""

forks = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Ended:
    """A command that has ended, by itself or not.

    Attributes:
        code: the exit code; None where there is none.
        out: what it wrote to stdout.
        err: what it wrote to stderr.
        crash: why it has no exit code, in words that equal crashes share.
    """

    code: int | None
    out: str = ""
    err: str = ""
    crash: str = ""

    @property
    def said(self) -> str:
        return self.out + self.err

    def fault(self) -> str:
        """What is wrong with this end of any command; empty if nothing is."""
        if self.code is None:
            return self.crash
        if self.code not in (0, 1, 2):
            return f"exit code {self.code}"
        if "Traceback (most recent call last)" in self.said:
            return "a traceback in the output"
        strange = sorted({c for c in self.said if not c.isprintable() and c not in "\n\r\t"})
        if strange:
            return f"unprintable characters in the output: {', '.join(map(ascii, strange[:3]))}"
        if self.code and not self.err.strip():
            return "refused without a message"
        if self.code and (len(self.err.splitlines()) > LINES or len(self.err) > CHARACTERS):
            return f"a message of more than {LINES} lines or {CHARACTERS} characters"
        return ""


def kdzoo(arguments: Sequence[str], folder: Path) -> Ended:
    """Run a command in this process, in a folder, with its output caught."""
    before = os.getcwd()
    os.chdir(folder)
    try:
        with _caught() as output:
            code, crash = _run(arguments)
    finally:
        os.chdir(before)
    out, err = output
    return Ended(code, out, err, crash)


def _run(arguments: Sequence[str]) -> tuple[int | None, str]:
    from kdzoo.cli import main

    sys.argv = ["kdzoo", *arguments]
    try:
        main()
    except SystemExit as end:
        return (end.code if isinstance(end.code, int) else 1 if end.code else 0), ""
    except BaseException as error:
        traceback.print_exc()
        return None, f"{type(error).__name__} in {_place(error)}"
    return 0, ""


def _place(error: BaseException) -> str:
    """The last line of kdzoo's own that it passed."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if f"{os.sep}kdzoo{os.sep}" in frame.filename] or frames
    path = Path(ours[-1].filename)
    return f"{path.parent.name}/{path.name} {ours[-1].name}"


@contextlib.contextmanager
def _caught() -> Iterator[list[str]]:
    """Catch what Python and what native code write; the two texts are there at the end."""
    texts: list[str] = []
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        streams = sys.stdout, sys.stderr
        kept = os.dup(1), os.dup(2)
        for stream in streams:
            stream.flush()
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
        # strict and lenient as the interpreter's own
        sys.stdout = io.TextIOWrapper(os.fdopen(os.dup(1), "wb"), "utf-8", "strict")
        sys.stderr = io.TextIOWrapper(
            os.fdopen(os.dup(2), "wb"), "utf-8", "backslashreplace", write_through=True
        )
        try:
            yield texts
        finally:
            for stream in (sys.stdout, sys.stderr):
                stream.close()
            sys.stdout, sys.stderr = streams
            for number, copy in enumerate(kept, start=1):
                os.dup2(copy, number)
                os.close(copy)
            for file in (out, err):
                file.seek(0)
                texts.append(file.read().decode("utf-8", "replace"))


_MOST = ("kdzoo.training.run", "kdzoo.training.evaluate_student", "kdzoo.report.write")
"""What imports most of what a run, an evaluation and a report need."""


@cache
def preload() -> None:
    """Import what a run, an evaluation and a report import, so that a fork has it.

    Only a process that has computed nothing may be forked by the campaign: threads of OpenMP and
    of autograd are lost in a fork, and what waits for them hangs.
    """
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    torch.set_num_threads(1)
    for name in _MOST:  # so that only the rest is imported twice
        importlib.import_module(name)
    before = set(sys.modules)
    ours, theirs = forks.Pipe()
    process = forks.Process(target=_imports, args=(theirs, before))
    process.start()
    for name in ours.recv():
        with contextlib.suppress(Exception):  # a module that cannot be imported by its name
            importlib.import_module(name)
    process.join()
    importlib.import_module("benchmarks.campaign.launcher")


def _imports(connection: Connection, before: set[str]) -> None:
    small = ["backbone=resnet8", "epochs=1", "dataset.train_subset=64", "batch_size=32"]
    with tempfile.TemporaryDirectory() as folder:
        kdzoo(["run", "method=independent", *small], Path(folder))
        for run in Path(folder).rglob("student.json"):
            kdzoo(["eval", str(run.parent)], Path(folder))
        kdzoo(["report", "runs"], Path(folder))
    connection.send([name for name in sys.modules if name not in before])


class Worker:
    """A forked process that is asked one thing after the other, and replaced when it is lost."""

    def __init__(self) -> None:
        preload()
        self._process: Any = None

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def kdzoo(self, arguments: Sequence[str], folder: Path, timeout: float = 60) -> Ended:
        """Run a command there; one that does not end in ``timeout`` seconds is killed."""
        return self.ask(kdzoo, arguments, folder, timeout=timeout)

    def ask(self, function: Callable[..., Any], *arguments: Any, timeout: float) -> Any:
        """What the function returns there, or an :class:`Ended` where the process was lost."""
        if self._process is None:
            self._connection, theirs = forks.Pipe()
            self._process = forks.Process(target=_serve, args=(theirs, self._connection))
            self._process.start()
            theirs.close()
        try:
            self._connection.send((function, arguments))
            if not self._connection.poll(timeout):
                self._end()
                return Ended(None, crash=f"no end after {timeout:.0f} s")
            return self._connection.recv()
        except (EOFError, ConnectionError):
            self._process.join()
            code = self._process.exitcode
            self._end()
            return Ended(None, crash=f"the interpreter ended with {code}")

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._connection.close()
            self._process = None


def _serve(connection: Connection, other_end: Connection) -> None:
    other_end.close()  # or the end of the one who asks would go unnoticed
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    with contextlib.suppress(EOFError, KeyboardInterrupt):  # Ctrl-C is for all of a terminal
        while True:
            function, arguments = connection.recv()
            connection.send(function(*arguments))
