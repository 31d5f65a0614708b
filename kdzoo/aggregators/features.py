"""Last-block feature maps of all peers, concatenated on channels at one resolution."""

import torch
from torch import Tensor, nn

from kdzoo.peers.outputs import PeerOutputs


class ConcatFeatures(nn.Module):
    """Concatenates the peers' last-block features on channels: [B, C_1 + .. + C_P, h, w].

    Different backbones may end at different resolutions; the smallest is common ground, and larger
    maps are pooled down to it.

    Args:
        example: outputs of the peers for a batch of two, to take shapes from.
    """

    def __init__(self, example: PeerOutputs) -> None:
        super().__init__()
        self.channels = sum(features.shape[1] for features in example.features)
        height, width = min((f.shape[-2:] for f in example.features), key=lambda hw: hw.numel())
        self.size = (height, width)

    def forward(self, outputs: PeerOutputs) -> Tensor:
        return torch.cat([self._resized(features) for features in outputs.features], dim=1)

    def _resized(self, features: Tensor) -> Tensor:
        if features.shape[-2:] == self.size:
            return features
        return nn.functional.adaptive_avg_pool2d(features, self.size)
