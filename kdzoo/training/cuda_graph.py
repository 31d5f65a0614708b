"""Work on a GPU as one CUDA graph: recorded once, then replayed with nothing on the host.

A replay repeats the kernels on the same memory and runs no Python. So a step, or the evaluation of
a batch, is only recorded after it was seen to wait for nothing and to leave nothing on the host
that the next one would need.
"""

import random
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from kdzoo.peers.streams import PRIORITY

WARM_UP = 3
"""Times before the recording: torch chooses kernels, compiles and allocates in the first ones."""

WAITS = "called a synchronizing CUDA operation"
"""What torch warns of, in its debug mode for synchronisation."""

EXPECTED = ("debug mode is a prototype", "The AccumulateGrad node's stream does not match")
"""What torch warns of besides: a weight may have gradients from the streams of several peers."""

Work = Callable[[], None]
Plain = (bool, int, float, complex, str, bytes, type(None))


class Recorder(Protocol):
    """What carries out and records work of a device."""

    def run(self, work: Work) -> list[str]:
        """Carry work out as it will be recorded; returns what in it waited for the device."""

    def record(self, work: Work) -> Work:
        """Record work without carrying it out; returns what does so."""


class CudaRecorder:
    """Records CUDA graphs, from a stream of its own.

    Args:
        device: whose work it is.
    """

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device, priority=PRIORITY - 1)

    def run(self, work: Work) -> list[str]:
        current = torch.cuda.current_stream()
        self._stream.wait_stream(current)
        with warnings.catch_warnings(record=True) as caught, torch.cuda.stream(self._stream):
            warnings.simplefilter("always")
            before = torch.cuda.get_sync_debug_mode()
            torch.cuda.set_sync_debug_mode("warn")
            try:
                work()
            finally:
                torch.cuda.set_sync_debug_mode(before)
        current.wait_stream(self._stream)
        waits = [one for one in caught if WAITS in str(one.message)]
        for other in caught:
            if other not in waits and not any(text in str(other.message) for text in EXPECTED):
                warnings.warn_explicit(other.message, other.category, other.filename, other.lineno)
        return [f"{one.filename}:{one.lineno}" for one in waits]

    def record(self, work: Work) -> Work:
        graph = torch.cuda.CUDAGraph()
        # threads that read images may go on using CUDA meanwhile
        with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
            work()
        return graph.replay


def recorder_for(device: torch.device) -> Recorder | None:
    """What records on a device; None where there are no graphs."""
    return CudaRecorder(device) if device.type == "cuda" else None


class GraphedWork:
    """Work that is carried out a few times, then recorded, then replayed.

    Every call does the work, those before the recording included. What cannot be recorded is
    carried out as it is for good, and the reason is said once.

    Args:
        what: what people call the work, such as "step".
        work: all that it reads or writes is in tensors that stay where they are, and all that it
            reads on the host is what the method holds.
        method: what it trains or runs.
        recorder: carries out and records.
        say: told, in a line, why the work is not recorded.
        optimizer: what trains the method; None where nothing is trained.
    """

    def __init__(
        self,
        what: str,
        work: Work,
        method: nn.Module,
        recorder: Recorder,
        say: Callable[[str], None],
        optimizer: Optimizer | None = None,
    ) -> None:
        self._what = what
        self._work = work
        self._method = method
        self._recorder = recorder
        self._say = say
        self._optimizer = optimizer
        self.forget()

    def forget(self) -> None:
        """Begin anew: what the work reads is in other places now."""
        self._warmed_up = 0
        self._recorded: dict[str, Any] | None = None
        self._do: Work = self._warm_up

    def look(self) -> None:
        """Begin anew where something was put in the place of what the recording reads.

        To be called before a stretch of work, since between two of them the host may do anything,
        such as set a number of the method's that is no tensor.
        """
        if self._recorded is not None and _first_change(self._recorded, self._kept()) is not None:
            self.forget()

    def __call__(self) -> None:
        """Do the work once."""
        self._do()

    def _warm_up(self) -> None:
        before, randomness = self._kept(), _host_randomness()
        waits = self._recorder.run(self._work)
        self._warmed_up += 1
        if self._warmed_up < WARM_UP:
            return
        self._do = self._record
        if waits:
            self._stay_eager(f"it waits for the device at {waits[0]}")
        elif changed := _first_change(before, self._kept()):
            self._stay_eager(f"it changes {changed} on the host")
        elif randomness != _host_randomness():
            self._stay_eager("it draws random numbers on the host")

    def _record(self) -> None:
        try:
            self._do = self._recorder.record(self._work)
            self._recorded = self._kept()
        except Exception as error:  # whatever an operation says that cannot be recorded
            cause = _first_raised(error)
            if not isinstance(cause, Exception):
                raise cause from None  # a signal ends the run
            if self._optimizer is not None:  # nothing was carried out, and there are no gradients
                self._optimizer.zero_grad()
            self._stay_eager(_reason(cause))
        self._do()

    def _stay_eager(self, reason: str) -> None:
        self._do = self._work
        self._say(f"The {self._what} is not captured as a CUDA graph: {reason}.")

    def _kept(self) -> dict[str, Any]:
        """All that is kept from one time to the next, by name: numbers, texts, tensors themselves.

        Of other objects only which they are.
        """
        kept: dict[str, Any] = {}
        for name, module in self._method.named_modules():
            kept.update(_leaves(vars(module), name or "the method"))
        state = {} if self._optimizer is None else self._optimizer.state
        for i, moments in enumerate(state.values()):
            kept.update(_leaves(moments, f"the optimizer's state {i}"))
        return kept


def _leaves(value: Any, name: str, depth: int = 4) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and depth:
        for key, each in value.items():
            if key != "_modules":  # each comes by itself
                yield from _leaves(each, f"{name}.{key}", depth - 1)
    elif isinstance(value, list | tuple | set | frozenset | deque) and depth:
        yield f"the length of {name}", len(value)
        for i, each in enumerate(value):
            yield from _leaves(each, f"{name}.{i}", depth - 1)
    else:
        yield name, value


def _first_change(before: dict[str, Any], after: dict[str, Any]) -> str | None:
    for name, value in after.items():
        if name not in before:
            return name
        old = before[name]
        if isinstance(value, Plain) and type(value) is type(old) and value == old:
            continue
        if value is not old:
            return name
    return next((name for name in before if name not in after), None)


def _host_randomness() -> tuple[Any, ...]:
    numbers: Any = np.random.get_state()
    return random.getstate(), numbers[1].tolist(), numbers[2:], torch.get_rng_state().tolist()


def _first_raised(error: BaseException) -> BaseException:
    """Ending a failed recording raises again."""
    while error.__context__ is not None:
        error = error.__context__
    return error


def _reason(error: BaseException) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0].rstrip('.')}" if text else repr(error)


class Inputs:
    """Memory that stays where it is, for batches that come from elsewhere."""

    def __init__(self) -> None:
        self.batch: tuple[Tensor, ...] = ()

    def take(self, *batch: Tensor) -> bool:
        """Copy a batch in; False if it has not the shape of the others."""
        if not self.batch:
            self.batch = tuple(tensor.clone() for tensor in batch)
            return True
        if [t.shape for t in batch] != [t.shape for t in self.batch]:
            return False
        for own, given in zip(self.batch, batch, strict=True):
            own.copy_(given, non_blocking=True)
        return True
