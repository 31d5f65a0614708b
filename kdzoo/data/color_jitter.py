"""Colour jitter of whole batches, as torchvision's ColorJitter but in a fixed order."""

import torch
from torch import Tensor

from kdzoo.data.augment_config import ColorJitterConfig


def color_jitter(x: Tensor, u: Tensor, config: ColorJitterConfig) -> Tensor:
    """Change brightness, contrast, saturation and hue, in this order.

    Args:
        x: [B, H, W, 3], values 0 to 255.
        u: [B, 4], uniform in [0, 1), one for each change.
        config: the strengths.

    Returns:
        float32, of the same range.
    """
    x = x.float()
    u = u[:, :, None, None, None]
    if config.brightness:
        x = _blend(x, torch.zeros_like(x), _factor(u[:, 0], config.brightness))
    if config.contrast:
        mean = grey(x).mean((1, 2, 3), keepdim=True)
        x = _blend(x, mean, _factor(u[:, 1], config.contrast))
    if config.saturation:
        x = _blend(x, grey(x), _factor(u[:, 2], config.saturation))
    if config.hue:
        x = shift_hue(x, (2 * u[:, 3] - 1) * config.hue)
    return x


def grey(x: Tensor) -> Tensor:
    """The luma of [..., 3], [..., 1] (ITU-R BT.601)."""
    red, green, blue = x.split(1, dim=-1)
    return 0.2989 * red + 0.587 * green + 0.114 * blue


def shift_hue(x: Tensor, shift: Tensor) -> Tensor:
    """Turn the hue of [B, H, W, 3] by ``shift``, in turns, which broadcasts to [B, H, W, 1].

    By way of hue, chroma and value; a channel is value - chroma * clamp(min(k, 4 - k), 0, 1) with
    k = (n + 6 hue) mod 6 and n = 5, 3, 1 for red, green and blue.
    """
    red, green, blue = x.split(1, dim=-1)
    value = x.amax(-1, keepdim=True)
    chroma = value - x.amin(-1, keepdim=True)
    scale = chroma.masked_fill(chroma == 0, 1.0)  # a number in where() waits for the device
    sixths = torch.where(
        value == red,
        (green - blue) / scale,
        torch.where(value == green, 2 + (blue - red) / scale, 4 + (red - green) / scale),
    )
    n = 5 - 2 * torch.arange(3, device=x.device)
    k = (n + sixths + 6 * shift) % 6
    return value - chroma * torch.minimum(k, 4 - k).clamp(0, 1)


def _factor(u: Tensor, strength: float) -> Tensor:
    lowest = max(0.0, 1 - strength)
    return lowest + u * (1 + strength - lowest)


def _blend(x: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    return (factor * x + (1 - factor) * other).clamp(0, 255)
