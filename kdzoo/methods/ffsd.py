"""FFSD, feature fusion and self-distillation: students kept apart, fused for a leader to learn."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from kdzoo.aggregators.fusion import Fusion
from kdzoo.backbones.layers import initialise
from kdzoo.errors import ConfigError
from kdzoo.methods.base import Batch, Method, MethodOutputs, ParameterGroup
from kdzoo.methods.decoders import Decoders
from kdzoo.methods.hooks import with_own_rate
from kdzoo.methods.losses import cross_entropy, ramp_up
from kdzoo.methods.settings import FFSDConfig
from kdzoo.peers.attention_maps import attention_map, distance, turned_apart
from kdzoo.peers.outputs import PeerOutputs
from kdzoo.peers.watched import StageKey
from kdzoo.registry import methods

FUSED = "fused"


@methods.register("ffsd")
class FFSD(Method):
    """Students that teach each other and look elsewhere; their fusion teaches a leader.

    ``sum_i CE(z_i, y) + CE(z_f, y) + 1/(S-1) sum_i sum_{j != i} KL(j || i) + KL(m || f) +
    KL(f || L) + w lambda_div sum_{i > 1} D(A_i, A_{i-1}) + w lambda_fus [N(A_L, A_f) +
    N(A_t, A_cat)]``, over S students; what teaches is held constant. The leader L is deployed.

    With ``self_distillation`` the earlier stages of all networks but the first learn as well, from
    maps that a decoder of each rebuilds of what teaches its last one: ``w [lambda_div sum_{i > 1}
    SD_i + lambda_fus SD_L]``, and the decoders learn to rebuild their own network's maps.
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
    decoders: Decoders | None

    @property
    def stages(self) -> Sequence[StageKey]:
        """The latest first, as the decoders rebuild them."""
        rebuilt = self.config.rebuilt_stages if self.config.self_distillation else 0
        return range(-2, -2 - rebuilt, -1)

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
        self.decoders = None
        if self.config.self_distillation:
            fused = self.config.aggregator.channels or channels
            self.decoders = Decoders(example, self.stages, fused)

    def parameter_groups(self) -> list[ParameterGroup]:
        if self.decoders is None:
            return super().parameter_groups()
        return with_own_rate(self, self.decoders, self.config.decoder_lr)

    @property
    def student_peer(self) -> int:
        return self.config.peers - 1

    def outputs(self, x: Tensor) -> MethodOutputs:
        said = super().outputs(x)
        if self.decoders is None:
            return said
        last = [features.detach() for features in said.features]
        rebuilt = self.decoders(last, said.stages[FUSED][0].detach())
        return replace(said, stages={**said.stages, **rebuilt})

    def evaluate(self, x: Tensor) -> dict[str, Tensor]:
        return self.predict(super().outputs(x))

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
        maps = tuple(features.to(z.dtype) for features in outputs.features)
        stages = {key: tuple(m.to(z.dtype) for m in ms) for key, ms in outputs.stages.items()}
        terms = {
            "ce": cross_entropy(z, y),
            "ensemble_ce": cross_entropy(z_f, y),
            "kd": self.divergence.from_others(students.detach(), students, y),
            "ensemble_kd": self.divergence(students.detach().mean(dim=0), z_f, y),
            "leader_kd": self.divergence(z_f.detach(), leader, y),
            "diversity": w * self.config.diversity_weight * turned_apart(maps[:-1]),
            "fusion": w * self.config.fusion_weight * self.to_fused(maps, stages[FUSED][0]),
        }
        if self.decoders is not None:
            terms |= self.decoders.terms(stages, self.config, w)
        return terms

    def to_fused(self, maps: Sequence[Tensor], fused: Tensor) -> Tensor:
        """How far the leader's attention is from that of what the students see together.

        Args:
            maps: the last ones of all peers.
            fused: what is made of the students' by the aggregator.
        """
        together = torch.cat([each.detach() for each in maps[:-1]], dim=1)
        leader, wide = attention_map(maps[-1]), attention_map(self.widen(maps[-1]))
        from_fused = distance(leader, attention_map(fused.detach()))
        return from_fused + distance(wide, attention_map(together))
