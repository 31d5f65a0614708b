"""What is told, part by part, how a step goes; the stopwatch is one that keeps the time."""

import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.graph import Node

Phase = Literal["forward", "backward"]

REST = "other"
"""The part that all goes to which no part has."""

ACCUMULATE = 2**64 - 1
"""The sequence number of nodes that keep a parameter's gradient: no operation made them."""


@dataclass(eq=False)
class Part:
    """A part of a step; which one may turn out later, as for an operation of a loss."""

    name: str


class Watch:
    """Is told when a step enters a part and leaves it. Parts may lie within each other.

    The part None is work of the measuring itself, which is no part of the step.
    """

    def begin(self) -> None:
        """A step begins."""

    def end(self) -> None:
        """The step is done."""

    def enter(self, part: Part | None) -> None:
        """What follows belongs to a part."""

    def leave(self) -> None:
        """What follows belongs again to what lies around that part."""

    @contextmanager
    def backward(self, loss: Tensor) -> Iterator[None]:
        """Around the backward pass from ``loss``."""
        self.enter(Part("backward"))
        yield
        self.leave()


class Stopwatch(Watch):
    """Keeps the time of each part, without what lies within it: the times add up to the step's.

    On CUDA the times are the device's: events in the stream that the kernels are in, so that no
    part waits for another. The backward pass of a part is told by the sequence numbers that
    autograd gives to its nodes in the forward pass.

    Args:
        device: where the step is carried out.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.steps: list[list[tuple[Any, Part | None, Phase]]] = []
        self._marks: list[tuple[Any, Part | None, Phase]] = []
        self._open: list[Part | None] = []
        self._made: list[tuple[int, Part]] = []

    def begin(self) -> None:
        self._marks, self._made, self._open = [], [], []
        self.enter(Part(REST))

    def end(self) -> None:
        self._mark(None)
        self.steps.append(self._marks)

    def enter(self, part: Part | None) -> None:
        self._open.append(part)
        self._switch(part)

    def leave(self) -> None:
        self._open.pop()
        self._switch(self._open[-1])

    @contextmanager
    def backward(self, loss: Tensor) -> Iterator[None]:
        self._mark(None)  # the walk through the graph is no part of the step
        present: list[Part] = []

        def run(part: Part) -> None:
            if not present or present[-1] is not part:
                present[:] = [part]
                self._mark(part, "backward")

        numbers = [number for number, _ in self._made]
        for node in _nodes(loss):
            number = node._sequence_nr()
            if number != ACCUMULATE:  # those run just after the node that made the gradient
                at = bisect_right(numbers, number) - 1
                part = self._made[max(at, 0)][1]
                node.register_prehook(lambda gradients, part=part: run(part))
        self._mark(self._open[-1], "backward")
        yield
        self._mark(self._open[-1])

    def times(self) -> list[Counter[tuple[str, Phase]]]:
        """The milliseconds of each part and phase in each step."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return [self._times_of(marks) for marks in self.steps]

    def _times_of(self, marks: list[tuple[Any, Part | None, Phase]]) -> Counter[tuple[str, Phase]]:
        times: Counter[tuple[str, Phase]] = Counter()
        for (start, part, phase), (end, _, _) in pairwise(marks):
            if part is not None:
                between = start.elapsed_time(end) if self.device.type == "cuda" else end - start
                times[part.name, phase] += between
        return times

    def _switch(self, part: Part | None) -> None:
        if part is not None:
            self._made.append((torch.autograd._get_sequence_nr(), part))
        self._mark(part)

    def _mark(self, part: Part | None, phase: Phase = "forward") -> None:
        """What follows is a part's, or is not counted."""
        self._marks.append((self._now(), part, phase))

    def _now(self) -> Any:
        if self.device.type == "cuda":
            event = torch.cuda.Event(enable_timing=True)
            event.record(torch.cuda.current_stream(self.device))
            return event
        if self.device.type == "mps":
            torch.mps.synchronize()
        return 1000 * time.perf_counter()


class Labels(Watch):
    """Names the parts in the trace of a torch.profiler."""

    def __init__(self) -> None:
        self._open: list[torch.profiler.record_function] = []

    def begin(self) -> None:
        while self._open:
            self.leave()
        self.enter(Part("step"))

    def end(self) -> None:
        self.leave()

    def enter(self, part: Part | None) -> None:
        label = torch.profiler.record_function(part.name if part else "measuring")
        label.__enter__()
        self._open.append(label)

    def leave(self) -> None:
        self._open.pop().__exit__(None, None, None)


class SavedTensors(Watch):
    """Counts the bytes that each part saves for the backward pass: its activations.

    A tensor that several operations save counts once, for the first; parameters and buffers, which
    are there anyway, do not count.

    Args:
        held: what is there anyway.
    """

    def __init__(self, held: list[Tensor]) -> None:
        self.bytes: Counter[str] = Counter()
        self._held = {_memory(tensor) for tensor in held}
        self._open: list[Part | None] = []
        self._saved: dict[int, tuple[Part, Tensor]] = {}
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, lambda tensor: tensor)
        self._entered = False

    def begin(self) -> None:
        self._open, self._saved = [Part(REST)], {}
        if not self._entered:
            self._hooks.__enter__()
            self._entered = True

    def end(self) -> None:
        if self._entered:
            self._hooks.__exit__(None, None, None)
            self._entered = False

    def enter(self, part: Part | None) -> None:
        self._open.append(part)

    def leave(self) -> None:
        self._open.pop()

    @contextmanager
    def backward(self, loss: Tensor) -> Iterator[None]:
        self.end()
        for part, tensor in self._saved.values():
            self.bytes[part.name] += tensor.untyped_storage().nbytes()
        self._saved.clear()
        yield

    def _pack(self, tensor: Tensor) -> Tensor:
        memory = _memory(tensor)
        part = self._open[-1]
        if part is not None and memory not in self._held:
            self._saved.setdefault(memory, (part, tensor.detach()))
        # not the tensor itself, which may hold the node that is to hold it
        return tensor.detach().requires_grad_(tensor.requires_grad)


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _nodes(loss: Tensor) -> Iterator[Node]:
    """Every node of the graph that the backward pass from ``loss`` goes through."""
    waiting = [loss.grad_fn]
    seen: set[Any] = set()
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            yield node
            waiting += [other for other, _ in node.next_functions]
