"""The steps of an epoch, one after the other: each as it is, or replayed as a CUDA graph."""

from collections.abc import Callable, Iterator
from typing import Protocol

from torch import Tensor, distributed

from kdzoo.data.pipeline import DataModule
from kdzoo.training.cuda_graph import GraphedWork, Inputs, Recorder
from kdzoo.training.step import TrainingStep
from kdzoo.training.whole_batch import gather_samples


class Steps(Protocol):
    """Takes the steps of epochs."""

    def epoch(self, epoch: int, start: int) -> Iterator[None]:
        """Take a step at each request, until the epoch has no more; ``start`` were taken before."""

    def forget(self) -> None:
        """The training's tensors are others now."""


class EagerSteps:
    """Every step runs as it is written."""

    def __init__(self, step: TrainingStep, data: DataModule) -> None:
        self._step = step
        self._data = data

    def epoch(self, epoch: int, start: int) -> Iterator[None]:
        method = self._step.method
        every = method.meta_every(method.config)
        batches = self._data.train_batches(epoch, method.views, start)
        for position, (x, y, index) in enumerate(batches, start):
            self._step(x, y, index)
            if every is not None and position % every == 0 and self._was_taken():
                self._meta_step(x, y)
            yield

    def _was_taken(self) -> bool:
        """Whether the last step counts; a look at it waits for the device."""
        return self._step.taken is None or bool(self._step.taken)

    def _meta_step(self, x: Tensor, y: Tensor) -> None:
        shares = self._data.shares
        if len(shares) == 1:
            self._step.meta_step(x, y)
            return
        x, y = gather_samples(x, shares, dim=-4), gather_samples(y, shares, dim=0)
        for changed in self._step.meta_step(x, y):
            distributed.broadcast(changed, src=0)

    def forget(self) -> None:
        pass


class GraphedSteps:
    """The step is one graph; with images that stay on the device, their augmentation is in it.

    Args:
        step: the step.
        data: the batches.
        recorder: records the graph.
        say: told, in a line, why there is none.
    """

    def __init__(
        self,
        step: TrainingStep,
        data: DataModule,
        recorder: Recorder,
        say: Callable[[str], None],
    ) -> None:
        self._step = step
        self._data = data
        self._inputs = Inputs()
        self._resident = data.resident_batches(step.method.views)
        self._graphed = GraphedWork("step", self._work, step.method, recorder, say, step.optimizer)

    def epoch(self, epoch: int, start: int) -> Iterator[None]:
        self._graphed.look()
        if self._resident is not None:
            self._resident.begin(epoch)
            for _ in range(start, self._data.steps_per_epoch):
                self._graphed()
                yield
            return
        for samples in self._data.train_batches(epoch, self._step.method.views, start):
            if self._inputs.take(*samples):
                self._graphed()
            else:
                self._step(*samples)
            yield

    def forget(self) -> None:
        self._graphed.forget()

    def _work(self) -> None:
        if self._resident is not None:
            self._step(*self._resident.batch(self._step.position))
        else:
            self._step(*self._inputs.batch)
