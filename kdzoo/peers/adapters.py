"""What brings feature maps of two networks to one number of channels and one size."""

import torch.nn.functional as F
from torch import Tensor, nn


def adapter(inputs: int, outputs: int, kernel: int = 1) -> nn.Sequential:
    """A convolution that keeps h and w, and batch norm, for features that only a loss sees.

    There is no evaluation, so the norm keeps no running statistics.

    Args:
        inputs: C of the maps [B, C, h, w].
        outputs: C of what is made of them.
        kernel: odd; of the convolution.
    """
    convolution = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs, track_running_stats=False))


def averaged_down(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Two maps [B, C, h, w] at the smaller height and width of both, averaged."""
    size = smaller_size(one, other)
    return F.adaptive_avg_pool2d(one, size), F.adaptive_avg_pool2d(other, size)


def smaller_size(one: Tensor, other: Tensor) -> tuple[int, int]:
    """Height and width that neither of two maps exceeds."""
    return min(one.shape[2], other.shape[2]), min(one.shape[3], other.shape[3])


def resized(maps: Tensor, like: Tensor) -> Tensor:
    """Maps [B, C, h, w] at the size of others, each value that of the nearest pixel."""
    if maps.shape[2:] == like.shape[2:]:
        return maps
    return F.interpolate(maps, like.shape[2:], mode="nearest")
