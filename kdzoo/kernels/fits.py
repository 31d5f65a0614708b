"""Which convolutions and batch norms the kernels are made for."""

import math

import torch
from torch import Tensor, nn

CHANNELS = (16, 32, 64)
"""As outputs; as inputs also fewer, where x needs no gradient."""
LARGEST = 2**31
"""Places in a map are numbers of 32 bits."""


def computed_in(x: Tensor) -> torch.dtype:
    """The format in which a convolution of ``x`` computes here."""
    if torch.is_autocast_enabled(x.device.type):
        return torch.get_autocast_dtype(x.device.type)
    return x.dtype


def fits(
    x: Tensor,
    conv: nn.Conv2d,
    norm: nn.BatchNorm2d,
    act: nn.ReLU | None,
    shortcut: Tensor | None,
    dtype: torch.dtype,
) -> bool:
    """Whether the kernels compute what the modules would, but for rounding."""
    modules = [module for module in (conv, norm, act) if module is not None]
    if torch.compiler.is_compiling() or any(map(_is_hooked, modules)):
        return False
    if not _is_plain_conv(conv, x.requires_grad) or not _is_plain_norm(norm):
        return False
    if act is not None and type(act) is not nn.ReLU:
        return False
    stride = conv.stride[0]
    out_size = [-(-size // stride) for size in x.shape[2:]]
    pixels = len(x) * math.prod(out_size)
    if pixels < 2 or max(x.numel(), pixels * conv.out_channels) >= LARGEST:
        return False
    if shortcut is not None and shortcut.shape != (len(x), conv.out_channels, *out_size):
        return False
    maps = [one for one in (x, shortcut) if one is not None and one.requires_grad]
    return all(one.dtype == dtype for one in maps)


def _is_plain_conv(conv: nn.Conv2d, with_gradient: bool) -> bool:
    inputs, outputs, kernel = conv.in_channels, conv.out_channels, conv.kernel_size[0]
    return (
        type(conv) is nn.Conv2d
        and conv.bias is None
        and conv.groups == 1
        and conv.dilation == (1, 1)
        and conv.kernel_size in ((1, 1), (3, 3))
        and conv.padding == (kernel // 2, kernel // 2)
        and conv.stride in ((1, 1), (2, 2))
        and conv.padding_mode == "zeros"
        and outputs in CHANNELS
        and (inputs in CHANNELS or (inputs < min(CHANNELS) and not with_gradient))
        and conv.weight.dtype == torch.float32
    )


def _is_plain_norm(norm: nn.BatchNorm2d) -> bool:
    """Whether it normalises a batch and keeps a moving average of its statistics."""
    return (
        type(norm) is nn.BatchNorm2d
        and norm.training
        and norm.affine
        and norm.running_mean is not None
        and norm.momentum is not None
        and norm.weight.dtype == torch.float32
    )


def _is_hooked(module: nn.Module) -> bool:
    hooks = (
        module._forward_hooks,
        module._forward_pre_hooks,
        module._backward_hooks,
        module._backward_pre_hooks,
    )
    return any(hooks) or "forward" in vars(module)
