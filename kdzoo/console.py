"""The terminal, for text of any origin: what is printed is shown as it is, and never obeyed."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import wrap
from typing import IO, Any, TextIO

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderableType, RenderHook
from rich.segment import Segment

from kdzoo.errors import UserError, in_line, printable

NO_BREAK = "\N{NO-BREAK SPACE}"


def make_console(
    *, file: IO[str] | None = None, stderr: bool = False, quiet: bool = False, **settings: Any
) -> Console:
    """A Rich console that takes no text for markup or an emoji, and shows what is invisible.

    Where NO_COLOR is set, it prints text without any style: Rich itself would leave bold and dim.

    Args:
        file: what is written to; by default stdout.
        stderr: write to stderr.
        quiet: print nothing.
        settings: further ones of Rich's.
    """
    if colourless():
        settings.setdefault("color_system", None)
    for name in ("COLUMNS", "LINES"):  # of who has no terminal; Rich and Typer would print nothing
        if os.environ.get(name) == "0":
            del os.environ[name]
    console = Console(
        file=file,
        stderr=stderr,
        quiet=quiet,
        markup=False,
        emoji=False,
        highlight=False,
        **settings,
    )
    console.push_render_hook(_Printable())
    return console


def colourless() -> bool:
    """Whether a person wants no escape codes for styles (https://no-color.org)."""
    return bool(os.environ.get("NO_COLOR"))


def print_line(console: Console, line: str) -> None:
    """Print one line whatever is in it, as long as it is: a path or a command to be copied."""
    console.print(in_line(line), soft_wrap=True)


def print_wrapped(console: Console, sentence: str) -> None:
    """Print a sentence in lines that fit, broken at spaces alone: a path in it stays whole."""
    parts = wrap(in_line(sentence), console.width, break_long_words=False, break_on_hyphens=False)
    console.print("\n".join(parts), soft_wrap=True)


def print_event(console: Console, line: str) -> None:
    """Print what has happened, or figures: wrapped where a person watches, a line in a log."""
    if console.is_terminal:
        print_wrapped(console, line)
    else:
        print_line(console, line)


class Lasting:
    """A text stream that outlives its reader: what it cannot write is lost, and nothing else.

    A pipe that is closed, a terminal that is gone and a full disk must not end a training.

    Attributes:
        failure: the last error that lost something a reader may wait for; one who closes a pipe
            or a terminal waits for nothing.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.failure: OSError | None = None

    def write(self, text: str) -> int:
        with self._noted():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._noted():
            self._stream.flush()

    @contextmanager
    def _noted(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EIO):
                self.failure = error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def prepare_streams() -> None:
    """Let stdout and stderr take any character, also where they are ASCII, closed or full."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            stream = Path(os.devnull).open("w")  # noqa: SIM115  # until the end
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
        setattr(sys, name, stream if isinstance(stream, Lasting) else Lasting(stream))


class OutputError(UserError):
    """The command did its work, and what it printed is lost."""

    exit_code = 1


def check_output() -> None:
    """Make sure that stdout has all that was written to it.

    Raises:
        OutputError: it has not, say for a full disk.
    """
    sys.stdout.flush()
    failure = getattr(sys.stdout, "failure", None)
    if failure is not None:
        raise OutputError(
            f"stdout did not take all of the output: {failure.strerror}. The command itself came "
            "to its end."
        )


class _Printable(RenderHook):
    """Replaces control characters in all text; Rich's own are kept apart from it."""

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return [_Shown(renderable) for renderable in renderables]


class _Shown:
    def __init__(self, renderable: RenderableType) -> None:
        self.renderable = renderable

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        for segment in console.render(self.renderable, options):
            if segment.control:
                yield segment
            else:
                # Python counts the space that holds figures together among the invisible.
                text = NO_BREAK.join(map(printable, segment.text.split(NO_BREAK)))
                yield Segment(text, segment.style)
