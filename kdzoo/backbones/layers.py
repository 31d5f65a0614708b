"""Convolution, batch-norm and shortcut layers that the 32x32 networks have in common."""

from collections.abc import Iterable
from typing import Literal

import torch
import torch.fx
from torch import Tensor, nn


def conv3x3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    """A 3x3 convolution that keeps H and W at stride 1, without a bias."""
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)


def conv_bn(
    inputs: int,
    outputs: int,
    kernel: int,
    stride: int = 1,
    groups: int = 1,
    activation: type[nn.ReLU] | type[nn.ReLU6] | None = nn.ReLU,
) -> nn.Sequential:
    """A convolution that keeps H and W at stride 1, batch norm and, if any, an activation."""
    conv = nn.Conv2d(
        inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False
    )
    after = [activation(inplace=True)] if activation else []
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), *after)


def projection(inputs: int, outputs: int, stride: int) -> nn.Module:
    """A residual shortcut: the identity where the shape stays, else a 1x1 convolution and BN."""
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    return conv_bn(inputs, outputs, 1, stride=stride, activation=None)


def global_average(x: Tensor) -> Tensor:
    """The mean over all pixels, [B, C, H, W] -> [B, C], with a gradient laid out as ``x`` is.

    PyTorch's gradient of a mean comes in NCHW order whatever the order of ``x``. Where ``x`` is
    channels last, what comes next in the backward pass, a ReLU's mostly, then reads one operand
    across the other, twenty times slower on a CPU. The values are the same, bit by bit.
    """
    if x.is_contiguous(memory_format=torch.channels_last):
        return x.permute(0, 2, 3, 1).mean(dim=(1, 2))
    return x.mean(dim=(2, 3))


torch.fx.wrap("global_average")  # how a map is laid out is not known while a network is traced


class GlobalAvgPool(nn.Module):
    """:func:`global_average` as a layer."""

    def forward(self, x: Tensor) -> Tensor:
        return global_average(x)


def initialise(module: nn.Module, fan: Literal["fan_in", "fan_out"] = "fan_out") -> None:
    """He initialisation for every convolution of a network or of a part of one.

    Their biases start at 0. Norms keep PyTorch's own start, a weight of 1 and a bias of 0, and
    linear layers theirs.

    Source: He et al., "Delving Deep into Rectifiers", ICCV 2015.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode=fan, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def add_blocks(stage: nn.Sequential, blocks: Iterable[nn.Module]) -> None:
    """Blocks, with He initialisation, at the end of a stage."""
    for block in blocks:
        initialise(block)
        stage.append(block)
