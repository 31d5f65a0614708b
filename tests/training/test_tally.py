"""Sums of an epoch, and the first term that is no number."""

import pytest
import torch

from kdzoo.methods.base import StepResult
from kdzoo.training.tally import DivergedError, Tally


def result(ce: float, kd: float) -> StepResult:
    logits = torch.tensor([[2.0, 0.0], [2.0, 0.0]])
    terms = {"ce": torch.tensor(ce), "kd": torch.tensor(kd)}
    return StepResult(terms, {"student": logits, "ensemble": -logits, "peers": logits[None]})


def test_means_of_terms_and_accuracies():
    tally = Tally(torch.device("cpu"))
    tally.update(result(1.0, 0.5), torch.tensor([0, 0]), step=0)
    tally.update(result(3.0, 0.5), torch.tensor([0, 1]), step=1)
    assert tally.compute() == {
        "loss": 2.5,
        "ce": 2.0,
        "kd": 0.5,
        "student_top1": 75.0,
        "ensemble_top1": 25.0,
    }


def test_soft_labels_count_by_their_largest_class():
    tally = Tally(torch.device("cpu"))
    tally.update(result(1.0, 1.0), torch.tensor([[0.9, 0.1], [0.2, 0.8]]), step=0)
    assert tally.compute()["student_top1"] == 50


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_the_first_bad_term_and_its_step_are_named(bad):
    tally = Tally(torch.device("cpu"))
    tally.update(result(1.0, 1.0), torch.tensor([0, 0]), step=70)
    tally.update(result(1.0, bad), torch.tensor([0, 0]), step=71)
    tally.update(result(bad, bad), torch.tensor([0, 0]), step=72)
    with pytest.raises(DivergedError, match=r"'kd'.*step 71"):
        tally.compute()
