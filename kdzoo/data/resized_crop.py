"""Random resized crops of whole batches: each sample its own box, antialiased."""

import math
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

PURPOSE = "resized_crop"
"""Names the stream of random numbers, in either pipeline."""

NUMBERS = 4
"""Random numbers that a crop takes."""

RATIO = 4 / 3
"""The box is at most so many times wider than high, or higher than wide."""

Array = TypeVar("Array", Tensor, np.ndarray)


def crop_shapes(u: Tensor, smallest: float) -> Tensor:
    """What ``u`` [..., 4] says of boxes, whatever the size of their images: [..., 4].

    The part of the area, uniform in [``smallest``, 1]; the ratio of width to height, log-uniform as
    in torchvision's RandomResizedCrop; and how far down and how far across the box is, in [0, 1).
    """
    area = smallest + (1 - smallest) * u[..., 0]
    ratio = torch.exp((2 * u[..., 1] - 1) * math.log(RATIO))
    return torch.stack((area, ratio, u[..., 2], u[..., 3]), dim=-1)


def crop_boxes(shapes: Array, height: int, width: int) -> tuple[Array, Array, Array, Array]:
    """The boxes (top, left, height, width) of these shapes, float32 [B, 4]: each [B], whole pixels.

    What does not fit is cut off rather than drawn again. All operations are rounded alike
    everywhere, so that boxes of an array, which is faster for one image, are those of a tensor.
    """
    xp: Any = torch if isinstance(shapes, Tensor) else np
    part, ratio, down, across = (shapes[..., at] for at in range(NUMBERS))
    area = part * (height * width)
    rows = xp.round(xp.sqrt(area / ratio)).clip(1, height)
    columns = xp.round(xp.sqrt(area * ratio)).clip(1, width)
    top = xp.floor(down * (height + 1 - rows))
    left = xp.floor(across * (width + 1 - columns))
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
    top, left, height, width = crop_boxes(crop_shapes(u, smallest), H, W)
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
