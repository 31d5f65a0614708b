"""How the rates of a schedule reach the optimiser: as numbers of the host, or on its device."""

from typing import Protocol

import torch
from torch import Tensor
from torch.optim import Optimizer

from kdzoo.optim.schedule import Schedule


class Rates(Protocol):
    """Gives an optimiser the rate of one step after the other."""

    def begin(self, step: int, position: int = 0) -> None:
        """An epoch begins, or is gone on with.

        Args:
            step: of the whole training, the number of the next step.
            position: of that epoch, the number of the next step.
        """

    def apply(self, position: Tensor) -> None:
        """Set the rates of the next step, the one at ``position`` [1] in the epoch."""


class HostRates:
    """Numbers, which every optimiser takes, and in which a CPU computes them most exactly.

    Args:
        schedule: of the optimiser that is to have the rates.
    """

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._step = 0

    def begin(self, step: int, position: int = 0) -> None:
        self._step = step

    def apply(self, position: Tensor) -> None:
        self._schedule.set(self._step)
        self._step += 1


class DeviceRates:
    """Tensors: no step needs a number of the host, so that one can be captured and replayed.

    The rates of an epoch are in a table on the device, rounded to float32.

    Args:
        schedule: of ``optimizer``, whose rates were numbers until now.
        optimizer: that takes tensors.
        steps_per_epoch: rows of the table.
        device: of the optimiser's parameters.
    """

    def __init__(
        self, schedule: Schedule, optimizer: Optimizer, steps_per_epoch: int, device: torch.device
    ) -> None:
        self._schedule = schedule
        self._optimizer = optimizer
        for group in optimizer.param_groups:
            group["lr"] = torch.tensor(group["lr"], dtype=torch.float32, device=device)
        self._table = torch.zeros(steps_per_epoch, len(optimizer.param_groups), device=device)

    def begin(self, step: int, position: int = 0) -> None:
        """Fill the table; steps after the end of the training are never asked for."""
        first = step - position
        end = min(first + len(self._table), self._schedule.steps)
        rows = torch.tensor([self._schedule.rates(each) for each in range(first, end)])
        self._table[: len(rows)].copy_(rows)

    def apply(self, position: Tensor) -> None:
        rates = self._table.index_select(0, position)[0]
        for group, rate in zip(self._optimizer.param_groups, rates.unbind(), strict=True):
            group["lr"].copy_(rate)
