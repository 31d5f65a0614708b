"""The fused kernels against the equations in float64; without a GPU, in Triton's interpreter."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import nn

pytest.importorskip("triton")

from fused_layers import DEVICE, FORMATS, assert_near, check, divide, in_format, layers, noise

from kdzoo.kernels import tuned
from kdzoo.kernels.conv_norm_act import conv_norm_act
from kdzoo.kernels.device import convolution_by_rows


@settings(max_examples=20)
@given(
    inputs=st.sampled_from([1, 3, 16, 32]),
    outputs=st.sampled_from([16, 32]),
    kernel=st.sampled_from([1, 3]),
    stride=st.sampled_from([1, 2]),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    batch=st.integers(1, 5),
    shortcut=st.booleans(),
    relu=st.booleans(),
    dtype=st.sampled_from(FORMATS),
    seed=st.integers(0, 2**31),
)
def test_it_computes_the_equations_and_their_gradients(
    inputs, outputs, kernel, stride, size, batch, shortcut, relu, dtype, seed
):
    # where a ReLU is at 0 but for rounding, a gradient jumps; so few pixels have few such
    assume(batch * -(-size[0] // stride) * -(-size[1] // stride) >= 8)
    relu = relu and dtype == FORMATS[0]
    check(inputs, outputs, kernel, stride, size, batch, shortcut, relu, dtype, seed)


@pytest.mark.parametrize(("inputs", "outputs", "stride"), [(64, 64, 1), (32, 64, 2), (64, 16, 1)])
def test_it_does_so_with_64_channels(inputs, outputs, stride):
    check(inputs, outputs, 3, stride, (8, 8), 4, stride == 1, True, FORMATS[0])


def test_sums_over_many_blocks_are_added_up(monkeypatch):
    monkeypatch.setattr(tuned, "MOST", 8)
    monkeypatch.setattr(tuned, "CONVOLVE", {16: tuned.Blocks(16, 4)})
    monkeypatch.setattr(tuned, "SHARES", {16: tuned.Shares(16, 1, 7)})
    monkeypatch.setattr(tuned, "ADDED", 2)
    monkeypatch.setattr(tuned, "VALUES_OF_MAPS", 16 * 16)
    monkeypatch.setattr(tuned, "PARTS", 4 * 16)
    check(16, 16, 3, 1, (9, 8), 15, True, True, FORMATS[0])


@pytest.fixture
def by_rows(monkeypatch):
    """Small maps go that way too; gives what was computed so, [rows, columns] of a program each."""
    launched = []
    real = convolution_by_rows.convolve_by_rows

    class Kernel:
        def __getitem__(self, grid):
            def launch(*args, **kwargs):
                launched.append((kwargs["rows"], kwargs["COLUMNS"]))
                real[grid](*args, **kwargs)

            return launch

    monkeypatch.setattr(convolution_by_rows, "convolve_by_rows", Kernel())
    return launched


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    channels=st.sampled_from([16, 32]),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    batch=st.integers(1, 7),
    enough=st.integers(1, 12),
    relu=st.booleans(),
    dtype=st.sampled_from(FORMATS),
    seed=st.integers(0, 2**31),
)
def test_by_rows_it_computes_the_same(by_rows, channels, size, batch, enough, relu, dtype, seed):
    assume(batch * size[0] * size[1] >= 8)
    programs = -(-batch * size[1] // 16) * size[0]
    assume(programs * channels // 16 >= enough)  # otherwise others do it
    by_rows.clear()
    with pytest.MonkeyPatch.context() as patch:
        divide(patch, 16, 16, enough)
        relu = relu and dtype == FORMATS[0]
        check(channels, channels, 3, 1, size, batch, True, relu, dtype, seed)
    assert len(by_rows) == 2
    assert all(1 <= rows <= size[0] for rows, _ in by_rows)


@pytest.mark.skipif(DEVICE == "cuda", reason="bfloat16 has no digits for it")
@pytest.mark.parametrize("kernel", [1, 3])
def test_a_large_mean_costs_no_digits_of_the_variance(kernel, by_rows, monkeypatch):
    divide(monkeypatch, 16, 16, 2)
    torch.manual_seed(0)
    conv, norm = layers(16, 16, kernel)
    with torch.no_grad():
        conv.weight.zero_()[:, :, kernel // 2, kernel // 2] = torch.eye(16)
    x = 300 + noise(8, 16, 8, 8, dtype=torch.float32)
    conv_norm_act(x, conv, norm)
    variance = x.double().var(dim=(0, 2, 3))
    found = (norm.running_var.double() - 0.9) / 0.1
    assert torch.allclose(found, variance, rtol=1e-4, atol=0)  # from plain squares it is 3 % off


def test_what_is_no_number_is_not_hidden_by_the_relu():
    conv, norm = layers(16, 16)
    x = noise(2, 16, 4, 4, dtype=FORMATS[0])
    x[0, 3, 1, 1] = float("nan")
    with in_format():
        out, _ = conv_norm_act(x.requires_grad_(), conv, norm, nn.ReLU())
    assert out.isnan().any()
    out.sum().backward()
    assert conv.weight.grad.isnan().any()


def test_a_layout_in_memory_changes_no_value():
    found = []
    for layout in (torch.channels_last, torch.contiguous_format):
        torch.manual_seed(0)
        conv, norm = layers(16, 32)
        conv = conv.to(memory_format=layout)
        x = noise(3, 16, 5, 6, dtype=FORMATS[0]).contiguous(memory_format=layout).requires_grad_()
        with in_format():
            out, _ = conv_norm_act(x, conv, norm, nn.ReLU())
        gradient = noise(*out.shape, dtype=FORMATS[0]).contiguous(memory_format=layout)
        out.backward(gradient)
        found.append([out, x.grad, conv.weight.grad, norm.weight.grad, norm.bias.grad])
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


def test_what_is_frozen_gets_no_gradient_and_passes_it_on():
    torch.manual_seed(0)
    conv, norm = layers(16, 16)
    x = noise(2, 16, 5, 5, dtype=FORMATS[0]).requires_grad_()
    gradients = []
    for frozen in (False, True):
        conv.requires_grad_(not frozen)
        norm.requires_grad_(not frozen)
        with in_format():
            out, _ = conv_norm_act(x, conv, norm, nn.ReLU())
        gradients += torch.autograd.grad(out.double().square().sum(), [x])
    assert torch.equal(*gradients)
    assert gradients[0].abs().sum() > 0


def test_there_is_no_second_derivative_and_that_is_said():
    conv, norm = layers(16, 16)
    x = noise(2, 16, 4, 4, dtype=FORMATS[0]).requires_grad_()
    with in_format():
        out, _ = conv_norm_act(x, conv, norm)
    (first,) = torch.autograd.grad(out.double().square().sum(), [x], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


def gradients(way, wanted, out):
    """Those of a sum over what ``way`` makes of an output, weighed the same way each time."""
    values = way(out)
    torch.manual_seed(5)
    weights = torch.randn(values.shape, device=DEVICE)
    return torch.autograd.grad((values.float() * weights).sum(), wanted)


@pytest.mark.parametrize("where", ["gradient", "shortcut", "other"])
def test_maps_with_gaps_between_their_pixels_are_read_right(where):
    """Part of the channels of a map is laid out like a channels-last map, but for the gaps."""
    torch.manual_seed(0)
    conv, norm = layers(16, 16)
    x = noise(3, 16, 5, 5, dtype=FORMATS[0]).requires_grad_()
    wide = noise(3, 32, 5, 5, dtype=FORMATS[0])
    wanted = [x, conv.weight, norm.weight]

    def beside(out):
        return torch.cat([wide[:, 16:], out, wide[:, 16:]], dim=1)

    def computed(shortcut):
        with in_format():
            out, again = conv_norm_act(x, conv, norm, nn.ReLU(), shortcut)
        if where == "gradient":
            return gradients(beside, wanted, out)
        if where == "other":
            return gradients(lambda out: beside(again) * beside(out), wanted, out)
        return [out, *gradients(lambda out: out, wanted, out)]

    def expected(shortcut):
        with in_format():
            out = norm(conv(x))
        out = F.relu(out if shortcut is None else out + shortcut)
        if where == "gradient":
            return gradients(beside, wanted, out)
        if where == "other":
            return gradients(lambda out: beside(x) * beside(out), wanted, out)
        return [out, *gradients(lambda out: out, wanted, out)]

    shortcut = wide[:, :16] if where == "shortcut" else None
    for found, reference in zip(computed(shortcut), expected(shortcut), strict=True):
        assert_near(found.detach(), reference.detach().double(), FORMATS[0])


def test_a_weight_that_is_part_of_a_larger_one_gets_its_own_gradient():
    torch.manual_seed(0)
    conv, norm = layers(16, 16)
    whole = torch.randn(16, 32, 3, 3, device=DEVICE)
    conv.weight = nn.Parameter(whole[:, :16])
    x = noise(2, 16, 5, 5, dtype=FORMATS[0])
    with in_format():
        out, _ = conv_norm_act(x, conv, norm)
        expected = norm(conv(x))
    (found,) = gradients(lambda out: out, [conv.weight], out)
    (reference,) = gradients(lambda out: out, [conv.weight], expected)
    assert_near(found, reference.double(), FORMATS[0])


def test_where_y_is_not_used_its_weights_get_no_gradient():
    conv, norm = layers(16, 16)
    x = noise(2, 16, 5, 5, dtype=FORMATS[0]).requires_grad_()
    with in_format():
        _, again = conv_norm_act(x, conv, norm)
    again.sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))
    assert conv.weight.grad is None
    assert norm.weight.grad is None
