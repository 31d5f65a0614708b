"""FFSD, feature fusion and self-distillation: students kept apart, fused for a leader to learn."""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdzoo.aggregators.fusion import Fusion
from kdzoo.backbones.layers import initialise
from kdzoo.errors import ConfigError
from kdzoo.methods.base import Batch, Method, MethodOutputs
from kdzoo.methods.losses import cross_entropy, ramp_up
from kdzoo.methods.settings import FFSDConfig
from kdzoo.peers.attention_maps import attention_map, distance, energy
from kdzoo.peers.outputs import PeerOutputs
from kdzoo.registry import methods

FUSED = "fused"


@methods.register("ffsd")
class FFSD(Method):
    """Students that teach each other and look elsewhere; their fusion teaches a leader.

    ``sum_i CE(z_i, y) + CE(z_f, y) + 1/(S-1) sum_i sum_{j != i} KL(j || i) + KL(m || f) +
    KL(f || L) + w lambda_div sum_{i > 1} D(A_i, A_{i-1}) + w lambda_fus [N(A_L, A_f) +
    N(A_t, A_cat)]``, over S students; what teaches is held constant. The leader L is deployed. The
    paper's self-distillation is not in it.
    """

    Config = FFSDConfig
    paper = (
        "Li, Lin, Wang, Wu, Tian, Shao, Ji. Distilling a Powerful Student Model via Online "
        "Knowledge Distillation. TNNLS 2022. arXiv:2103.14473"
    )
    leaders = 1
    tells_peers_apart = True
    sees_maps = True
    trains_aggregator_through = frozenset({"ensemble"})
    aggregator: Fusion

    def build_heads(self, example: PeerOutputs) -> None:
        super().build_heads(example)
        channels, *size = example.features[-1].shape[1:]
        if size == [1, 1]:
            raise ConfigError(
                "ffsd compares where the last maps are large, and these are 1x1. Give it larger "
                "images, with dataset.image_size=N.",
                ("method", "name"),
            )
        self.widen = nn.Conv2d(channels, self.aggregator.concat.channels, 1, bias=False)
        initialise(self.widen)

    @property
    def student_peer(self) -> int:
        return self.config.peers - 1

    def aggregate(self, outputs: PeerOutputs) -> MethodOutputs:
        held = tuple(features.detach() for features in outputs.features)
        fused = self.aggregator.fused(self._teaching(replace(outputs, features=held)))
        z_f = self.aggregator.classify(fused).to(outputs.logits.dtype)
        said = replace(outputs, stages={**outputs.stages, FUSED: (fused,)})
        return MethodOutputs.of(said, targets=z_f.expand_as(outputs.logits), ensemble=z_f)

    def loss(self, outputs: MethodOutputs, batch: Batch) -> dict[str, Tensor]:
        z, z_f, y = outputs.logits, outputs.ensemble, batch.y
        students, leader = z[:-1], z[-1]
        w = ramp_up(batch.progress, self.config.ramp_up)
        maps = [features.to(z.dtype) for features in outputs.features]
        fused = outputs.stages[FUSED][0].detach().to(z.dtype)
        held = self._teaching(replace(outputs, features=tuple(each.detach() for each in maps)))
        together = self.aggregator.concat(held)
        attended = [attention_map(each) for each in maps]
        elsewhere = [away_from(energy(each.detach())) for each in maps[:-2]]
        apart = torch.stack(
            [distance(a, b) for a, b in zip(attended[1:-1], elsewhere, strict=True)]
        ).sum()
        to_fused = distance(attended[-1], attention_map(fused))
        to_all = distance(attention_map(self.widen(maps[-1])), attention_map(together))
        return {
            "ce": cross_entropy(z, y),
            "ensemble_ce": cross_entropy(z_f, y),
            "kd": self.divergence.from_others(students.detach(), students, y),
            "ensemble_kd": self.divergence(students.detach().mean(dim=0), z_f, y),
            "leader_kd": self.divergence(z_f.detach(), leader, y),
            "diversity": w * self.config.diversity_weight * apart,
            "fusion": w * self.config.fusion_weight * (to_fused + to_all),
        }


def away_from(attention: Tensor) -> Tensor:
    """An attention map turned over: it is large where ``attention`` [B, n] is among the lowest.

    ``(c - a) sign(a - t) + c`` with a of length 1, c half the length of ``attention`` and t the
    largest of the lowest third of each sample's a.
    """
    half = attention.norm(dim=1, keepdim=True) / 2
    a = F.normalize(attention)
    threshold = a.kthvalue(max(a.shape[1] // 3, 1), dim=1, keepdim=True).values
    return (half - a) * torch.sign(a - threshold) + half
