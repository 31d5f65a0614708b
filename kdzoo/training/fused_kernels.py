"""The fused kernels in a captured step: whether they can be had, and do what they should."""

import importlib.util
import os
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from kdzoo.backbones.resnet import BasicBlock
from kdzoo.home import cache_folder
from kdzoo.methods.base import Method

CACHE = "TRITON_CACHE_DIR"
ROUNDING = 0.05
"""So far apart may gradients of a block be in bfloat16, relative to their norm."""
TRIAL = {"cpu": 8, "cuda": 2048}
"""Images of the trial's batch: on a GPU so many that kernels for many pixels are tried too."""


def fuse_kernels(method: Method, device: torch.device) -> str | None:
    """Let the networks of a method compute with kernels of their own, where those fit.

    Compiled kernels are kept in kdzoo's cache, or where ``TRITON_CACHE_DIR`` says.

    Returns:
        Why they cannot be had here; None where they can.
    """
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed"
    os.environ.setdefault(CACHE, str(cache_folder() / "triton"))
    try:
        from kdzoo.kernels import fuse as kernels

        if not kernels.can_be_fused(method):
            return "they are for residual blocks of kdzoo's own ResNets, and there is none"
        _try_blocks(kernels.fuse, device)
        _try_stem(device)
    except Exception as error:  # whatever Triton or the C compiler that it calls cannot do here
        text = str(error).strip()
        return (
            f"{type(error).__name__}: {text.splitlines()[0].rstrip('.')}" if text else repr(error)
        )
    kernels.fuse(method)
    return None


def _try_blocks(fuse: Callable[[nn.Module], None], device: torch.device) -> None:
    """Raises where the kernels do not run, or do not compute what PyTorch does."""
    draw = torch.Generator().manual_seed(0)
    for inputs, planes, stride in ((16, 16, 1), (16, 32, 2), (32, 64, 2)):
        with torch.random.fork_rng(devices=[]):
            block = BasicBlock(inputs, planes, stride)
        with torch.no_grad():
            for parameter in block.parameters():
                parameter.normal_(generator=draw)
        block.to(device).to(memory_format=torch.channels_last)
        x = torch.randn(TRIAL[device.type], inputs, 8, 8, generator=draw).to(device).bfloat16()
        x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
        found = []
        for _ in range(2):
            with torch.autocast(device.type, dtype=torch.bfloat16):
                loss = block(x).float().square().sum()
            gradients = torch.autograd.grad(loss, [x, *block.parameters()])
            found.append([*gradients, *(buffer.clone() for buffer in block.buffers())])
            for norm in block.modules():
                if isinstance(norm, nn.BatchNorm2d):
                    norm.reset_running_stats()
            fuse(block)
        _compare(*found)


def _try_stem(device: torch.device) -> None:
    """The same for kernels of images."""
    from kdzoo.kernels.conv_norm_act import conv_norm_act

    draw = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        conv, norm = nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
    stem = nn.Sequential(conv, norm).to(device).to(memory_format=torch.channels_last)
    x = torch.randn(TRIAL[device.type], 3, 8, 8, generator=draw).to(device)
    # with noise alone the weight's gradient would be little more than rounding
    slopes = x[:, :1] + torch.randn(len(x), 16, 8, 8, generator=draw).to(device)
    found = []
    for step in (stem, lambda x: conv_norm_act(x, conv, norm)[0]):
        norm.reset_running_stats()
        with torch.autocast(device.type, dtype=torch.bfloat16):
            loss = (step(x).float() * slopes).sum()
        gradients = torch.autograd.grad(loss, [conv.weight, norm.weight, norm.bias])
        found.append([*gradients, *(buffer.clone() for buffer in norm.buffers())])
    _compare(*found)


def _compare(theirs: Sequence[Tensor], ours: Sequence[Tensor]) -> None:
    for one, other in zip(theirs, ours, strict=True):
        if not (other - one).float().norm() <= ROUNDING * one.float().norm():
            raise RuntimeError("what they compute is not what PyTorch does")
