"""Averaged networks are those of torch's own averages."""

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn

from kdzoo.methods.averages import Averaged


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(27, 2))


def train(module: nn.Module, steps: int):
    """Weights and statistics of several steps, one after the other."""
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        module(torch.randn(4, 2, 5, 5, generator=generator))
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator))
        yield


def true_until_exponential(decay):
    def average(mean, present, count):
        return mean + max(1 / (count + 1), 1 - decay) * (present - mean)

    return average


@pytest.mark.parametrize("decay", [1.0, 0.75, 0.0])
@pytest.mark.parametrize("buffers", ["own", "mean"])
def test_parameters_are_those_of_torch(decay, buffers):
    present = network()
    ours = Averaged(present, decay, buffers)
    average = None if decay == 1 else true_until_exponential(decay)
    theirs = AveragedModel(present, avg_fn=average, use_buffers=buffers == "mean")
    for _ in train(present, 7):
        ours.update(present)
        theirs.update_parameters(present)
    assert ours.steps == theirs.n_averaged == 7
    expected = theirs.module.state_dict()
    for name, parameter in ours.module.named_parameters():
        torch.testing.assert_close(parameter, expected[name])
    assert not any(parameter.requires_grad for parameter in ours.parameters())


def test_once_exponential_it_goes_on_as_torchs():
    """From 1/(1-decay) updates on, both move in the same way."""
    present = network()
    ours = Averaged(present, 0.75)
    exponential = get_ema_avg_fn(0.75)
    for step, _ in enumerate(train(present, 9), start=1):
        before = [p.clone() for p in ours.module.parameters()]
        ours.update(present)
        if step < 4:
            continue
        pairs = zip(ours.module.parameters(), before, present.parameters(), strict=True)
        for mean, old, now in pairs:
            torch.testing.assert_close(mean, exponential(old, now, step))


def test_buffers_are_averaged_where_that_is_asked_for_and_integers_taken_over():
    present = network()
    averaged, left = Averaged(present, 1.0, "mean"), Averaged(present, 1.0)
    seen = []
    for _ in train(present, 3):
        seen.append(present[1].running_mean.clone())
        averaged.update(present)
        left.update(present)
    torch.testing.assert_close(averaged.module[1].running_mean, torch.stack(seen).mean(0))
    assert averaged.module[1].num_batches_tracked == 3
    assert torch.equal(left.module[1].running_mean, torch.zeros(3))
    assert left.module[1].num_batches_tracked == 0


def test_statistics_of_its_own_move_when_the_copy_runs():
    averaged = Averaged(network(), 0.9)
    x = torch.randn(4, 2, 5, 5, generator=torch.Generator().manual_seed(2))
    assert not averaged.train()(x).requires_grad
    assert averaged.module[1].num_batches_tracked == 1
