"""ONE's gate, which weighs the peers by the trunk's features."""

from typing import Any

from torch import Tensor, nn

from kdzoo.aggregators.base import WeightedAggregator
from kdzoo.backbones.layers import global_average
from kdzoo.errors import ConfigError
from kdzoo.peers.outputs import PeerOutputs
from kdzoo.registry import aggregators


@aggregators.register("gate")
class Gate(WeightedAggregator):
    """Weights from the features that the peers share.

    ``softmax(ReLU(BN(FC(avgpool(trunk features)))))``. Where each peer has a view of its own of a
    sample, the pooled features of the views are averaged.
    """

    paper = "Lan, Zhu, Gong. Knowledge Distillation by On-the-Fly Native Ensemble. NeurIPS 2018"

    def __init__(self, config: Any, example: PeerOutputs) -> None:
        super().__init__(config, example)
        if example.trunk is None:
            raise ConfigError(
                "gate looks at the features of a trunk, and independent peers share none. Set "
                "method.layout=branched, or choose ffm, which looks at the peers' own features.",
                ("method", "aggregator"),
            )
        peers = len(example.logits)
        self.score = nn.Sequential(
            nn.Linear(example.trunk.shape[1], peers), nn.BatchNorm1d(peers), nn.ReLU()
        )

    def weights(self, outputs: PeerOutputs) -> Tensor:
        """[B, P] softmax weights of the peers."""
        assert outputs.trunk is not None
        samples = outputs.logits.shape[1]
        views = global_average(outputs.trunk).unflatten(0, (-1, samples))
        return self.score(views.mean(dim=0)).softmax(dim=-1)
