"""The Feature Fusion Module, which weighs the peers by what their last blocks see together."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from kdzoo.aggregators.base import WeightedAggregator
from kdzoo.component import ComponentConfig
from kdzoo.peers.outputs import PeerOutputs
from kdzoo.registry import aggregators


class FFMConfig(ComponentConfig):
    channels: Annotated[int, Field(ge=1)] | None = None
    """The width of the fused features; by default that of the first peer's last block."""
    hidden: Annotated[int, Field(ge=1)] | None = None
    """The width of the hidden layer; by default a quarter of ``channels``, at least P."""


@aggregators.register("ffm")
class FFM(WeightedAggregator):
    """Weights from the fused last-block features of all peers.

    Concatenate the features on channels, fuse them by a 1x1 convolution with batch norm and ReLU,
    pool globally, and let two fully connected layers and a softmax give one weight a peer.
    """

    Config = FFMConfig
    paper = (
        "Li, Huang, Chen, et al. Online Knowledge Distillation via Multi-branch Diversity "
        "Enhancement. ACCV 2020. arXiv:2010.00795"
    )

    def __init__(self, config: FFMConfig, example: PeerOutputs) -> None:
        super().__init__(config, example)
        peers = len(example.features)
        widths = [features.shape[1] for features in example.features]
        channels = config.channels or widths[0]
        hidden = config.hidden or max(channels // 4, peers)
        self.size = min((f.shape[-2:] for f in example.features), key=lambda hw: hw[0] * hw[1])
        self.fuse = nn.Sequential(
            nn.Conv2d(sum(widths), channels, kernel_size=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
        )
        self.score = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, peers))

    def weights(self, outputs: PeerOutputs) -> Tensor:
        """[B, P] softmax weights of the peers."""
        fused = self.fuse(torch.cat([self._resized(f) for f in outputs.features], dim=1))
        return self.score(fused.mean(dim=(-2, -1))).softmax(dim=-1)

    def _resized(self, features: Tensor) -> Tensor:
        """Different peers may end at different resolutions: the smallest one is common ground."""
        if features.shape[-2:] == self.size:
            return features
        return nn.functional.adaptive_avg_pool2d(features, self.size)
