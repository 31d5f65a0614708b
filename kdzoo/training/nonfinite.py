"""Steps whose loss or gradient is no finite number: taken like any other, or left out.

Going back further than that is in :mod:`kdzoo.training.rollback`.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kdzoo.errors import ConfigError
from kdzoo.training.tally import NEVER, Tally

WHERE = ("training", "on_nonfinite")


class TakeAll:
    """Every step counts; what comes of it is found at the end of the epoch.

    Attributes:
        count: steps of the epoch that were left out; None where none ever is.
    """

    @property
    def count(self) -> int | None:
        return None

    @property
    def taken(self) -> Tensor | None:
        """Whether the last step counts, a boolean scalar; None where every one does."""
        return None

    def begin(self) -> None:
        """An epoch begins."""

    def keep(self, step: Tensor) -> None:
        """A step begins; ``step`` is its number."""

    def judge(self, terms: Mapping[str, Tensor], step: Tensor) -> None:
        """The gradients are there; ``step`` is the step's number."""

    def settle(self) -> None:
        """The step is done."""

    def left_out(self) -> str | None:
        """The steps of the epoch that were left out, in a line for people."""
        return None

    def check(self) -> None:
        """Raises DivergedError where it is of no use to go on."""

    def state_dict(self) -> dict[str, Any]:
        """What another process needs to go on after the last step; nothing before the first."""
        return {}

    def load_state_dict(self, states: Sequence[Mapping[str, Any]], rank: int, size: int) -> None:
        """Go on from there.

        Args:
            states: what each process had.
            rank: of this process.
            size: how many processes go on.
        """


class LeaveOut(TakeAll):
    """Takes a step back whose loss or gradient is no finite number, as if it had not been.

    Weights, buffers (running statistics, averaged peers), the optimiser's state and the metrics are
    then what they were before it. That is decided on the device, which nothing waits for but the
    first step, in which an optimiser makes its state. Every process decides alike: the loss is that
    of the whole batch, and the gradients are means over the processes.

    Args:
        method: what is trained.
        optimizer: of its parameters.
        tally: the metrics.
    """

    def __init__(self, method: nn.Module, optimizer: torch.optim.Optimizer, tally: Tally) -> None:
        self._method = method
        self._optimizer = optimizer
        self._tally = tally
        self._names: list[str] = []
        self._kept: list[Tensor] = []
        self._first: Tensor | None = None
        self._count: Tensor | None = None
        self._finite: Tensor | None = None
        self._numbers: list[Any] = []

    @property
    def taken(self) -> Tensor | None:
        return self._finite

    @property
    def count(self) -> int:
        return 0 if self._count is None else int(self._count)

    def begin(self) -> None:
        if self._first is not None and self._count is not None:
            self._first.fill_(NEVER)
            self._count.zero_()

    @torch.no_grad()
    def keep(self, step: Tensor) -> None:
        self._numbers = list(self._host_numbers())
        self._kept = [tensor.clone() for tensor in self._state()]

    @torch.no_grad()
    def judge(self, terms: Mapping[str, Tensor], step: Tensor) -> None:
        # the largest absolute value: the squares of a 2-norm can overflow where no gradient does
        gradients = [p.grad for p in self._method.parameters() if p.grad is not None]
        largest = torch.stack(torch._foreach_norm(gradients, float("inf"))).amax()
        values = torch.stack([*(term.detach().float() for term in terms.values()), largest.float()])
        fine = values.isfinite()
        if self._first is None or self._count is None:
            self._names = [f"the term '{name}' of the loss" for name in terms] + ["the gradient"]
            self._first = torch.full_like(fine, NEVER, dtype=torch.int64)
            self._count = torch.zeros_like(self._first[0])
        if self._finite is None:
            self._finite = torch.ones_like(fine[0])  # every graph of a step writes to this one
        self._finite.copy_(fine.all())
        self._count.add_(~self._finite)
        torch.minimum(self._first, torch.where(fine, NEVER, step), out=self._first)

    @torch.no_grad()
    def settle(self) -> None:
        assert self._finite is not None
        if self._numbers != list(self._host_numbers()):
            raise ConfigError(
                f"{type(self._optimizer).__name__} counts its steps in numbers of the host, which "
                "are not taken back. Use optimizer=sgd or optimizer=adamw, or on_nonfinite=stop.",
                WHERE,
            )
        state = list(self._state())
        if len(state) == len(self._kept):
            for present, before in zip(state, self._kept, strict=True):
                present.copy_(torch.where(self._finite, present, before))
        elif not self._finite:  # the optimiser had no state before this step, nor had the metrics
            for present, before in zip(self._weights(), self._kept, strict=False):
                present.copy_(before)
            self._optimizer.state.clear()
            self._tally.reset()

    def left_out(self) -> str | None:
        if not self.count:
            return None
        return f"{self.count} steps were left out: {self._first_found()} was no finite number."

    def state_dict(self) -> dict[str, Any]:
        if self._first is None or self._count is None:
            return {}
        return {"names": self._names, "first": self._first.cpu(), "count": self._count.cpu()}

    def load_state_dict(self, states: Sequence[Mapping[str, Any]], rank: int, size: int) -> None:
        state, device = states[0], next(self._weights()).device
        self._names = list(state["names"])
        self._first, self._count = state["first"].to(device), state["count"].to(device)

    def _first_found(self) -> str:
        assert self._first is not None
        first = self._first.tolist()
        step = min(first)
        return f"in step {step} {self._names[first.index(step)]}"

    def _weights(self) -> Iterator[Tensor]:
        yield from self._method.parameters()
        yield from self._method.buffers()

    def _state(self) -> Iterator[Tensor]:
        yield from self._lasting()
        if self._tally.names:
            yield from self._tally.sums

    def _lasting(self) -> Iterator[Tensor]:
        """All that the next step builds on."""
        yield from self._weights()
        for state in self._optimizer.state.values():
            yield from (value for value in state.values() if isinstance(value, Tensor))

    def _host_numbers(self) -> Iterator[Any]:
        """What an optimiser counts with, the rate apart, which the schedule gives."""
        for group in self._optimizer.param_groups:
            yield [v for k, v in group.items() if k != "lr" and isinstance(v, int | float)]
        if any(
            isinstance(value, int | float) and not isinstance(value, bool)
            for state in self._optimizer.state.values()
            for value in state.values()
        ):
            yield object()  # equal to nothing
