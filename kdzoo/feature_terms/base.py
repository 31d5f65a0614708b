"""The interface of a feature term: a loss between what a student sees and what its teacher sees."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from kdzoo.feature_terms.settings import FeatureTermConfig, MapsConfig
from kdzoo.samples.batch import Batch

__all__ = ["Batch", "FeatureTerm", "FeatureTermConfig", "Features", "MapsConfig"]


@dataclass(frozen=True)
class Features:
    """What one network makes of B samples on the way to its logits.

    Attributes:
        maps: [B, C, h, w] of each stage that the term compares, in the order of its settings.
        embedding: [B, D], what the network's classifier is given.
    """

    maps: tuple[Tensor, ...]
    embedding: Tensor


class FeatureTerm(nn.Module, ABC):
    """A loss that compares features of a student with those of a trained teacher.

    What it has of its own is trained with the student and not deployed.

    Args:
        config: the settings, an instance of the class's ``Config``.
        student: the student's features of a batch of two, to take shapes from.
        teacher: the teacher's.

    Raises:
        ConfigError: the features cannot be compared.
    """

    Config: ClassVar[type[FeatureTermConfig]] = FeatureTermConfig
    paper: ClassVar[str] = ""
    """Authors, title, venue and year of the source."""
    min_batch: ClassVar[int] = 1
    """How many samples it needs in a batch; batches with fewer are refused."""

    def __init__(self, config: Any, student: Features, teacher: Features) -> None:
        super().__init__()
        self.config = config

    def begin(self, samples: int) -> None:
        """Called once before the training: terms that remember samples make room for them.

        Args:
            samples: N, of the training set.
        """

    @abstractmethod
    def forward(self, student: Features, teacher: Features, batch: Batch) -> Tensor:
        """The unweighted loss, a scalar.

        Args:
            student: part of the graph.
            teacher: held constant.
            batch: that both have seen.
        """
