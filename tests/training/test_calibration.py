"""The calibration error against torchmetrics, which we do without in a run."""

import pytest
import torch
from torchmetrics.classification import MulticlassCalibrationError

from kdzoo.training.calibration import BINS, CalibrationError


@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize("scale", [0.1, 3.0, 100.0])
def test_it_is_that_of_torchmetrics_network_by_network(classes, scale):
    generator = torch.Generator().manual_seed(0)
    logits = scale * torch.randn(3, 500, classes, generator=generator)
    y = torch.randint(classes, (500,), generator=generator)
    ours = CalibrationError(networks=3, device=logits.device)
    for rows in torch.arange(500).split(128):
        ours.update(logits[:, rows], y[rows])
    for one, found in zip(logits, ours.compute(), strict=True):
        theirs = MulticlassCalibrationError(classes, n_bins=BINS, norm="l1")
        assert found == pytest.approx(100 * theirs(one.softmax(dim=-1), y).item(), abs=1e-4)


def test_the_confidence_of_a_wrong_certainty_is_all_error():
    error = CalibrationError(networks=2, device=torch.device("cpu"))
    certain = torch.tensor([[0.0, 1000.0]]).expand(4, 2)
    error.update(torch.stack([certain, torch.zeros(4, 2)]), torch.tensor([0, 0, 0, 1]))
    # sure of class 1, right once in four; then undecided, and right in three of four
    assert error.compute() == [75.0, 25.0]


def test_it_does_not_depend_on_how_the_samples_are_shared_out():
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(1, 1000, 10, generator=generator)
    y = torch.randint(10, (1000,), generator=generator)
    found = set()
    for size in (1, 7, 1000):
        error = CalibrationError(networks=1, device=logits.device)
        for rows in torch.randperm(1000, generator=generator).split(size):
            error.update(logits[:, rows], y[rows])
        found.add(error.compute()[0])
    assert len(found) == 1
