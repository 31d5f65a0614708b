"""The Feature Fusion Module, which weighs the peers by what their last blocks see together."""

import math

from torch import Tensor, nn

from kdzoo.aggregators.base import WeightedAggregator
from kdzoo.aggregators.features import ConcatFeatures
from kdzoo.aggregators.settings import FFMConfig
from kdzoo.backbones.layers import conv_bn, global_average, initialise
from kdzoo.peers.outputs import PeerOutputs
from kdzoo.registry import aggregators


@aggregators.register("ffm")
class FFM(WeightedAggregator):
    """Weights from the fused last-block features of all peers.

    Concatenate the features on channels, fuse them by a 1x1 convolution with batch norm and ReLU,
    pool globally, and let two fully connected layers and a softmax over the peers give one weight
    a peer, or one a peer and class.
    """

    Config = FFMConfig
    paper = (
        "Li, Huang, Chen, Luo, Cai, Pan. Online Knowledge Distillation via Multi-branch "
        "Diversity Enhancement. ACCV 2020. arXiv:2010.00795"
    )

    def __init__(self, config: FFMConfig, example: PeerOutputs) -> None:
        super().__init__(config, example)
        peers, _, classes = example.logits.shape
        channels = config.channels or example.features[0].shape[1]
        hidden = config.hidden or max(channels // 4, peers)
        self.concat = ConcatFeatures(example)
        self.fuse = conv_bn(self.concat.channels, channels, 1)
        self.shape = (peers,) if config.score == "branch" else (peers, classes)
        scores = math.prod(self.shape)
        self.score = nn.Sequential(
            nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, scores)
        )
        initialise(self)

    def weights(self, outputs: PeerOutputs) -> Tensor:
        """[B, P] softmax weights of the peers; with ``score=class`` [B, P, K]."""
        fused = self.fuse(self.concat(outputs))
        return self.score(global_average(fused)).unflatten(-1, self.shape).softmax(dim=1)
