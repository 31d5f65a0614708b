"""Which convolutions have taps that meet only padding, against taps that are tried one by one."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from kdzoo.peers.padding_only import padding_only_taps


def dead_taps(layer, x):
    """Whether a tap never meets a pixel: then ones everywhere give its weight no gradient."""
    layer = layer.double()
    torch.nn.init.ones_(layer.weight)
    layer(torch.ones_like(x, dtype=torch.float64)).sum().backward()
    return bool((layer.weight.grad == 0).any())


@settings(max_examples=150, deadline=None)
@given(
    kernel=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    size=st.tuples(st.integers(1, 8), st.integers(1, 8)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    padding=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    transposed=st.booleans(),
)
def test_as_the_gradient_tells(kernel, size, stride, dilation, padding, transposed):
    kind = nn.ConvTranspose2d if transposed else nn.Conv2d
    layer = kind(1, 1, kernel, stride=stride, padding=padding, dilation=dilation, bias=False)
    x = torch.zeros(1, 1, *size)
    try:
        layer(x)
    except RuntimeError:  # there is no place for the kernel
        assume(False)
    found = padding_only_taps(layer, x)
    assert (found is not None) == dead_taps(layer, x)


@pytest.mark.parametrize(
    ("size", "stride", "sound"), [(1, 1, False), (2, 1, True), (2, 2, False), (3, 2, True)]
)
def test_three_by_three(size, stride, sound):
    layer = nn.Conv2d(2, 3, 3, stride=stride, padding=1)
    found = padding_only_taps(layer, torch.zeros(1, 2, size, size))
    assert (found is None) == sound


class Inside(nn.Module):
    """A frozen unsound layer, a functional one, and a mode that must be left alone."""

    def __init__(self):
        super().__init__()
        self.frozen = nn.Conv2d(1, 1, 5, padding=2).requires_grad_(False)
        self.block = nn.Sequential(nn.Conv2d(1, 1, 1), Functional())
        self.norm = nn.BatchNorm2d(1)

    def forward(self, x):
        return self.norm(self.block(self.frozen(x)))


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.kernel = nn.Parameter(torch.ones(1, 1, 3, 5))

    def forward(self, x):
        return F.conv2d(x, self.kernel, padding="same")


def test_the_first_one_that_is_trained_is_named():
    network = Inside()
    network.norm.eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found = padding_only_taps(network, torch.zeros(1, 1, 2, 2))
    assert str(found) == "the 3x5 convolution 'block.1' on a map of 2x2"
    assert network.training
    assert not network.norm.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_one_axis_and_three():
    assert padding_only_taps(nn.Conv1d(1, 1, 3, padding=1), torch.zeros(1, 1, 2)) is None
    assert padding_only_taps(nn.Conv1d(1, 1, 3, padding=1), torch.zeros(1, 1, 1)) is not None
    assert padding_only_taps(nn.Conv3d(1, 1, 3, padding=1), torch.zeros(1, 1, 2, 2, 1)) is not None
