"""Convolutions with taps that meet nothing but padding, found by running the network once."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.module_tracker import ModuleTracker

from kdzoo.peers.calls import mode


@dataclass(frozen=True)
class Convolution:
    """One convolution that is trained, as it was called; a tuple has an entry for each axis.

    Attributes:
        name: the path of the module that called it.
        kernel: taps.
        size: of the map that the taps move over: the input, or when transposed the output.
        steps: how many places they take: the size of the other map.
    """

    name: str
    kernel: tuple[int, ...]
    size: tuple[int, ...]
    steps: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]

    @property
    def has_padding_only_taps(self) -> bool:
        """Whether a tap lies outside the map wherever the kernel is put."""
        return any(
            all(not 0 <= step * stride - padding + tap * dilation < size for step in range(steps))
            for kernel, size, steps, stride, padding, dilation in zip(
                self.kernel,
                self.size,
                self.steps,
                self.stride,
                self.padding,
                self.dilation,
                strict=True,
            )
            for tap in range(kernel)
        )

    def __str__(self) -> str:
        kernel, size = ("x".join(map(str, axes)) for axes in (self.kernel, self.size))
        return f"the {kernel} convolution '{self.name}' on a map of {size}"


@torch.no_grad()
def padding_only_taps(
    network: nn.Module, x: Any, run: Callable[[Any], object] | None = None
) -> Convolution | None:
    """The first convolution of which a tap meets only padding; None where there is none.

    Args:
        network: it is run in evaluation mode and left as it was.
        x: what it is run on.
        run: what is called with ``x``; by default the network.
    """
    found: list[Convolution] = []
    names = ModuleTracker()

    class Convolutions(TorchDispatchMode):
        def __torch_dispatch__(
            self, op: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            output = op(*args, **(kwargs or {}))
            if op is torch.ops.aten.convolution.default and args[1].requires_grad:
                found.append(_convolution(args, output, names.parents, network))
            return output

    with mode(network, training=False), names, Convolutions():
        (run or network)(x)
    return next((one for one in found if one.has_padding_only_taps), None)


def _convolution(args: Any, output: Tensor, parents: set[str], network: nn.Module) -> Convolution:
    x, weight, _, stride, padding, dilation, transposed = args[:7]
    axes = weight.ndim - 2
    over, places = (output, x) if transposed else (x, output)
    # The tracker's paths start with the class of the module that was called first.
    paths = (parent.partition(".")[2] for parent in parents)
    return Convolution(
        name=max(paths, key=len) or type(network).__name__,
        kernel=tuple(weight.shape[2:]),
        size=tuple(over.shape[2:]),
        steps=tuple(places.shape[2:]),
        # One number may stand for all axes.
        stride=_each(stride, axes),
        padding=_each(padding, axes),
        dilation=_each(dilation, axes),
    )


def _each(numbers: list[int], axes: int) -> tuple[int, ...]:
    return tuple(numbers) if len(numbers) == axes else tuple(numbers) * axes
