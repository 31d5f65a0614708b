"""Many small tensors as few large ones, and back.

A state of a training has hundreds of tensors of a few values each. To copy them from a GPU and to
pickle them one by one takes longer than to train on many a batch.
"""

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

SMALL = 2**20
"""Bytes of a tensor that is packed. A larger one gains nothing, and would be in memory twice."""
PLACE = "kdzoo: a packed tensor"
"""The first in a tuple that stands for a tensor: which of the large ones it is in, its shape and
its strides. They are there one after the other, in the order in which the tuples are."""


def pack(state: Any) -> dict[str, Any]:
    """Nested dicts, lists and tuples with few tensors in them; other values stay what they are.

    Args:
        state: the same, with many.
    """
    flat: dict[str, list[Tensor]] = {}

    def placed(value: Any) -> Any:
        if not _is_small(value):
            return value
        tensor = value.detach()
        if not _is_dense(tensor.shape, tensor.stride()):
            tensor = tensor.contiguous()
        name = f"{tensor.dtype} of {tensor.device}"
        flat.setdefault(name, []).append(tensor.as_strided((tensor.numel(),), (1,)))
        return PLACE, name, tuple(tensor.shape), tensor.stride()

    tree = _mapped(state, placed)
    return {"tree": tree, "data": {name: torch.cat(parts).cpu() for name, parts in flat.items()}}


def unpack(packed: Mapping[str, Any]) -> Any:
    """What :func:`pack` was given, on the CPU, with every tensor's strides.

    Raises:
        AttributeError, LookupError, RuntimeError, TypeError, ValueError: it was given something
            that :func:`pack` does not make.
    """
    data: dict[str, Tensor] = packed["data"]
    if any(large.dim() != 1 or not large.is_contiguous() for large in data.values()):
        raise ValueError("packed tensors are no rows of values")
    taken = dict.fromkeys(data, 0)
    met: set[int] = set()

    def tensor(value: Any) -> Any:
        if isinstance(value, dict | list | tuple) and value:
            if id(value) in met:  # never so in what was packed; without end in a foreign file
                raise ValueError("a part of it is in two places")
            met.add(id(value))
        if not (isinstance(value, tuple) and value and value[0] == PLACE):
            return value
        _, name, shape, strides = value
        if any(type(size) is not int or size < 0 for size in (*shape, *strides)):
            raise ValueError("a packed tensor has no sizes")
        start, taken[name] = taken[name], taken[name] + prod(shape)
        if taken[name] > len(data[name]) or not _is_dense(shape, strides):
            raise ValueError("a packed tensor has other sizes than its values")
        return data[name][start : taken[name]].clone().as_strided(shape, strides)

    state = _mapped(packed["tree"], tensor)
    if any(taken[name] != len(large) for name, large in data.items()):
        raise ValueError("there are values of no tensor")
    return state


def _is_small(value: Any) -> bool:
    if type(value) not in (Tensor, nn.Parameter, nn.Buffer) or value.layout != torch.strided:
        return False
    return value.device.type != "meta" and value.numel() * value.element_size() <= SMALL


def _is_dense(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether the values lie one after the other in memory, in whatever order."""
    values = 1
    for stride, size in sorted(zip(strides, shape, strict=True)):
        if size > 1 and stride != values:
            return 0 in shape
        values *= size
    return True


def _mapped(value: Any, function: Callable[[Any], Any]) -> Any:
    """A function's results in place of all values in dicts, lists and tuples."""
    result = function(value)
    if result is not value:
        return result
    if isinstance(value, dict):
        mapped = copy(value)  # torch keeps versions of modules beside the values
        for key, each in value.items():
            mapped[key] = _mapped(each, function)
        return mapped
    if isinstance(value, list):
        return [_mapped(each, function) for each in value]
    if type(value) is tuple:
        return tuple(_mapped(each, function) for each in value)
    return value
