"""The training metrics of an epoch: running sums (meters) on the device, so no step waits."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from accelerate.utils import gather
from torch import Tensor

from kdzoo.errors import UserError
from kdzoo.methods.base import StepResult

JUDGED = ("student", "ensemble")
"""The predictions whose accuracy is followed during training."""

NEVER = 2**62
"""Stands for the step at which a term was not finite, where it always was."""


class DivergedError(UserError):
    """The training went to infinity or to no number at all."""

    exit_code = 1


class Tally:
    """Means of the loss terms and training accuracy over the samples of an epoch.

    Of this process's share of them, until :meth:`add_up` makes it that of all processes. The sums
    stay where they are in memory from the first step on, as a captured step needs them to.

    Args:
        device: where the sums live.
    """

    def __init__(self, device: torch.device) -> None:
        self.names: list[str] = []
        self.judged: list[str] = []
        self._samples = torch.zeros((), dtype=torch.int64, device=device)
        self._terms = torch.zeros(0, device=device)
        self._hits = torch.zeros(0, dtype=torch.int64, device=device)
        self._first_bad = torch.zeros(0, dtype=torch.int64, device=device)

    @property
    def sums(self) -> tuple[Tensor, ...]:
        """All that a step adds to, the same tensors from the first step on."""
        return self._samples, self._terms, self._hits, self._first_bad

    def reset(self) -> None:
        """Begin anew, in place."""
        self._samples.zero_()
        self._terms.zero_()
        self._hits.zero_()
        self._first_bad.fill_(NEVER)

    @torch.no_grad()
    def update(self, result: StepResult, y: Tensor, step: Tensor | int) -> None:
        """Add a step's terms and hits.

        Args:
            result: of the step.
            y: [B] labels or [B, K] class probabilities.
            step: its number, counted from the start of the training; a scalar.
        """
        guesses = {name: z for name, z in result.predictions.items() if name in JUDGED}
        if not self.names:
            self._allocate(list(result.terms), list(guesses))
        terms = torch.stack([term.detach().float() for term in result.terms.values()])
        labels = y if y.dim() == 1 else y.argmax(dim=-1)
        hits = torch.stack([(z.argmax(dim=-1) == labels).sum() for z in guesses.values()])
        # where() copies a number to the device, which waits
        bad = torch.zeros_like(self._first_bad).add_(step).masked_fill_(terms.isfinite(), NEVER)
        self._samples.add_(len(y))
        self._terms.add_(len(y) * terms)
        self._hits.add_(hits)
        torch.minimum(self._first_bad, bad, out=self._first_bad)

    def state_dict(self) -> dict[str, Any]:
        """The sums so far."""
        return {
            "names": self.names,
            "judged": self.judged,
            "samples": self._samples,
            "terms": self._terms,
            "hits": self._hits,
            "first_bad": self._first_bad,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from sums that were saved; in place, where these are of the same terms."""
        if not self.names:
            self._allocate(list(state["names"]), list(state["judged"]))
        self._samples.copy_(state["samples"])
        self._terms.copy_(state["terms"])
        self._hits.copy_(state["hits"])
        self._first_bad.copy_(state["first_bad"])

    def total(self) -> "Tally":
        """That of all processes, so far; every one of them has to call it."""
        total = Tally(self._samples.device)
        total.load_state_dict(self.state_dict())
        total.add_up()
        return total

    def add_up(self) -> None:
        """Add the sums of all processes; every one of them has to call it."""
        self._terms.copy_(gather(self._terms[None]).sum(dim=0))
        self._hits.copy_(gather(self._hits[None]).sum(dim=0))
        self._first_bad.copy_(gather(self._first_bad[None]).amin(dim=0))
        self._samples.copy_(gather(self._samples[None]).sum())

    def compute(self) -> dict[str, float]:
        """``loss``, each term by name, ``student_top1`` and, if any, ``ensemble_top1`` in percent.

        Reads the sums back, which waits for the device: call it now and then, not every step.

        Raises:
            DivergedError: a term was not finite.
        """
        counts = torch.cat([self._samples[None], self._first_bad, self._hits]).tolist()
        samples, first_bad, hits = _split(counts, 1, len(self.names))
        if samples == [0]:
            return {}
        if (step := min(first_bad)) != NEVER:
            term = self.names[first_bad.index(step)]
            if step == 0:
                raise DivergedError(
                    f"The term '{term}' of the loss was no finite number at the first step, before "
                    "anything was learnt. A setting of the method, such as its temperature or a "
                    "weight, is too large or too small, or precision=fp32 is needed."
                )
            raise DivergedError(
                f"The term '{term}' of the loss was no finite number at step {step}. The last "
                "good checkpoint is kept. Lower lr, clip the gradient (training.clip_norm=1) or "
                "use precision=fp32."
            )
        means = {
            name: total / samples[0]
            for name, total in zip(self.names, self._terms.tolist(), strict=True)
        }
        accuracies = {
            f"{name}_top1": 100 * hit / samples[0]
            for name, hit in zip(self.judged, hits, strict=True)
        }
        return {"loss": sum(means.values()), **means, **accuracies}

    def _allocate(self, names: list[str], judged: list[str]) -> None:
        self.names, self.judged = names, judged
        self._terms = self._terms.new_zeros(len(names))
        self._hits = self._hits.new_zeros(len(judged))
        self._first_bad = self._first_bad.new_full((len(names),), NEVER)


def add_sums(states: Sequence[Mapping[str, Any]], nothing: bool = False) -> dict[str, Any]:
    """What :meth:`Tally.state_dict` would have said of the samples of all, or of none of them.

    Args:
        states: of several tallies over the same terms.
        nothing: for a tally that begins, while another one has it all.
    """
    sums = {
        name: torch.stack([state[name] for state in states]).sum(dim=0)
        for name in ("samples", "terms", "hits")
    }
    sums["first_bad"] = torch.stack([state["first_bad"] for state in states]).amin(dim=0)
    if nothing:
        sums = {name: torch.zeros_like(value) for name, value in sums.items()}
        sums["first_bad"].fill_(NEVER)
    return {**states[0], **sums}


def _split(numbers: list[int], *lengths: int) -> tuple[list[int], ...]:
    """Consecutive parts of these lengths, and what is left."""
    parts, at = [], 0
    for length in lengths:
        parts.append(numbers[at : at + length])
        at += length
    return (*parts, numbers[at:])
