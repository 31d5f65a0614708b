"""Going back to an earlier state of the training when a step comes to no finite number."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kdzoo.training.nonfinite import LeaveOut
from kdzoo.training.tally import DivergedError, Tally

SOUND_AFTER = 100
"""Steps that have to come to finite numbers after a state before it counts as sound."""
MOST = 10
"""How often a training goes back before it is given up."""


class GoBack(LeaveOut):
    """Takes up the last sound state after a step whose loss or gradient is no finite number.

    A state (weights, buffers, the optimiser's state) is sound once :data:`SOUND_AFTER` steps after
    it have come to finite numbers; the first one is taken as such. So the training goes back by 100
    to 199 steps, or to its start, and goes on with the batches that come next: those that led there
    are left out, as Chowdhery et al. did by hand (PaLM, 2022, section 5.1). The schedule goes on,
    and so do the epoch's metrics, but for the step that was not finite.

    It is decided on the device, as in :class:`LeaveOut`, at the cost of two more copies of the
    state. Buffers of a process's own, such as running statistics, go back to what it had itself.

    Args:
        method: what is trained.
        optimizer: of its parameters.
        tally: the metrics.
    """

    def __init__(self, method: nn.Module, optimizer: torch.optim.Optimizer, tally: Tally) -> None:
        super().__init__(method, optimizer, tally)
        self._sound: list[Tensor] = []
        self._later: list[Tensor] = []
        self._before: Tensor | None = None
        """The steps before which those two states were, [2]."""
        self._returns: Tensor | None = None
        """How often the training went back, in all."""

    @torch.no_grad()
    def keep(self, step: Tensor) -> None:
        super().keep(step)
        if self._before is None or self._returns is None:
            self._before = torch.stack([step, step])
            self._returns = torch.zeros_like(step)
        state = list(self._lasting())
        if len(state) != len(self._sound):  # the optimiser has made its state meanwhile
            self._sound = [tensor.clone() for tensor in state]
            self._later = [tensor.clone() for tensor in state]
            self._before.copy_(step.expand(2))
            return
        due = step - self._before[1] >= SOUND_AFTER
        for present, later, sound in zip(state, self._later, self._sound, strict=True):
            sound.copy_(torch.where(due, later, sound))
            later.copy_(torch.where(due, present, later))
        moved = torch.stack([self._before[1], step])
        self._before.copy_(torch.where(due, moved, self._before))

    @torch.no_grad()
    def judge(self, terms: Mapping[str, Tensor], step: Tensor) -> None:
        super().judge(terms, step)
        assert self._finite is not None
        assert self._count is not None
        assert self._before is not None
        assert self._returns is not None
        self._returns.add_(~self._finite)
        # this step itself is counted already
        self._count.add_((step - self._before[0]).masked_fill(self._finite, 0))
        self._before.copy_(torch.where(self._finite, self._before, step + 1))

    @torch.no_grad()
    def settle(self) -> None:
        super().settle()
        assert self._finite is not None
        state = list(self._lasting())
        if len(state) != len(self._sound):  # the first step, which has been taken back
            return
        for present, later, sound in zip(state, self._later, self._sound, strict=True):
            present.copy_(torch.where(self._finite, present, sound))
            later.copy_(torch.where(self._finite, later, sound))

    def left_out(self) -> str | None:
        if not self.count:
            return None
        return (
            f"{self._first_found()} was no finite number; the training went back to its last sound "
            f"state, and {self.count} steps were left out."
        )

    def check(self) -> None:
        if self._returns is None or (count := int(self._returns)) <= MOST:
            return
        raise DivergedError(
            f"The training went back to an earlier state {count} times, more than {MOST}; for the "
            f"first time in this epoch, {self._first_found()} was no finite number. The last good "
            "checkpoint is kept. Lower lr, clip the gradient (training.clip_norm=1) or use "
            "precision=fp32."
        )

    def state_dict(self) -> dict[str, Any]:
        state = super().state_dict()
        if not state or self._before is None or self._returns is None:
            return {}
        whole = {
            "before": self._before.cpu(),
            "returns": self._returns.cpu(),
            "sound": [tensor.cpu() for tensor in self._sound],
            "later": [tensor.cpu() for tensor in self._later],
        }
        return {**state, **whole, "own": [tensor.cpu() for tensor in self._own()]}

    def load_state_dict(self, states: Sequence[Mapping[str, Any]], rank: int, size: int) -> None:
        super().load_state_dict(states, rank, size)
        first = states[0]
        if "sound" not in first:  # the training has only left steps out so far
            return
        like = list(self._lasting())
        device = next(self._weights()).device
        self._before, self._returns = first["before"].to(device), first["returns"].to(device)
        self._sound = [one.to(own.device) for one, own in zip(first["sound"], like, strict=True)]
        self._later = [one.to(own.device) for one, own in zip(first["later"], like, strict=True)]
        taken = states[rank : rank + 1] if len(states) == size else states
        for own, *theirs in zip(self._own(), *(state["own"] for state in taken), strict=True):
            own.copy_(torch.stack(theirs).mean(dim=0))

    def _own(self) -> list[Tensor]:
        """Of the two states, what each process has for itself: statistics of its own samples."""
        here = [isinstance(one, nn.Parameter) for one in self._weights()]
        return [
            tensor
            for state in (self._sound, self._later)
            for tensor, parameter in zip(state, here, strict=False)
            if not parameter and tensor.is_floating_point()
        ]
