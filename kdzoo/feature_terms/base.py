"""The interface of a feature term: a loss between a student's maps and its teacher's."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from kdzoo.feature_terms.settings import FeatureTermConfig


class FeatureTerm(nn.Module, ABC):
    """A loss that compares feature maps of a student with those of a trained teacher.

    What it has of its own is trained with the student and not deployed.

    Args:
        config: the settings, an instance of the class's ``Config``.
        student: the student's maps [2, C, h, w] for a batch of two, to take shapes from, in the
            order of ``config.stages``.
        teacher: the teacher's, in the order of ``config.teacher_stages``.

    Raises:
        ConfigError: the maps cannot be compared.
    """

    Config: ClassVar[type[FeatureTermConfig]] = FeatureTermConfig
    paper: ClassVar[str] = ""
    """Authors, title, venue and year of the source."""

    def __init__(self, config: Any, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> None:
        super().__init__()
        self.config = config

    @abstractmethod
    def forward(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
        """The unweighted loss, a scalar.

        Args:
            student: a map [B, C, h, w] of each stage, part of the graph.
            teacher: a map [B, C', h', w'] of each stage, held constant.
        """
