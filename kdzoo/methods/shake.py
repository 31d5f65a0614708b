"""SHAKE, shadow knowledge distillation: a head that learns from student and teacher at once."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from kdzoo.backbones.layers import conv_bn, global_average, initialise
from kdzoo.divergences.base import standardized
from kdzoo.methods.base import Batch, MethodOutputs
from kdzoo.methods.losses import cross_entropy
from kdzoo.methods.offline import OfflineMethod
from kdzoo.methods.settings import SHAKEConfig
from kdzoo.peers.calls import probe_batch
from kdzoo.peers.outputs import PeerOutputs
from kdzoo.peers.watched import StageKey
from kdzoo.registry import methods


@methods.register("shake")
class SHAKE(OfflineMethod):
    """A trained teacher T, and a shadow T' of it that student and shadow teach each other.

    ``CE(z, y) + alpha KL(T || z) + weight [KL(T' || z) + KL(z || T') + CE(T', y) + MSE(T', T)]``,
    in the KL terms with the first held constant. The shadow is a head on maps of the teacher.
    """

    Config = SHAKEConfig
    paper = (
        "Li, Jin. Shadow Knowledge Distillation: Bridging Offline and Online Knowledge Transfer. "
        "NeurIPS 2022"
    )

    @property
    def teacher_stages(self) -> Sequence[StageKey]:
        return self.config.teacher_stages

    def build_heads(self, example: PeerOutputs) -> None:
        super().build_heads(example)
        teacher, size = self.watched_teacher, self.peers.backbones[0].input_size
        maps = teacher.see(probe_batch(self.peers, size, samples=2)).watched
        self.shadow = ShadowHead([maps[key] for key in self.teacher_stages], teacher.width)

    def outputs(self, x: Tensor) -> MethodOutputs:
        seen = self.watched_teacher.see(x)
        fused = self.shadow([seen.watched[key] for key in self.teacher_stages])
        return replace(
            super().outputs(x),
            teachers=seen.logits.unsqueeze(0),
            targets=self.watched_teacher.classify(fused).unsqueeze(0),
        )

    def loss(self, outputs: MethodOutputs, batch: Batch) -> dict[str, Tensor]:
        z, shadow, teacher, y = outputs.logits, outputs.targets, outputs.teachers, batch.y
        alpha, weight = self.config.alpha, self.config.weight
        imitated = standardized(teacher) if self.config.standardize else teacher
        imitating = standardized(shadow) if self.config.standardize else shadow
        return {
            "ce": cross_entropy(z, y),
            "kd": alpha * self.divergence(teacher, z, y),
            "shadow_kd": weight * self.divergence(shadow.detach(), z, y),
            "reverse_kd": weight * self.divergence(z.detach(), shadow, y),
            "shadow_ce": weight * cross_entropy(shadow, y),
            "shadow_mse": weight * F.mse_loss(imitating, imitated),
        }


class ShadowHead(nn.Module):
    """From maps of several stages to one embedding.

    The map of each stage is brought to the size and width of the next one's, by a 3x3 convolution,
    and added to what a 1x1 convolution makes of that; a last 3x3 convolution, and the mean over
    the map. All have batch norm and ReLU.

    Args:
        maps: examples [2, C, h, w] in the order of the data, to take shapes from.
        width: D of the embedding.
    """

    def __init__(self, maps: Sequence[Tensor], width: int) -> None:
        super().__init__()
        steps = list(pairwise(maps))
        self.down = nn.ModuleList(
            conv_bn(before.shape[1], after.shape[1], 3, stride=_stride(before, after))
            for before, after in steps
        )
        self.beside = nn.ModuleList(
            conv_bn(after.shape[1], after.shape[1], 1) for _, after in steps
        )
        self.last = conv_bn(maps[-1].shape[1], width, 3)
        initialise(self)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """The embedding [B, D]."""
        fused, *rest = maps
        for down, beside, following in zip(self.down, self.beside, rest, strict=True):
            smaller = down(fused)
            size = following.shape[2], following.shape[3]
            if smaller.shape[2:] != size:  # no whole number of pixels fits
                smaller = F.adaptive_avg_pool2d(smaller, size)
            fused = smaller + beside(following)
        return global_average(self.last(fused))


def _stride(before: Tensor, after: Tensor) -> int:
    """How many pixels of a map [B, C, h, w] there are to one of the next stage's, rounded up."""
    return max(1, -(-before.shape[2] // after.shape[2]))
