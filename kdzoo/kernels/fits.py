"""Which convolutions and batch norms the kernels are made for."""

import math
import os

import torch
from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook

CHANNELS = (16, 32, 64)
"""As outputs; as inputs also those of images."""
IMAGES = range(1, 5)
"""Channels of images, which need no gradient and may be in another format."""
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
    if torch.compiler.is_compiling() or _has_any_global_hook():
        return False
    if dtype not in _formats(x.device):
        return False
    if not is_plain(conv, nn.Conv2d) or not is_plain(norm, nn.BatchNorm2d):
        return False
    if act is not None and not is_plain(act, nn.ReLU):
        return False
    if not _is_for_kernels(conv, norm, x):
        return False
    stride = conv.stride[0]
    out_size = [-(-size // stride) for size in x.shape[2:]]
    pixels = len(x) * math.prod(out_size)
    if pixels < 2 or max(x.numel(), pixels * conv.out_channels) >= LARGEST:
        return False
    if shortcut is not None:
        if shortcut.shape != (len(x), conv.out_channels, *out_size):
            return False
        if shortcut.dtype != dtype or shortcut.device != x.device:
            return False
    return x.dtype == dtype or x.shape[1] in IMAGES


def is_plain(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether a module is of this very kind, and a call of it does nothing else."""
    hooks = (
        module._forward_hooks,
        module._forward_pre_hooks,
        module._backward_hooks,
        module._backward_pre_hooks,
    )
    return type(module) is kind and not any(hooks) and "forward" not in vars(module)


def _formats(device: torch.device) -> tuple[torch.dtype, ...]:
    """Those in which the kernels compute on a device."""
    if device.type == "cuda":
        return torch.bfloat16, torch.float16
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"  # which cannot multiply bfloat16
    return (torch.float32, torch.float16) if interpreted else ()


def _is_for_kernels(conv: nn.Conv2d, norm: nn.BatchNorm2d, x: Tensor) -> bool:
    """Whether these sizes are theirs, and the norm keeps a moving average of its statistics."""
    kernel = conv.kernel_size[0]
    inputs, outputs = (x.shape[1] if x.ndim == 4 else 0), conv.out_channels
    if inputs not in CHANNELS and (inputs not in IMAGES or x.requires_grad):
        return False
    sizes = (
        conv.kernel_size in ((1, 1), (3, 3))
        and conv.padding == (kernel // 2, kernel // 2)
        and conv.stride in ((1, 1), (2, 2))
        and conv.dilation == (1, 1)
        and conv.padding_mode == "zeros"
        and conv.bias is None
        and outputs in CHANNELS
        and conv.weight.shape == (outputs, inputs, kernel, kernel)
    )
    if not sizes or not norm.training or not norm.track_running_stats or norm.momentum is None:
        return False
    of_norm = (norm.weight, norm.bias, norm.running_mean, norm.running_var)
    floats = [value for value in of_norm if value is not None and value.shape == (outputs,)]
    if len(floats) < len(of_norm) or not all(value.is_contiguous() for value in floats):
        return False
    if any(v.dtype != torch.float32 or v.device != x.device for v in (conv.weight, *floats)):
        return False
    count = norm.num_batches_tracked
    return count is not None and count.dtype == torch.int64 and count.device == x.device
