"""Peers that learn from the labels only: the baseline."""

from typing import Literal

from torch import Tensor

from kdzoo.methods.base import Method, MethodConfig
from kdzoo.methods.losses import cross_entropy
from kdzoo.peers.outputs import PeerOutputs
from kdzoo.registry import methods


class IndependentConfig(MethodConfig):
    peers: int = 1
    """P; 1 is plain training."""
    layout: Literal["branched", "independent"] = "independent"


@methods.register("independent")
class Independent(Method):
    """No distillation: ``sum_i CE(z_i, y)``. With one peer this is plain training."""

    Config = IndependentConfig

    def loss(self, outputs: PeerOutputs, y: Tensor, progress: Tensor) -> dict[str, Tensor]:
        return {"ce": cross_entropy(outputs.logits, y)}
