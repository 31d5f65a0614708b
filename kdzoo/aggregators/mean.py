"""The plain average of the peers."""

from kdzoo.aggregators.base import Aggregate, Aggregator
from kdzoo.peers.outputs import PeerOutputs
from kdzoo.registry import aggregators


@aggregators.register("mean")
class Mean(Aggregator):
    """The mean of all peers' logits, the same target for each of them."""

    def forward(self, outputs: PeerOutputs) -> Aggregate:
        ensemble = outputs.logits.mean(dim=0)
        return Aggregate(ensemble.expand_as(outputs.logits), ensemble)
