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
from kdzoo.methods.losses import cross_entropy, ramp_up
from kdzoo.methods.settings import FFSDConfig
from kdzoo.peers.attention_maps import attention_map, away_from, distance, energy, moved_away
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
            if self.config.aggregator.channels not in (None, channels):
                raise ConfigError(
                    "The leader's decoder goes from fused maps as well as from the leader's own, "
                    f"which have {channels} channels. Leave it out.",
                    ("method", "aggregator", "channels"),
                )
            self.decoders = Decoders(example, self.stages)

    def parameter_groups(self) -> list[ParameterGroup]:
        if self.decoders is None:
            return super().parameter_groups()
        apart = list(self.decoders.parameters())
        known = set(map(id, apart))
        rest = [p for p in self.parameters() if p.requires_grad and id(p) not in known]
        return [{"params": rest}, {"params": apart, "lr_scale": self.config.decoder_lr}]

    @property
    def student_peer(self) -> int:
        return self.config.peers - 1

    def outputs(self, x: Tensor) -> MethodOutputs:
        said = super().outputs(x)
        if self.decoders is None:
            return said
        last = [features.detach() for features in said.features]
        teaching = [*map(moved_away, last[:-2]), said.stages[FUSED][0].detach()]
        return replace(said, stages={**said.stages, **self.decoders(last[1:], teaching)})

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
        terms = {
            "ce": cross_entropy(z, y),
            "ensemble_ce": cross_entropy(z_f, y),
            "kd": self.divergence.from_others(students.detach(), students, y),
            "ensemble_kd": self.divergence(students.detach().mean(dim=0), z_f, y),
            "leader_kd": self.divergence(z_f.detach(), leader, y),
            "diversity": w * self.config.diversity_weight * apart,
            "fusion": w * self.config.fusion_weight * (to_fused + to_all),
        }
        if self.decoders is not None:
            stages = {key: tuple(m.to(z.dtype) for m in ms) for key, ms in outputs.stages.items()}
            earlier = self.decoders.from_taught(stages)
            terms["self_distillation"] = w * (
                self.config.diversity_weight * earlier[:-1].sum()
                + self.config.fusion_weight * earlier[-1]
            )
            rebuilt = self.decoders.of_rebuilt(stages).sum()
            terms["decoders"] = w * self.config.decoder_weight * rebuilt
        return terms
