"""The interface of an aggregator: from the peers' outputs to what they are taught."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from kdzoo.aggregators.settings import AggregatorChoice
from kdzoo.component import ComponentConfig
from kdzoo.peers.outputs import PeerOutputs
from kdzoo.peers.watched import StageKey

__all__ = [
    "Aggregate",
    "Aggregator",
    "AggregatorChoice",
    "SharedTarget",
    "WeightedAggregator",
]


class Aggregate(NamedTuple):
    """What an aggregator makes of the peers' outputs.

    Attributes:
        targets: [P, B, K], target logits, a row for each peer.
        ensemble: [B, K], the peers' combined prediction.
    """

    targets: Tensor
    ensemble: Tensor


class Aggregator(nn.Module, ABC):
    """Turns the peers' outputs into target logits and an ensemble.

    Args:
        config: the settings, an instance of the class's ``Config``.
        example: outputs of the peers for a batch of two, to take shapes from.

    Raises:
        ConfigError: the aggregator needs something that these peers do not have.
    """

    Config: ClassVar[type[ComponentConfig]] = ComponentConfig
    paper: ClassVar[str] = ""
    """Authors, title, venue and year of the source."""
    min_peers: ClassVar[int] = 1
    """How many peers it needs; with fewer it is refused."""

    def __init__(self, config: Any, example: PeerOutputs) -> None:
        super().__init__()
        self.config = config

    @classmethod
    def stages(cls, config: Any) -> Sequence[StageKey]:
        """The stages whose maps it finds in ``outputs.stages``: numbers or modules' paths."""
        return ()

    @abstractmethod
    def forward(self, outputs: PeerOutputs) -> Aggregate:
        """The targets and the ensemble for one batch."""


class SharedTarget(Aggregator):
    """An aggregator that teaches all peers the same: the ensemble.

    A subclass defines :meth:`ensemble`.
    """

    @abstractmethod
    def ensemble(self, outputs: PeerOutputs) -> Tensor:
        """[B, K], the combined prediction."""

    def forward(self, outputs: PeerOutputs) -> Aggregate:
        ensemble = self.ensemble(outputs).to(outputs.logits.dtype)
        return Aggregate(ensemble.expand_as(outputs.logits), ensemble)


class WeightedAggregator(SharedTarget):
    """An aggregator that weighs the peers of each sample.

    A subclass defines :meth:`weights`.
    """

    @abstractmethod
    def weights(self, outputs: PeerOutputs) -> Tensor:
        """[B, P], or [B, P, K] with one for each class: positive, 1 in sum over the peers."""

    def ensemble(self, outputs: PeerOutputs) -> Tensor:
        weights = self.weights(outputs).to(outputs.logits.dtype)
        with torch.autocast(weights.device.type, enabled=False):  # logits stay in full precision
            each = "bp" if weights.ndim == 2 else "bpk"
            return torch.einsum(f"{each},pbk->bk", weights, outputs.logits)
