"""How far back batch norm's running statistics look."""

import pytest
import torch
from torch import nn

from kdzoo.training.running_statistics import keep_up


@pytest.mark.parametrize(
    ("steps", "momentum"), [(5, 1.0), (22, 10 / 22), (99, 10 / 99), (100, 0.1), (100_000, 0.1)]
)
def test_a_short_training_looks_back_over_a_tenth_of_it(steps, momentum):
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    keep_up(network, steps)
    assert network[1].momentum == pytest.approx(momentum)


def test_a_slower_layer_stays_slower_and_a_cumulative_one_as_it_is():
    slow, cumulative = nn.BatchNorm2d(4, momentum=0.01), nn.BatchNorm2d(4, momentum=None)
    keep_up(nn.Sequential(slow, cumulative), 1000)
    assert slow.momentum == 0.01
    keep_up(nn.Sequential(slow, cumulative), 500)
    assert slow.momentum == 0.02
    assert cumulative.momentum is None


def test_the_first_values_are_forgotten_by_the_end_of_22_steps():
    layer = nn.BatchNorm1d(1)
    keep_up(layer, 22)
    for _ in range(22):
        layer(torch.tensor([[4.0], [6.0]]))
    assert layer.running_mean.item() == pytest.approx(5, abs=1e-4)
