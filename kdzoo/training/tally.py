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


class DivergedError(UserError):
    """The training went to infinity or to no number at all."""

    exit_code = 1


class Tally:
    """Means of the loss terms and training accuracy over the samples of an epoch.

    Of this process's share of them, until :meth:`add_up` makes it that of all processes.

    Args:
        device: where the sums live.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.samples = 0
        self.names: list[str] = []
        self.judged: list[str] = []
        self._terms = torch.zeros(0, device=device)
        self._hits = torch.zeros(0, device=device)
        self._first_bad = torch.zeros(0, device=device)

    @torch.no_grad()
    def update(self, result: StepResult, y: Tensor, step: int) -> None:
        """Add a step's terms and hits; ``step`` counts from the start of the training."""
        terms = torch.stack([term.detach().float() for term in result.terms.values()])
        labels = y if y.dim() == 1 else y.argmax(dim=-1)
        guesses = {name: z for name, z in result.predictions.items() if name in JUDGED}
        hits = torch.stack([(z.argmax(dim=-1) == labels).sum() for z in guesses.values()]).float()
        bad = torch.where(terms.isfinite(), torch.inf, float(step))
        if self.samples == 0:
            self.names, self.judged = list(result.terms), list(guesses)
            self._terms, self._hits, self._first_bad = len(y) * terms, hits, bad
        else:
            self._terms = self._terms + len(y) * terms
            self._hits = self._hits + hits
            self._first_bad = torch.minimum(self._first_bad, bad)
        self.samples += len(y)

    def state_dict(self) -> dict[str, Any]:
        """The sums so far, on the CPU."""
        sums = {"terms": self._terms, "hits": self._hits, "first_bad": self._first_bad}
        names = {"samples": self.samples, "names": self.names, "judged": self.judged}
        return {**names, **{name: total.cpu() for name, total in sums.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from sums that were saved."""
        self.samples = state["samples"]
        self.names, self.judged = list(state["names"]), list(state["judged"])
        self._terms = state["terms"].to(self.device)
        self._hits = state["hits"].to(self.device)
        self._first_bad = state["first_bad"].to(self.device)

    def total(self) -> "Tally":
        """That of all processes, so far; every one of them has to call it."""
        total = Tally(self.device)
        total.load_state_dict(self.state_dict())
        total.add_up()
        return total

    def add_up(self) -> None:
        """Add the sums of all processes; every one of them has to call it."""
        self._terms = gather(self._terms[None]).sum(dim=0)
        self._hits = gather(self._hits[None]).sum(dim=0)
        self._first_bad = gather(self._first_bad[None]).amin(dim=0)
        self.samples = int(gather(torch.tensor([self.samples], device=self.device)).sum())

    def compute(self) -> dict[str, float]:
        """``loss``, each term by name, ``student_top1`` and, if any, ``ensemble_top1`` in percent.

        Reads the sums back, which waits for the device: call it now and then, not every step.

        Raises:
            DivergedError: a term was not finite.
        """
        if self.samples == 0:
            return {}
        numbers = torch.cat([self._terms, self._hits, self._first_bad]).tolist()
        count = len(self.names)
        terms, hits, first_bad = numbers[:count], numbers[count:-count], numbers[-count:]
        if (step := min(first_bad)) != float("inf"):
            term = self.names[first_bad.index(step)]
            if step == 0:
                raise DivergedError(
                    f"The term '{term}' of the loss was no finite number at the first step, before "
                    "anything was learnt. A setting of the method, such as its temperature or a "
                    "weight, is too large or too small, or precision=fp32 is needed."
                )
            raise DivergedError(
                f"The term '{term}' of the loss was no finite number at step {int(step)}. The last "
                "good checkpoint is kept. Lower lr, clip the gradient (training.clip_norm=1) or "
                "use precision=fp32."
            )
        means = {name: total / self.samples for name, total in zip(self.names, terms, strict=True)}
        accuracies = {
            f"{name}_top1": 100 * hit / self.samples
            for name, hit in zip(self.judged, hits, strict=True)
        }
        return {"loss": sum(means.values()), **means, **accuracies}


def add_sums(states: Sequence[Mapping[str, Any]], nothing: bool = False) -> dict[str, Any]:
    """What :meth:`Tally.state_dict` would have said of the samples of all, or of none of them.

    Args:
        states: of several tallies over the same terms.
        nothing: for a tally that begins, while another one has it all.
    """
    sums = {
        "samples": sum(state["samples"] for state in states),
        "terms": torch.stack([state["terms"] for state in states]).sum(dim=0),
        "hits": torch.stack([state["hits"] for state in states]).sum(dim=0),
        "first_bad": torch.stack([state["first_bad"] for state in states]).amin(dim=0),
    }
    if nothing:
        sums = {name: value * 0 for name, value in sums.items()}
        sums["first_bad"] = torch.full_like(sums["first_bad"], torch.inf)
    return {**states[0], **sums}
