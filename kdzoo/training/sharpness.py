"""SAM: the gradient of the sharpest place near the weights, in place of that at the weights."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import nn

R = TypeVar("R")
TINY = 1e-12
"""Added to the norm of a gradient, which may be 0."""


class SharpnessAware:
    """Sharpness-aware minimization: two forward and backward passes for each step.

    ``g(w + e)`` with ``e = rho g(w) / ||g(w)||`` and g the gradient of the whole loss, without the
    weight decay that the optimiser adds. Foret, Kleiner, Mobahi, Neyshabur, "Sharpness-Aware
    Minimization for Efficiently Improving Generalization", ICLR 2021, equation 2 and algorithm 1
    with p = 2.

    The norm is over all that is trained. On several processes g is the gradient of the whole batch,
    and so is e: the paper's m is the batch size. Running statistics and whatever else a method
    keeps are those of the pass at w; the pass at w + e begins with the same ones and leaves none.

    Args:
        method: what is trained.
        rho: how far away from the weights, a distance in them.
    """

    def __init__(self, method: nn.Module, rho: float) -> None:
        self._method = method
        self._rho = rho

    def __call__(self, backward: Callable[[], R]) -> R:
        """Leave the gradient at w + e, and the weights at w.

        Args:
            backward: a forward and a backward pass over one batch, to be carried out twice.

        Returns:
            what ``backward`` returned at w.
        """
        buffers = list(self._method.buffers())
        before = [buffer.clone() for buffer in buffers]
        result = backward()
        trained = [p for p in self._method.parameters() if p.grad is not None]
        with torch.no_grad():
            gradients = [p.grad for p in trained if p.grad is not None]
            norm = torch.stack(torch._foreach_norm(gradients)).norm()
            weights = [p.clone() for p in trained]
            after = [buffer.clone() for buffer in buffers]
            for parameter, gradient in zip(trained, gradients, strict=True):
                parameter.addcmul_(gradient, self._rho / (norm + TINY))
                parameter.grad = None
            _put(before, buffers)
        backward()
        with torch.no_grad():
            _put(weights, trained)
            _put(after, buffers)
        return result


def at_the_weights(backward: Callable[[], R]) -> R:
    """The gradient at the weights: one pass."""
    return backward()


def _put(values: Sequence[torch.Tensor], into: Sequence[torch.Tensor]) -> None:
    for tensor, value in zip(into, values, strict=True):
        tensor.copy_(value)
