"""The interface of a regularizer: a loss on the peers themselves."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from kdzoo.peers.outputs import PeerOutputs
from kdzoo.peers.watched import StageKey
from kdzoo.regularizers.settings import RegularizerChoice, RegularizerConfig

__all__ = ["Regularizer", "RegularizerChoice", "RegularizerConfig"]


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
    sees_maps: ClassVar[bool] = False
    """Whether it looks at feature maps, as :attr:`Method.sees_maps`."""

    def __init__(self, config: Any, example: PeerOutputs) -> None:
        super().__init__()
        self.config = config

    @classmethod
    def stages(cls, config: Any) -> Sequence[StageKey]:
        """The stages whose maps it finds in ``outputs.stages``: numbers or modules' paths."""
        return ()

    @abstractmethod
    def forward(self, outputs: PeerOutputs, classifiers: tuple[Tensor, ...]) -> Tensor:
        """The unweighted loss, a scalar.

        Args:
            outputs: the peers' outputs for a batch.
            classifiers: P weights [K, D_p] of the peers' classifiers, part of the graph.
        """
