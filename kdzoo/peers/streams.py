"""How the peers' networks are carried out: in turn, or side by side on streams of a GPU.

One small network leaves most of a GPU idle: its kernels are short, and each waits for the last one.
Networks that do not wait for each other can fill it together. That pays where their kernels are
replayed as a CUDA graph; elsewhere a step waits for the host, which launches one kernel after the
other.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

Call = Callable[..., Any]
CarryOut = Callable[[Sequence[Call], Sequence[Sequence[Any]]], list[Any]]
"""From calls and the inputs of each to what each makes of them."""


def in_turn(calls: Sequence[Call], inputs: Sequence[Sequence[Any]]) -> list[Any]:
    """What each call makes of its inputs."""
    return [call(*given) for call, given in zip(calls, inputs, strict=True)]


class SideBySide:
    """As :func:`in_turn`, each call on a stream of its own; their gradients flow there as well.

    The calls must not share parameters. Compiled code has one stream, so there it is in turn.

    Args:
        device: the GPU on which the inputs are.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def __call__(self, calls: Sequence[Call], inputs: Sequence[Sequence[Any]]) -> list[Any]:
        if torch.compiler.is_compiling():
            return in_turn(calls, inputs)
        current = torch.cuda.current_stream(self._device)
        streams = [_stream(self._device, i) for i in range(len(calls))]
        said = []
        for stream, call, given in zip(streams, calls, inputs, strict=True):
            stream.wait_stream(current)
            _used_on(stream, given)
            with torch.cuda.stream(stream):
                said.append(call(*given))
        for stream, outputs in zip(streams, said, strict=True):
            current.wait_stream(stream)
            _used_on(current, outputs)
        return said


def for_captured_work(device: torch.device) -> CarryOut:
    """How networks are carried out in work that is captured as a graph, where a device has them."""
    return SideBySide(device) if device.type == "cuda" else in_turn


@cache
def _stream(device: torch.device, number: int) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)


def _used_on(stream: torch.cuda.Stream, values: Any) -> None:
    """Their memory comes from another stream and is not to be used anew before this one is done."""
    for value in pytree.tree_leaves(values):
        if isinstance(value, Tensor):
            value.record_stream(stream)
