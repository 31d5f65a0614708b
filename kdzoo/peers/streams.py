"""How the peers' networks are called: in turn, or side by side on streams of a GPU.

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
CallEach = Callable[[Sequence[Call], Sequence[Sequence[Any]]], list[Any]]
"""From calls and the inputs of each to what each makes of them."""

PRIORITY = -2
"""Of the peers' streams, whose work a step waits for; above what goes on beside them."""


def in_turn(calls: Sequence[Call], inputs: Sequence[Sequence[Any]]) -> list[Any]:
    """What each call makes of its inputs."""
    return [call(*given) for call, given in zip(calls, inputs, strict=True)]


def side_by_side(calls: Sequence[Call], inputs: Sequence[Sequence[Any]]) -> list[Any]:
    """As :func:`in_turn`, each call on a stream of its own; their gradients flow there as well.

    On the default stream, where nothing can be captured, and in compiled code, which has one
    stream, it is in turn. The calls must not share what they write to, such as batch norm's
    statistics.
    """
    if torch.compiler.is_compiling():
        return in_turn(calls, inputs)
    current = torch.cuda.current_stream()
    if current == torch.cuda.default_stream():
        return in_turn(calls, inputs)
    streams = [_stream(current.device, number) for number in range(len(calls))]
    ready = current.record_event()
    for stream in streams:
        stream.wait_event(ready)
    caches = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)  # a weight that one stream has cast is not another's
    try:
        said = []
        for stream, call, given in zip(streams, calls, inputs, strict=True):
            _used_on(stream, given)
            with torch.cuda.stream(stream):
                said.append(call(*given))
    finally:  # a capture that ends with streams apart leaves the allocator as if it went on
        torch.set_autocast_cache_enabled(caches)
        for stream in streams:
            current.wait_stream(stream)
    for outputs in said:
        _used_on(current, outputs)
    return said


@cache
def _stream(device: torch.device, number: int) -> torch.cuda.Stream:
    # streams are dealt out from a pool, of which those of this priority are taken by nothing else,
    # where the GPU has so many priorities
    return torch.cuda.Stream(device, priority=PRIORITY)


def _used_on(stream: torch.cuda.Stream, values: Any) -> None:
    """Their memory comes from another stream and is not to be used anew before this one is done."""
    for value in pytree.tree_leaves(values):
        if isinstance(value, Tensor) and value.device.type == "cuda":
            value.record_stream(stream)
