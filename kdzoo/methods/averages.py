"""Averaged networks: a mean of the weights that a network had in the course of the training."""

import copy
from collections.abc import Iterator
from typing import Any, Generic, Literal, TypeVar

import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


class Averaged(nn.Module, Generic[M]):
    """A copy of a module whose parameters are a moving average of the module's.

    After update s they are ``(1 - r) mean + r present`` with ``r = max(1/s, 1 - decay)``: the plain
    mean of all updates at first, from 1/(1-decay) updates on an exponential one. It is never
    trained, is part of the state dict, and no update waits for the device.

    Args:
        module: is copied as it is, hooks and all.
        decay: how much of the average an update keeps at most; 1 for the plain mean of all.
        buffers: what becomes of batch norm's statistics and other buffers. ``own``: they are those
            of the averaged weights, and move when the copy is run in training mode. ``mean``: they
            are averaged like parameters; integers are taken over as they are.

    Attributes:
        module: the copy; :meth:`forward` is its own.
        steps: how many updates there were, a scalar.
    """

    module: M
    steps: Tensor

    def __init__(self, module: M, decay: float, buffers: Literal["own", "mean"] = "own") -> None:
        super().__init__()
        self.decay = decay
        self.buffers_are = buffers
        self.module = copy.deepcopy(module).requires_grad_(False)
        self.register_buffer("steps", torch.zeros(()))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        with torch.no_grad():
            return self.module(*args, **kwargs)

    @torch.no_grad()
    def update(self, present: M, taken: Tensor | None = None) -> None:
        """Take in the weights that the module has now.

        Args:
            present: the module that was copied.
            taken: a boolean scalar; where it is false, there is no update.
        """
        self.steps += 1 if taken is None else taken
        rate = (1 / self.steps).clamp(min=1 - self.decay)
        if taken is not None:
            rate = torch.where(taken, rate, 0)
        mean, now = list(self._averaged(self.module)), list(self._averaged(present))
        change = torch._foreach_sub(now, mean)
        torch._foreach_mul_(change, rate)
        torch._foreach_add_(mean, change)
        if self.buffers_are == "mean":
            for own, theirs in zip(self.module.buffers(), present.buffers(), strict=True):
                if not own.is_floating_point():
                    own.copy_(theirs)

    def _averaged(self, module: nn.Module) -> Iterator[Tensor]:
        yield from module.parameters()
        if self.buffers_are == "mean":
            yield from (buffer for buffer in module.buffers() if buffer.is_floating_point())
