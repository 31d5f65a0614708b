"""Many small tensors as few large ones, and back.

A state of a training has hundreds of tensors of a few values each. To copy them from a GPU and to
pickle them one by one takes longer than to train on many a batch.
"""

from collections.abc import Callable, Mapping
from copy import copy
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

SMALL = 2**20
"""Bytes of a tensor that is packed. A larger one gains nothing, and would be in memory twice."""
PLACE = "kdzoo: a packed tensor"
"""The first in a tuple that stands for a tensor; what follows says where it is."""


def pack(state: Any) -> dict[str, Any]:
    """Nested dicts, lists and tuples with few tensors in them; other values stay what they are.

    Args:
        state: the same, with many.
    """
    flat: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    sizes: dict[tuple[torch.dtype, torch.device], int] = {}

    def placed(tensor: Tensor) -> tuple[Any, ...]:
        kind = tensor.dtype, tensor.device
        order = sorted(range(tensor.dim()), key=tensor.stride, reverse=True)
        dense = tensor.permute(order)
        if not dense.is_contiguous():
            order, dense = list(range(tensor.dim())), tensor.contiguous()
        flat.setdefault(kind, []).append(dense.reshape(-1))
        start = sizes.get(kind, 0)
        sizes[kind] = start + tensor.numel()
        return PLACE, _name(*kind), start, tuple(dense.shape), tuple(order)

    tree = _mapped(state, lambda value: placed(value.detach()) if _is_small(value) else value)
    data = {_name(*kind): torch.cat(tensors).cpu() for kind, tensors in flat.items()}
    return {"tree": tree, "data": data}


def unpack(packed: Mapping[str, Any]) -> Any:
    """What :func:`pack` was given, on the CPU; every tensor in the order of memory that it had.

    Raises:
        LookupError, RuntimeError, TypeError, ValueError: it was given something else.
    """
    data = packed["data"]

    def tensor(value: Any) -> Any:
        if not (isinstance(value, tuple) and value and value[0] == PLACE):
            return value
        _, name, start, shape, order = value
        dense = data[name][start : start + prod(shape)].view(shape)
        back = sorted(range(len(order)), key=order.__getitem__)
        return dense.permute(back).clone(memory_format=torch.preserve_format)

    return _mapped(packed["tree"], tensor)


def _is_small(value: Any) -> bool:
    if type(value) not in (Tensor, nn.Parameter, nn.Buffer) or value.layout != torch.strided:
        return False
    return value.device.type != "meta" and value.numel() * value.element_size() <= SMALL


def _name(dtype: torch.dtype, device: torch.device) -> str:
    return f"{dtype} of {device}"


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
