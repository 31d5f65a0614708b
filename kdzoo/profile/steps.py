"""The steps of a trainer, one by one: some measured as a whole, some in parts, some traced."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from kdzoo.data.pipeline import Samples
from kdzoo.profile.instruments import Instruments
from kdzoo.profile.watch import Part, Watch
from kdzoo.training.tally import Tally
from kdzoo.training.trainer import Trainer

DATA = Part("data")


@dataclass(frozen=True)
class Look:
    """How one step is looked at.

    Attributes:
        watch: what is told of it.
        in_parts: whether it is told of the step's parts, or only of its beginning and its end.
    """

    watch: Watch
    in_parts: bool = False


def take_steps(trainer: Trainer, looks: Sequence[Look]) -> None:
    """Carry out a step for each look, epoch after epoch, in the trainer's own loop.

    What lies between two epochs is no part of a step.

    Args:
        trainer: trained by this; its place in the training stays at the beginning.
        looks: how each step is looked at.
    """
    steps = _Steps(trainer, looks)
    with steps.reading():
        try:
            while True:
                trainer.step = 0
                trainer.train_epoch(steps.done)
        except _EnoughError:
            return
        finally:
            steps.detach()


class _EnoughError(Exception):
    """All steps are done."""


class _Steps:
    def __init__(self, trainer: Trainer, looks: Sequence[Look]) -> None:
        self.trainer = trainer
        self.looks = list(looks)
        self.instruments: Instruments | None = None

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Tell the watches of reading data, too."""
        data = self.trainer.data
        train_batches = data.train_batches

        def watched(*args: Any, **kwargs: Any) -> Iterator[Samples]:
            self.begin()
            batches = iter(train_batches(*args, **kwargs))
            while True:
                look = self.looks[0]
                if look.in_parts:
                    look.watch.enter(DATA)
                try:
                    batch = next(batches)
                except StopIteration:
                    return
                finally:
                    if look.in_parts:
                        look.watch.leave()
                yield batch

        vars(data)["train_batches"] = watched
        try:
            yield
        finally:
            del vars(data)["train_batches"]

    def done(self, tally: Tally) -> None:
        """A step is done, and the next one begins."""
        self.looks.pop(0).watch.end()
        self.detach()
        if not self.looks:
            raise _EnoughError
        self.begin()

    def begin(self) -> None:
        self.detach()
        look = self.looks[0]
        if look.in_parts:
            self.instruments = Instruments(self.trainer, look.watch)
            self.instruments.attach()
        look.watch.begin()

    def detach(self) -> None:
        if self.instruments is not None:
            self.instruments.detach()
            self.instruments = None
