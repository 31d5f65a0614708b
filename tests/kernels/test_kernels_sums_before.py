"""A step adds up the sums that the backward pass of the one before begins with, and no others."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from torch.utils.weak import TensorWeakRef

pytest.importorskip("triton")

from fused_layers import (
    FORMATS,
    assert_near,
    divide,
    in_format,
    layers,
    noise,
)

import kdzoo.kernels.conv_norm_act as steps
from kdzoo.kernels.conv_norm_act import conv_norm_act
from kdzoo.kernels.device import batch_norm


@pytest.fixture
def summed(monkeypatch):
    """Gives one entry for each batch norm whose sums had a kernel of their own."""
    launched = []
    real = batch_norm.gradient_sums

    class Kernel:
        def __getitem__(self, grid):
            launched.append(grid)
            return real[grid]

    monkeypatch.setattr(batch_norm, "gradient_sums", Kernel())
    return launched


def two_steps(between, inputs=16, hidden=16, kernel=3, stride=1, size=(5, 7), batch=3):
    """The gradients of all there is in two steps, with something between them."""
    torch.manual_seed(0)
    steps = [layers(inputs, hidden, kernel), layers(hidden, 16, kernel, stride)]
    x = noise(batch, inputs, *size, dtype=FORMATS[0]).requires_grad_()
    shortcut = noise(batch, hidden, *size, dtype=FORMATS[0]).requires_grad_()
    with in_format():
        hidden_map, _ = conv_norm_act(x, *steps[0], nn.ReLU(), shortcut)
        out, again = conv_norm_act(between(hidden_map), *steps[1])
    loss = (out * noise(*out.shape, dtype=FORMATS[0])).double().sum()
    loss = loss + (again * noise(*again.shape, dtype=FORMATS[0])).double().sum()
    parameters = [value for step in steps for layer in step for value in layer.parameters()]
    return loss, [x, shortcut, *parameters], hidden_map


def assert_all_near(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert_near(one, other.double(), FORMATS[0])


@pytest.mark.parametrize("rows", [False, True])
@pytest.mark.parametrize(
    "sizes", [{}, {"hidden": 32, "stride": 2}, {"kernel": 1}, {"size": (1, 1), "batch": 9}]
)
def test_a_step_adds_up_the_sums_of_the_one_before(rows, sizes, summed, monkeypatch):
    if rows:
        divide(monkeypatch, 16, 16, 1)
    loss, values, _ = two_steps(torch.clone, **sizes)
    expected = torch.autograd.grad(loss, values)
    assert len(summed) == 2
    summed.clear()
    loss, values, _ = two_steps(lambda out: out, **sizes)
    assert_all_near(torch.autograd.grad(loss, values), expected)
    assert len(summed) == 1


def test_sums_are_added_up_anew_where_the_gradient_is_another(summed):
    def doubled(out):
        out.register_hook(lambda gradient: gradient.mul_(2))
        return out

    def doubled_unseen(out):
        out.register_hook(lambda gradient: (gradient.data.mul_(2), None)[1])
        return out

    def used_elsewhere(out):
        used_elsewhere.loss = out.double().square().sum()
        return out

    def used_twice(out):
        with in_format():
            used_twice.loss = conv_norm_act(out, *layers(16, 16))[0].double().square().sum()
        return out

    for between, launches in (
        (doubled, 2),
        (doubled_unseen, 2),
        (used_elsewhere, 2),
        (used_twice, 3),
    ):
        found = []
        for copy_it in (False, True):
            summed.clear()
            loss, values, _ = two_steps(
                lambda out: between(out.clone() if copy_it else out)  # noqa: B023
            )
            loss = loss + getattr(between, "loss", 0)
            found.append(torch.autograd.grad(loss, values))
            assert len(summed) == launches
        assert_all_near(*found)


def test_a_graph_that_is_kept_gives_the_same_gradients_again(summed):
    loss, values, hidden = two_steps(lambda out: out)
    first = torch.autograd.grad(loss, values, retain_graph=True)
    middle = torch.autograd.grad(loss, [hidden], retain_graph=True)
    again = torch.autograd.grad(loss, values)
    assert_all_near(again, first)
    assert middle[0].shape == hidden.shape
    assert len(summed) == 3


def test_nothing_is_kept_for_the_step_after_it(monkeypatch):
    made = []

    def convolve(*args):
        y, parts = real(*args)
        made.append(TensorWeakRef(y))
        return y, parts

    real = steps.convolve
    monkeypatch.setattr(steps, "convolve", convolve)
    conv, norm = layers(16, 16)
    x = noise(2, 16, 4, 4, dtype=FORMATS[0])

    def step(x):
        with in_format():
            return conv_norm_act(x, conv, norm, nn.ReLU())[0]

    with torch.no_grad():
        kept = step(x)
    assert [y() for y in made] == [None]
    made.clear()
    out = checkpoint(lambda x: step(step(x)), x.requires_grad_(), use_reentrant=False)
    assert [y() for y in made] == [None, None]
    out.sum().backward()
    assert kept.shape == x.grad.shape
