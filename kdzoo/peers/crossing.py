"""The values that cross from a trunk to its branches, and the scale of their gradients."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree


@dataclass(frozen=True)
class Crossing:
    """What is known of each value that crosses, in the order of ``tree_leaves``.

    Attributes:
        batch_axes: the axis along which a tensor has one entry or more per sample (-1 for a plain
            number that grows with the batch); None where the value is the same for any batch.
        overwritten: whether a branch changes the tensor in place, so that each needs its own copy.
    """

    batch_axes: tuple[int | None, ...]
    overwritten: tuple[bool, ...]

    def repeat(self, values: Any, peers: int) -> list[Any]:
        """The same values for every branch."""
        leaves, spec = pytree.tree_flatten(values)
        copies = []
        for _ in range(peers):
            own = [v.clone() if o else v for v, o in zip(leaves, self.overwritten, strict=True)]
            copies.append(pytree.tree_unflatten(own, spec))
        return copies

    def chunk(self, values: Any, peers: int) -> list[Any]:
        """To each branch the values of its own samples, which follow each other in the batch."""
        leaves, spec = pytree.tree_flatten(values)
        shares = [_chunks(v, axis, peers) for v, axis in zip(leaves, self.batch_axes, strict=True)]
        return [
            self.repeat(pytree.tree_unflatten(list(own), spec), 1)[0]
            for own in zip(*shares, strict=True)
        ]


def joined(crossings: Sequence[Crossing]) -> Crossing:
    """What crosses to branches of several kinds: where one overwrites a value, each has its own."""
    overwritten = zip(*(crossing.overwritten for crossing in crossings), strict=True)
    return Crossing(crossings[0].batch_axes, tuple(map(any, overwritten)))


def batch_axes(one: Any, other: Any) -> tuple[int | None, ...]:
    """How values depend on the size of the batch, seen from those for two sizes."""
    pairs = zip(pytree.tree_leaves(one), pytree.tree_leaves(other), strict=True)
    return tuple(_batch_axis(a, b) for a, b in pairs)


def _batch_axis(one: Any, other: Any) -> int | None:
    if isinstance(one, Tensor):
        sizes = zip(one.shape, other.shape, strict=True)
        return next((axis for axis, (a, b) in enumerate(sizes) if a != b), None)
    return None if one == other else -1


def _chunks(value: Any, axis: int | None, peers: int) -> tuple[Any, ...]:
    if axis is None:
        return (value,) * peers
    if isinstance(value, Tensor):
        return value.chunk(peers, dim=axis)
    return (value // peers,) * peers


class _ScaleGradient(torch.autograd.Function):
    """The identity, whose gradient is multiplied by a constant."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float) -> Tensor:
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * ctx.scale, None


def scale_gradient(values: Any, scale: float) -> Any:
    """The same values; what flows back through them is multiplied by ``scale``."""
    if scale == 1.0:
        return values
    return pytree.tree_map_only(Tensor, lambda x: _scaled(x, scale), values)


def _scaled(x: Tensor, scale: float) -> Tensor:
    return _ScaleGradient.apply(x, scale) if x.requires_grad else x
