"""AHBF's hierarchy of ensembles, which the peers join one after the other."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from kdzoo.aggregators.base import Aggregate, Aggregator
from kdzoo.backbones.layers import global_average, initialise
from kdzoo.errors import ConfigError
from kdzoo.peers.outputs import PeerOutputs
from kdzoo.registry import aggregators


@aggregators.register("hierarchy")
class Hierarchy(Aggregator):
    """Each peer has the ensemble of itself and those before it as its target.

    ``e_1 = z_1``, ``e_i = g_1 e_{i-1} + g_2 z_i`` with the weights g of each sample from the fused
    last-block features of both: ``f'_i = BN(conv1x1(cat(f'_{i-1}, f_i)))``, ``g =
    softmax(ReLU(BN(FC(avgpool(f'_i)))))``. The last one, e_P, is the ensemble.
    """

    paper = (
        "Gong, Lin, Zhang, Shen, Li, Qiao, Ren, Li, Yu, Ma. Adaptive Hierarchy-Branch Fusion for "
        "Online Knowledge Distillation. AAAI 2023"
    )
    min_peers = 2

    def __init__(self, config: Any, example: PeerOutputs) -> None:
        super().__init__(config, example)
        sizes = {tuple(features.shape[2:]) for features in example.features}
        if len(sizes) > 1:
            raise ConfigError(
                f"hierarchy fuses last maps of one size, and these have {sorted(sizes)}. Use one "
                "backbone, or choose ffm, which pools them.",
                ("method", "aggregator"),
            )
        channels = [features.shape[1] for features in example.features]
        self.steps = nn.ModuleList(_Step(before, own) for before, own in pairwise(channels))
        initialise(self)

    def forward(self, outputs: PeerOutputs) -> Aggregate:
        targets = torch.stack([outputs.logits[0], *self._ensembles(outputs)])
        return Aggregate(targets, targets[-1])

    def _ensembles(self, outputs: PeerOutputs) -> Iterator[Tensor]:
        """e_2 to e_P, [B, K] each."""
        fused, ensemble = outputs.features[0], outputs.logits[0]
        for step, own, z in zip(self.steps, outputs.features[1:], outputs.logits[1:], strict=True):
            fused, weights = step(fused, own)
            weights = weights.to(z.dtype)
            ensemble = weights[:, :1] * ensemble + weights[:, 1:] * z
            yield ensemble


class _Step(nn.Module):
    """One peer that joins: its map [B, own, h, w] and the fused one before it [B, before, h, w]."""

    def __init__(self, before: int, own: int) -> None:
        super().__init__()
        self.fuse = nn.Sequential(
            nn.Conv2d(before + own, own, kernel_size=1, bias=False), nn.BatchNorm2d(own)
        )
        self.score = nn.Sequential(nn.Linear(own, 2), nn.BatchNorm1d(2), nn.ReLU())

    def forward(self, before: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
        """The fused map [B, own, h, w], and the weights [B, 2] of what was before and the peer."""
        fused = self.fuse(torch.cat([before, own], dim=1))
        return fused, self.score(global_average(fused)).softmax(dim=1)
