"""Augmentation of whole batches on the device, each sample its own draw.

An augmentation is a pure function of a batch and of random numbers that were drawn before. Images
are [B, H, W, 3]: bytes for what moves pixels, floats for what changes their values. In that layout
a row of an image is one block of memory, and channels-last networks read it as it is.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from kdzoo.data.augment_config import AugmentConfig
from kdzoo.data.color_jitter import color_jitter
from kdzoo.data.resized_crop import NUMBERS, PURPOSE, resized_crop

FLIP = "flip"
"""Names the stream of random numbers, in either pipeline."""


@dataclass(frozen=True)
class Augmentation:
    """One step of the chain.

    Attributes:
        name: names its stream of random numbers.
        numbers: how many of them a sample takes, R.
        apply: images [B, H, W, 3] and numbers [B, R], uniform in [0, 1) -> images.
    """

    name: str
    numbers: int
    apply: Callable[[Tensor, Tensor], Tensor]


def on_pixels(config: AugmentConfig) -> list[Augmentation]:
    """What is done to images of bytes 0 to 255, in order."""
    steps = []
    if config.resized_crop is not None:
        crop = partial(resized_crop, smallest=config.resized_crop)
        steps.append(Augmentation(PURPOSE, NUMBERS, crop))
    if config.crop_padding:
        crop = partial(pad_and_crop, padding=config.crop_padding)
        steps.append(Augmentation("crop", 2, crop))
    if config.flip:
        steps.append(Augmentation(FLIP, 1, partial(flip, probability=config.flip)))
    if config.color_jitter.changes:
        jitter = partial(color_jitter, config=config.color_jitter)
        steps.append(Augmentation("color_jitter", 4, jitter))
    return steps


def on_normalised(config: AugmentConfig) -> list[Augmentation]:
    """What is done to normalised images, in which 0 is the mean colour, in order."""
    steps = []
    if config.cutout:
        steps.append(Augmentation("cutout", 2, partial(cutout, side=config.cutout)))
    if config.random_erasing:
        erase = partial(random_erasing, probability=config.random_erasing)
        steps.append(Augmentation("random_erasing", 5, erase))
    return steps


def pad_and_crop(x: Tensor, u: Tensor, padding: int) -> Tensor:
    """Pad with zeros on each side, then crop to the old size at the place ``u`` [B, 2] says.

    A cropped row is one block of the padded batch, so that the crop is a single gather of rows.
    """
    B, H, W, C = x.shape
    padded = torch.nn.functional.pad(x, (0, 0, padding, padding, padding, padding))
    height, width = H + 2 * padding, W + 2 * padding
    places = (u * (2 * padding + 1)).long()
    samples = torch.arange(B, device=x.device)[:, None]
    rows = torch.arange(H, device=x.device)
    starts = ((samples * height + places[:, :1] + rows) * width + places[:, 1:]).flatten()
    blocks = padded.as_strided((B * height * width - W + 1, W * C), (C, 1))
    return blocks.index_select(0, starts).view(B, H, W, C)


def flip(x: Tensor, u: Tensor, probability: float) -> Tensor:
    """Mirror left and right where ``u`` [B, 1] says so."""
    # permuted so, torch's flip has a fast path for bytes; and choosing samples by their position
    # among both copies is several times faster than torch.where
    mirrored = x.permute(0, 3, 1, 2).flip(3).permute(0, 2, 3, 1)
    samples = torch.arange(len(x), device=x.device)
    return torch.cat((x, mirrored)).index_select(0, samples + len(x) * (u[:, 0] < probability))


def cutout(x: Tensor, u: Tensor, side: int) -> Tensor:
    """Set a square to 0 whose centre is any pixel, so that it may reach over the edge.

    DeVries & Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout" (2017).
    """
    top = (u[:, 0] * x.shape[1]).floor() - side // 2
    left = (u[:, 1] * x.shape[2]).floor() - side // 2
    return x * ~boxes(x, top, left, top + side, left + side)


def random_erasing(x: Tensor, u: Tensor, probability: float) -> Tensor:
    """Set a box inside the image to 0, in some of the samples.

    Zhong et al., "Random Erasing Data Augmentation" (AAAI 2020): an area of 2 to 33 % and a ratio
    of sides of 0.3 to 3.3, here cut off at the size of the image.
    """
    H, W = x.shape[1:3]
    area = (0.02 + 0.31 * u[:, 0]) * (H * W)
    ratio = torch.exp(np.log(3.3) + u[:, 1] * (np.log(0.3) - np.log(3.3)))
    height = (area * ratio).sqrt().round().clamp(1, H)
    width = (area / ratio).sqrt().round().clamp(1, W)
    top = (u[:, 2] * (H + 1 - height)).floor()
    left = (u[:, 3] * (W + 1 - width)).floor()
    bottom = torch.where(u[:, 4] < probability, top + height, top)
    return x * ~boxes(x, top, left, bottom, left + width)


def boxes(x: Tensor, top: Tensor, left: Tensor, bottom: Tensor, right: Tensor) -> Tensor:
    """A mask [B, H, W, 1] of a box a sample; its sides are [B], bottom and right exclusive."""
    rows = torch.arange(x.shape[-3], device=x.device)
    columns = torch.arange(x.shape[-2], device=x.device)
    inside_rows = (rows >= top[:, None]) & (rows < bottom[:, None])
    inside_columns = (columns >= left[:, None]) & (columns < right[:, None])
    return (inside_rows[:, :, None] & inside_columns[:, None, :])[..., None]
