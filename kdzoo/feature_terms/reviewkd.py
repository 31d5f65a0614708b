"""ReviewKD, knowledge review: all of the student's stages learn from its teacher's earlier ones."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdzoo.feature_terms.base import Batch, Features, FeatureTerm
from kdzoo.feature_terms.settings import ReviewKDConfig
from kdzoo.peers.adapters import adapter, resized
from kdzoo.registry import feature_terms

PYRAMID = ((4, 1 / 2), (2, 1 / 4), (1, 1 / 8))
"""The sizes that maps are averaged down to, and what the distance of each is multiplied by."""


@feature_terms.register("reviewkd")
class ReviewKD(FeatureTerm):
    """The distance of the teacher's maps from the student's, which are fused from the last one on.

    ``w sum_l HCL(conv3x3(f_l), t_l)``: f_l is the student's map of level l, through a 1x1
    convolution, and fused with f_{l+1}; the last level are the embeddings. w rises from 0 to 1.
    """

    Config = ReviewKDConfig
    paper = (
        "Chen, Liu, Zhao, Jia. Distilling Knowledge via Knowledge Review. CVPR 2021. "
        "arXiv:2104.09044"
    )
    min_batch = 2  # for the batch norm of 1x1 maps

    def __init__(self, config: Any, student: Features, teacher: Features) -> None:
        super().__init__(config, student, teacher)
        own = [maps.shape[1] for maps in levels(student)]
        theirs = [maps.shape[1] for maps in levels(teacher)]
        width = min(config.width, own[0])
        self.narrow = nn.ModuleList(adapter(c, width) for c in own)
        self.fuse = nn.ModuleList(AttentionFusion(width) for _ in own[1:])
        self.widen = nn.ModuleList(adapter(width, c, kernel=3) for c in theirs)
        for layer in [each[0] for each in (*self.narrow, *self.widen)]:
            nn.init.kaiming_uniform_(layer.weight, a=1)

    def forward(self, student: Features, teacher: Features, batch: Batch) -> Tensor:
        own, theirs = levels(student), levels(teacher)
        fused = self.narrow[0](own[0])
        apart = [hierarchical_context_loss(self.widen[0](fused), theirs[0])]
        for narrow, fuse, widen, s, t in zip(
            self.narrow[1:], self.fuse, self.widen[1:], own[1:], theirs[1:], strict=True
        ):
            fused = resized(fuse(narrow(s), fused), t)
            apart.append(hierarchical_context_loss(widen(fused), t))
        return self.warm(batch.progress) * torch.stack(apart).sum()

    def warm(self, progress: Tensor) -> Tensor:
        """The weight at a fraction of the training, a scalar."""
        if not self.config.warm_up:
            return torch.ones_like(progress)
        return (progress / self.config.warm_up).clamp(max=1)


class AttentionFusion(nn.Module):
    """ABF's fusion: the sum of two maps, each weighted pixel by pixel by what both see.

    Args:
        width: C, the channels of each.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weigh = nn.Conv2d(2 * width, 2, 1)

    def forward(self, own: Tensor, deeper: Tensor) -> Tensor:
        """[B, C, h, w] of ``own`` [B, C, h, w] and of ``deeper``, which is brought to its size."""
        deeper = resized(deeper, own)
        one, other = self.weigh(torch.cat([own, deeper], dim=1)).sigmoid().split(1, dim=1)
        return one * own + other * deeper


def levels(features: Features) -> Sequence[Tensor]:
    """What is compared, the deepest first: the embedding as a 1x1 map, and the maps of stages."""
    return features.embedding[:, :, None, None], *reversed(features.maps)


def hierarchical_context_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """HCL: the weighted mean of squared differences of maps [B, C, h, w] at several sizes."""
    height, width = teacher.shape[2:]
    loss, total = F.mse_loss(student, teacher), 1.0
    for size, weight in PYRAMID:
        if size < height or size < width:
            smaller = min(size, height), min(size, width)
            s, t = (F.adaptive_avg_pool2d(maps, smaller) for maps in (student, teacher))
            loss, total = loss + weight * F.mse_loss(s, t), total + weight
    return loss / total
