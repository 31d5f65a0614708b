"""Peers that learn from the labels only: the baseline."""

from torch import Tensor

from kdzoo.methods.base import Batch, Method, MethodOutputs
from kdzoo.methods.losses import cross_entropy
from kdzoo.methods.settings import IndependentConfig
from kdzoo.registry import methods


@methods.register("independent")
class Independent(Method):
    """No distillation: peers learn from the labels alone. With one peer this is plain training.

    ``sum_i CE(z_i, y)``.
    """

    Config = IndependentConfig
    sees_targets = False
    mixes_backbones = True

    def loss(self, outputs: MethodOutputs, batch: Batch) -> dict[str, Tensor]:
        return {"ce": cross_entropy(outputs.logits, batch.y)}
