"""The interface of a regularizer: a loss on the peers themselves."""

from abc import ABC, abstractmethod
from typing import Annotated, Any, ClassVar

from torch import Tensor, nn

from kdzoo import registry
from kdzoo.component import Component, ComponentConfig, by_name
from kdzoo.peers.outputs import PeerOutputs

RegularizerChoice = Annotated[Component, by_name(registry.regularizers)]
"""The type of a setting that is a regularizer, given by name or as a mapping with ``name``."""


class RegularizerConfig(ComponentConfig):
    weight: float
    """What the regularizer is multiplied by in the loss."""


class Regularizer(nn.Module, ABC):
    """A loss that looks at the peers and not at the labels.

    Args:
        config: the settings, an instance of the class's ``Config``.
        example: outputs of the peers for a batch of two, to take shapes from.

    Raises:
        ConfigError: the regularizer needs something that these peers do not have.
    """

    Config: ClassVar[type[RegularizerConfig]] = RegularizerConfig
    paper: ClassVar[str] = ""
    """Authors, title, venue and year of the source."""
    min_peers: ClassVar[int] = 1
    """How many peers it needs; with fewer it is refused."""

    def __init__(self, config: Any, example: PeerOutputs) -> None:
        super().__init__()
        self.config = config

    @abstractmethod
    def forward(self, outputs: PeerOutputs, classifiers: tuple[Tensor, ...]) -> Tensor:
        """The unweighted loss, a scalar.

        Args:
            outputs: the peers' outputs for a batch.
            classifiers: P weights [K, D_p] of the peers' classifiers, part of the graph.
        """
