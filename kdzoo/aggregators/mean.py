"""The plain average of the peers' logits."""

from torch import Tensor

from kdzoo.aggregators.base import SharedTarget
from kdzoo.peers.outputs import PeerOutputs
from kdzoo.registry import aggregators


@aggregators.register("mean")
class Mean(SharedTarget):
    """The mean of all peers' logits, the same target for each of them."""

    def ensemble(self, outputs: PeerOutputs) -> Tensor:
        return outputs.logits.mean(dim=0)
