"""Batch norm's running statistics, with which a network is evaluated and deployed."""

from collections.abc import Iterator

import torch
from accelerate.utils import reduce
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

SHORTEST = 10
"""How often, at least, a training is longer than the steps that the statistics look back over."""


def keep_up(method: nn.Module, steps: int) -> None:
    """Let the statistics of a short training look back over a tenth of it, and no further.

    A layer's momentum m makes them a mean of about the last 1/m steps. With the usual 0.1 and 20
    steps in all, they would be those of weights long gone, mixed with their initial values. A
    training of 10/m steps or more keeps the layer's own.

    Args:
        method: whose layers are to be set.
        steps: the length of the whole training.
    """
    for layer in _averaging(method):
        layer.momentum = max(layer.momentum or 0.0, _least_momentum(steps))


def looks_back_as_far(method: nn.Module, steps: int) -> bool:
    """Whether :func:`keep_up` sets the same for a training of ``steps`` as it did for a longer."""
    return all((layer.momentum or 0.0) >= _least_momentum(steps) for layer in _averaging(method))


def _averaging(method: nn.Module) -> Iterator[_NormBase]:
    """The layers whose statistics are moving averages; those without a momentum take them all."""
    for layer in method.modules():
        if isinstance(layer, _NormBase) and layer.momentum is not None:
            yield layer


def _least_momentum(steps: int) -> float:
    return min(1.0, SHORTEST / steps)


@torch.no_grad()
def agree(method: nn.Module) -> None:
    """Make every process's buffers the mean over all processes.

    Each process has seen its own share of each batch. The mean of their running averages is the
    running average of their mean, so it may be taken whenever it is needed.
    """
    for buffer in method.buffers():
        if buffer.is_floating_point():
            buffer.copy_(reduce(buffer, reduction="mean"))
