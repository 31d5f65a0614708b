"""Mixup and cutmix of whole batches, each sample with a weight of its own.

A sample is mixed with its neighbour in the batch. The order is random, so that any two samples are
neighbours equally often; and neighbours stay together where processes share a batch.
"""

import numpy as np
import torch
from torch import Tensor

from kdzoo.data.augment import boxes
from kdzoo.data.augment_config import AugmentConfig


class Mixing:
    """Mixes images, and their labels alike.

    Zhang et al., "mixup: Beyond Empirical Risk Minimization" (ICLR 2018); Yun et al., "CutMix"
    (ICCV 2019). With both, each sample takes one of them with equal chance.

    Args:
        config: the two alphas, of which at least one is not 0.
        num_classes: K.
        device: where the batches are.
    """

    def __init__(self, config: AugmentConfig, num_classes: int, device: torch.device) -> None:
        self._mixup = config.mixup
        self._cutmix = config.cutmix
        self._one_hot = torch.eye(num_classes, device=device)

    def draw(self, random: np.random.Generator, samples: int) -> np.ndarray:
        """Numbers for a sample each, float32 [samples, 4].

        What it keeps of itself in mixup and in cutmix, 1 where it does not take part, and where
        cutmix's box is, down and across, in [0, 1).
        """
        numbers = random.random((samples, 4))
        takes_mixup = numbers[:, 0] < (0.5 if self._cutmix else 1.0) * bool(self._mixup)
        mixup = random.beta(self._mixup or 1, self._mixup or 1, samples)
        cutmix = random.beta(self._cutmix or 1, self._cutmix or 1, samples)
        numbers[:, 0] = np.where(takes_mixup, mixup, 1)
        numbers[:, 1] = np.where(takes_mixup, 1, cutmix)
        return numbers.astype(np.float32)

    def apply(self, x: Tensor, labels: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Mix every view of a sample alike.

        Args:
            x: [V, B, H, W, C].
            labels: int64 [B].
            numbers: [B, 4] from :meth:`draw`.

        Returns:
            the mixed images and the probabilities of the classes, float32 [B, K].
        """
        H, W = x.shape[2:4]
        samples = torch.arange(len(labels), device=x.device)
        partner = samples ^ 1
        partner = torch.where(partner < len(labels), partner, samples)  # an odd one stays unmixed
        other = x.index_select(1, partner)
        kept, kept_area, down, across = numbers.unbind(1)
        if self._mixup:
            x = torch.lerp(other, x, kept[:, None, None, None])
        if self._cutmix:
            side = (1 - kept_area).sqrt()
            top, bottom = _clipped(down * H, side * H, H)
            left, right = _clipped(across * W, side * W, W)
            x = torch.where(boxes(x, top, left, bottom, right), other, x)
            kept = kept * (1 - (bottom - top) * (right - left) / (H * W))
        targets = self._one_hot.index_select(0, labels)
        return x, torch.lerp(targets.index_select(0, partner), targets, kept[:, None])


def _clipped(centre: Tensor, length: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Both ends, in whole pixels, of what lies inside ``size`` of a side; each [B]."""
    start = (centre - length / 2).round().clamp(0, size)
    return start, (centre + length / 2).round().clamp(0, size)
