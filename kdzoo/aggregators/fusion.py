"""FFL's fusion module, a classifier of its own on the peers' fused features."""

from torch import Tensor, nn

from kdzoo.aggregators.base import SharedTarget
from kdzoo.aggregators.features import ConcatFeatures
from kdzoo.aggregators.settings import FusionConfig
from kdzoo.backbones.layers import conv_bn, global_average, initialise
from kdzoo.peers.outputs import PeerOutputs
from kdzoo.registry import aggregators


@aggregators.register("fusion")
class Fusion(SharedTarget):
    """A classifier on the fused last-block features of all peers.

    Concatenate the features on channels, fuse them by a depthwise 3x3 and a pointwise 1x1
    convolution, each with batch norm and ReLU, pool globally and classify.
    """

    Config = FusionConfig
    paper = (
        "Kim, Hyun, Chung, Kwak. Feature Fusion for Online Mutual Knowledge Distillation. "
        "ICPR 2020. arXiv:1904.09058"
    )

    def __init__(self, config: FusionConfig, example: PeerOutputs) -> None:
        super().__init__(config, example)
        self.concat = ConcatFeatures(example)
        wide = self.concat.channels
        channels = config.channels or example.features[0].shape[1]
        self.fuse = nn.Sequential(*conv_bn(wide, wide, 3, groups=wide), *conv_bn(wide, channels, 1))
        self.classifier = nn.Linear(channels, example.logits.shape[-1])
        initialise(self)

    def ensemble(self, outputs: PeerOutputs) -> Tensor:
        return self.classify(self.fused(outputs))

    def fused(self, outputs: PeerOutputs) -> Tensor:
        """The fused features, [B, C, h, w]."""
        return self.fuse(self.concat(outputs))

    def classify(self, fused: Tensor) -> Tensor:
        """What fused features say, [B, K]."""
        return self.classifier(global_average(fused))
