"""The consensus of the others."""

from typing import Any

from kdzoo.aggregators.base import Aggregate, Aggregator
from kdzoo.errors import ConfigError
from kdzoo.peers.outputs import PeerOutputs
from kdzoo.registry import aggregators


@aggregators.register("leave_one_out")
class LeaveOneOut(Aggregator):
    """For each peer the mean of the other peers' logits; the ensemble is the mean of all."""

    paper = "Song, Chai. Collaborative Learning for Deep Neural Networks. NeurIPS 2018"

    def __init__(self, config: Any, example: PeerOutputs) -> None:
        super().__init__(config, example)
        if len(example.logits) < 2:
            raise ConfigError(
                "leave_one_out needs a second peer. Set method.peers=2 or more.",
                ("method", "aggregator"),
            )

    def forward(self, outputs: PeerOutputs) -> Aggregate:
        z = outputs.logits
        others = (z.sum(dim=0) - z) / (len(z) - 1)
        return Aggregate(others, z.mean(dim=0))
