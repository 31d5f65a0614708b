"""Peers that learn from the labels only: the baseline."""

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

from kdzoo.methods.base import Method, MethodConfig, MethodOutputs
from kdzoo.methods.losses import cross_entropy
from kdzoo.registry import methods


class IndependentConfig(MethodConfig):
    peers: Annotated[int, Field(ge=1)] = 1
    """P; 1 is plain training."""
    layout: Literal["branched", "independent"] = "independent"
    """How they share: one trunk with P branches, or P whole networks."""


@methods.register("independent")
class Independent(Method):
    """No distillation: peers learn from the labels alone. With one peer this is plain training.

    ``sum_i CE(z_i, y)``.
    """

    Config = IndependentConfig
    mixes_backbones = True

    def loss(self, outputs: MethodOutputs, y: Tensor, progress: Tensor) -> dict[str, Tensor]:
        return {"ce": cross_entropy(outputs.logits, y)}
