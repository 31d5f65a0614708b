"""What a person sees of a run: a progress bar with accuracies and time left (ETA), or log lines."""

import logging
import time
from types import TracebackType
from typing import Any, Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from kdzoo.console import print_event
from kdzoo.errors import in_line
from kdzoo.training.tally import JUDGED, Tally

logger = logging.getLogger("kdzoo")

REFRESH = 1.0
"""Seconds between looks at the device's sums; each look waits for the device once."""


class Display(Protocol):
    """Shows a run; used as a context manager around the training."""

    def __enter__(self) -> "Display": ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    def say(self, line: str) -> None:
        """A line that stays."""

    def start(self, total_steps: int, done: int) -> None:
        """The training begins, or goes on after ``done`` steps."""

    def step(self, tally: Tally) -> None:
        """A step is done."""

    def epoch(self, record: dict[str, Any], epochs: int) -> None:
        """An epoch is done and evaluated."""


def choose_display(console: Console, quiet: bool = False) -> Display:
    """A bar where someone watches a terminal, lines elsewhere, or nothing."""
    if quiet:
        return Silent()
    return Bar(console) if console.is_terminal else Lines(console)


class Silent:
    """Shows nothing."""

    def __enter__(self) -> "Silent":
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def say(self, line: str) -> None:
        pass

    def start(self, total_steps: int, done: int) -> None:
        pass

    def step(self, tally: Tally) -> None:
        pass

    def epoch(self, record: dict[str, Any], epochs: int) -> None:
        pass


class Logged(Silent):
    """Shows nothing; what a run says goes to the log ``kdzoo``.

    Attributes:
        trained: whether there was anything to train.
    """

    def __init__(self) -> None:
        self.trained = False

    def say(self, line: str) -> None:
        logger.info(in_line(line))

    def start(self, total_steps: int, done: int) -> None:
        self.trained = True


class Lines(Silent):
    """A plain line an epoch."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def __enter__(self) -> "Lines":
        return self

    def say(self, line: str) -> None:
        print_event(self.console, line)

    def epoch(self, record: dict[str, Any], epochs: int) -> None:
        self.say(describe_epoch(record, epochs))


class Bar(Lines):
    """A progress bar over all steps, with the accuracy so far and the time left."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=16),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            TextColumn("[dim]left"),
            console=console,
            transient=True,
        )
        self.task = self.progress.add_task("starting", total=None)
        self.looked = time.monotonic()

    def __enter__(self) -> "Bar":
        self.progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.progress.stop()

    def start(self, total_steps: int, done: int) -> None:
        self.progress.reset(self.task, total=total_steps, completed=done, description="training")

    def step(self, tally: Tally) -> None:
        self.progress.advance(self.task)
        if time.monotonic() - self.looked >= REFRESH:
            now = tally.compute()
            accuracies = "  ".join(
                f"{name} {now[f'{name}_top1']:.1f} %" for name in JUDGED if f"{name}_top1" in now
            )
            self.progress.update(self.task, description=f"training: {accuracies}")
            self.looked = time.monotonic()


def describe_epoch(record: dict[str, Any], epochs: int) -> str:
    """One line about an epoch, the most wanted first."""
    parts = [f"epoch {record['epoch']:>{len(str(epochs))}}/{epochs}"]
    if judged := record.get("eval"):
        accuracies = [f"{name} {judged[name]['top1']:.2f} %" for name in JUDGED if name in judged]
        parts.append(f"{judged['split']}: {'  '.join(accuracies)}")
    terms = [
        f"{name} {value:.3g}"
        for name, value in record["train"].items()
        if name != "loss" and not name.endswith("_top1")
    ]
    parts.append(f"{record['seconds']:.1f} s")
    parts.append(f"loss {record['train']['loss']:.4g} = {' + '.join(terms)}")
    return "  ".join(parts)
