"""The terminal, for text of any origin: what is printed is shown as it is, and never obeyed."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderableType, RenderHook
from rich.segment import Segment

from kdzoo.errors import printable

NO_BREAK = "\N{NO-BREAK SPACE}"


def make_console(
    *, file: IO[str] | None = None, stderr: bool = False, quiet: bool = False, **settings: Any
) -> Console:
    """A Rich console that takes no text for markup or an emoji, and shows what is invisible.

    Args:
        file: what is written to; by default stdout.
        stderr: write to stderr.
        quiet: print nothing.
        settings: further ones of Rich's.
    """
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


def prepare_streams() -> None:
    """Let stdout and stderr take any character, also where they are ASCII or closed."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115  # until the end
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


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
