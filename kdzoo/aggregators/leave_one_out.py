"""The consensus of the others: for each peer the mean of all other logits."""

from kdzoo.aggregators.base import Aggregate, Aggregator
from kdzoo.peers.outputs import PeerOutputs
from kdzoo.registry import aggregators


@aggregators.register("leave_one_out")
class LeaveOneOut(Aggregator):
    """For each peer the mean of the other peers' logits; the ensemble is the mean of all."""

    paper = "Song, Chai. Collaborative Learning for Deep Neural Networks. NeurIPS 2018"
    min_peers = 2

    def forward(self, outputs: PeerOutputs) -> Aggregate:
        z = outputs.logits
        others = (z.sum(dim=0) - z) / (len(z) - 1)
        return Aggregate(others, z.mean(dim=0))
