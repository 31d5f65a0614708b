"""What the fused kernels are not made for is computed, or refused, as PyTorch does."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

pytest.importorskip("triton")

from fused_layers import DEVICE, layers, noise

from kdzoo.kernels.conv_norm_act import conv_norm_act


def _with(change):
    """A convolution and a batch norm, changed."""
    conv, norm = nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
    return change(conv, norm) or (conv, norm)


def _hooked(conv, norm):
    norm.register_forward_hook(lambda module, x, y: y * 2)


def _changed(**attributes):
    def change(conv, norm):
        for name, value in attributes.items():
            setattr(norm, name, value)

    return change


class Doubled(nn.Conv2d):
    def forward(self, x):
        return 2 * super().forward(x)


OTHERS = {
    "a bias": lambda conv, norm: (nn.Conv2d(16, 16, 3, padding=1), norm),
    "groups": lambda conv, norm: (nn.Conv2d(16, 16, 3, padding=1, groups=2, bias=False), norm),
    "dilation": lambda conv, norm: (nn.Conv2d(16, 16, 3, padding=2, dilation=2, bias=False), norm),
    "5x5": lambda conv, norm: (nn.Conv2d(16, 16, 5, padding=2, bias=False), norm),
    "no padding": lambda conv, norm: (nn.Conv2d(16, 16, 3, bias=False), norm),
    "padding in words": lambda conv, norm: (nn.Conv2d(16, 16, 3, padding="same", bias=False), norm),
    "another padding": lambda conv, norm: (
        nn.Conv2d(16, 16, 3, padding=1, bias=False, padding_mode="circular"),
        norm,
    ),
    "stride 3": lambda conv, norm: (nn.Conv2d(16, 16, 3, 3, padding=1, bias=False), norm),
    "two strides": lambda conv, norm: (nn.Conv2d(16, 16, 3, (1, 2), padding=1, bias=False), norm),
    "channels": lambda conv, norm: (
        nn.Conv2d(16, 24, 3, padding=1, bias=False),
        nn.BatchNorm2d(24),
    ),
    "many channels": lambda conv, norm: (
        nn.Conv2d(16, 128, 3, padding=1, bias=False),
        nn.BatchNorm2d(128),
    ),
    "a kind of convolution": lambda conv, norm: (Doubled(16, 16, 3, padding=1, bias=False), norm),
    "a kind of norm": lambda conv, norm: (conv, nn.SyncBatchNorm(16).eval()),
    "a hook": _hooked,
    "evaluation": _changed(training=False),
    "no momentum": _changed(momentum=None),
    "statistics left alone": _changed(track_running_stats=False),
    "statistics not counted": _changed(num_batches_tracked=None),
    "weights of a norm apart in memory": _changed(weight=nn.Parameter(torch.ones(16, 2)[:, 0])),
    "statistics apart in memory": _changed(running_mean=torch.zeros(16, 2)[:, 0]),
    "no statistics": lambda conv, norm: (conv, nn.BatchNorm2d(16, track_running_stats=False)),
    "no weights": lambda conv, norm: (conv, nn.BatchNorm2d(16, affine=False)),
}


@pytest.mark.parametrize("change", OTHERS.values(), ids=OTHERS)
def test_what_the_kernels_are_not_made_for_is_computed_as_usual(change):
    torch.manual_seed(0)
    conv, norm = _with(change)
    other_conv, other_norm = copy.deepcopy((conv, norm))
    x = torch.randn(3, 16, 7, 7).requires_grad_()
    out, again = conv_norm_act(x, conv, norm, nn.ReLU())
    assert again is x
    assert type(out.grad_fn).__name__ == "ReluBackward0"
    assert torch.allclose(out, F.relu(other_norm(other_conv(x))), atol=1e-6)
    for one, other in zip(norm.buffers(), other_norm.buffers(), strict=True):
        assert torch.allclose(one, other)


@pytest.mark.parametrize("channels", [5, 15, 16, 32])
def test_maps_in_another_format_are_left_to_pytorch(channels):
    conv, norm = layers(channels, 16)
    x = noise(3, channels, 4, 4, dtype=torch.float32)
    with torch.autocast(DEVICE, dtype=torch.float16):
        out, _ = conv_norm_act(x, conv, norm, nn.ReLU())
        assert type(out.grad_fn).__name__ == "ReluBackward0"
        norm.reset_running_stats()
        assert torch.equal(out, norm(conv(x)).relu())


@pytest.mark.skipif(DEVICE == "cuda", reason="of the CPU's formats")
def test_a_shortcut_of_another_format_is_added_as_usual():
    torch.manual_seed(0)
    conv, norm = layers(16, 16)
    x = torch.randn(2, 16, 5, 5)
    with torch.autocast("cpu", dtype=torch.float16):
        out, _ = conv_norm_act(x, conv, norm, None, x)
        expected = copy.deepcopy(norm)(conv(x)) + x
    assert out.dtype == torch.float32
    assert torch.equal(out, expected)


@pytest.mark.parametrize(
    ("conv", "norm"),
    [
        (nn.Conv2d(32, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)),
        (nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(32)),
        (nn.Conv2d(16, 16, 3, padding=1, bias=False).double(), nn.BatchNorm2d(16)),
    ],
)
def test_what_does_not_go_together_is_refused_as_usual(conv, norm):
    with pytest.raises(RuntimeError):
        conv_norm_act(torch.randn(3, 16, 5, 5), conv, norm)


@pytest.mark.parametrize("act", [nn.ReLU6(), nn.LeakyReLU()])
def test_another_activation_is_computed_as_usual(act):
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
    x = 10 * torch.randn(3, 16, 7, 7)
    expected = act(copy.deepcopy(norm)(conv(x)))
    assert torch.equal(conv_norm_act(x, conv, norm, act)[0], expected)


def test_a_shortcut_of_another_shape_is_added_as_usual():
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
    x, shortcut = torch.randn(3, 16, 7, 7), torch.randn(16, 1, 1)
    expected = copy.deepcopy(norm)(conv(x)) + shortcut
    assert torch.equal(conv_norm_act(x, conv, norm, None, shortcut)[0], expected)


def test_one_pixel_is_refused_as_usual():
    conv, norm = nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        conv_norm_act(torch.randn(1, 16, 1, 1), conv, norm)
