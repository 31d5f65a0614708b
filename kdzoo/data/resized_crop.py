"""Random resized crops of whole batches: each sample its own box, antialiased."""

import numpy as np
import torch
from torch import Tensor

PURPOSE = "resized_crop"
"""Names the stream of random numbers, in either pipeline."""

NUMBERS = 4
"""Random numbers that a crop takes."""

RATIO = 4 / 3
"""The box is at most so many times wider than high, or higher than wide."""


def crop_boxes(
    u: Tensor, height: int, width: int, smallest: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The boxes (top, left, height, width), each [B], whole pixels, that ``u`` [B, 4] stands for.

    The part of the area is uniform in [``smallest``, 1] and the ratio of the sides log-uniform, as
    in torchvision's RandomResizedCrop; what does not fit is cut off rather than drawn again.
    """
    area = (smallest + (1 - smallest) * u[:, 0]) * (height * width)
    ratio = torch.exp((2 * u[:, 1] - 1) * np.log(RATIO))
    rows = (area / ratio).sqrt().round().clamp(1, height)
    columns = (area * ratio).sqrt().round().clamp(1, width)
    top = (u[:, 2] * (height + 1 - rows)).floor()
    left = (u[:, 3] * (width + 1 - columns)).floor()
    return top, left, rows, columns


def resized_crop(x: Tensor, u: Tensor, smallest: float) -> Tensor:
    """Crop a box of each image and resize it to the old size.

    Args:
        x: [B, H, W, C] of bytes.
        u: [B, 4], uniform in [0, 1).
        smallest: part of the area that a box has at least.

    Returns:
        float32 [B, H, W, C].
    """
    H, W = x.shape[1:3]
    top, left, height, width = crop_boxes(u, H, W, smallest)
    rows = _weights(top, height, H)
    columns = _weights(left, width, W)
    return torch.einsum("bih,bhwc,bjw->bijc", rows, x.float(), columns).contiguous()


def _weights(start: Tensor, length: Tensor, size: int) -> Tensor:
    """What each of the ``size`` pixels adds to each output pixel along one side, [B, size, size].

    Bilinear, and antialiased where the box shrinks; pixels outside the box add nothing.
    """
    pixels = torch.arange(size, device=start.device)
    scale = (length / size)[:, None, None]
    centres = start[:, None, None] + (pixels[:, None] + 0.5) * scale - 0.5
    weights = (1 - (pixels - centres).abs() / scale.clamp(min=1)).clamp(min=0)
    inside = (pixels >= start[:, None]) & (pixels < (start + length)[:, None])
    weights = weights * inside[:, None, :]
    return weights / weights.sum(2, keepdim=True)
