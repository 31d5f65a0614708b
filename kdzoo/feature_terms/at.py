"""AT, attention transfer: the student looks where its teacher looks."""

from typing import Any

import torch
from torch import Tensor

from kdzoo.errors import ConfigError
from kdzoo.feature_terms.base import Batch, Features, FeatureTerm
from kdzoo.feature_terms.settings import ATConfig
from kdzoo.peers.adapters import averaged_down, smaller_size
from kdzoo.peers.attention_maps import attention_map, distance
from kdzoo.registry import feature_terms


@feature_terms.register("at")
class AT(FeatureTerm):
    """The distance of attention maps, where features are large, summed over stages.

    ``sum_j mean (Q_s / ||Q_s|| - Q_t / ||Q_t||)^2`` with Q the mean over channels of the squared
    features of stage j; of two sizes, the larger maps are averaged down to the smaller.
    """

    Config = ATConfig
    paper = (
        "Zagoruyko, Komodakis. Paying More Attention to Attention: Improving the Performance of "
        "Convolutional Neural Networks via Attention Transfer. ICLR 2017. arXiv:1612.03928"
    )

    def __init__(self, config: Any, student: Features, teacher: Features) -> None:
        super().__init__(config, student, teacher)
        for key, s, t in zip(config.stages, student.maps, teacher.maps, strict=True):
            if smaller_size(s, t) == (1, 1):
                raise ConfigError(
                    f"at compares where maps are large, and those of stage {key!r} are 1x1. Name "
                    "earlier stages, or give it larger images, with dataset.image_size=N.",
                    ("method", "feature_terms", "at", "stages"),
                )

    def forward(self, student: Features, teacher: Features, batch: Batch) -> Tensor:
        apart = []
        for s, t in zip(student.maps, teacher.maps, strict=True):
            s, t = averaged_down(s, t)
            apart.append(distance(attention_map(s), attention_map(t)))
        return torch.stack(apart).sum()
