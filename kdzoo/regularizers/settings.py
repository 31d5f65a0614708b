"""The settings of each regularizer of the zoo; like all that a config is made of, without torch."""

from typing import Annotated, Literal

from kdzoo.component import Component, ComponentConfig, by_name
from kdzoo.registry import regularizers

RegularizerChoice = Annotated[Component, by_name(regularizers)]
"""The type of a setting that is a regularizer, given by name or as a mapping with ``name``."""


class RegularizerConfig(ComponentConfig):
    weight: float
    """What the regularizer is multiplied by in the loss."""


@regularizers.register_config("cd")
class CDConfig(RegularizerConfig):
    weight: float = 5e-8
    """lambda, what the loss is multiplied by."""
    form: Literal["gram", "cosine"] = "gram"
    """``gram``: the norms of the products of the weights; ``cosine``: the mean absolute cosine
    between the rows that stand for the same class."""


@regularizers.register_config("negative_correlation")
class NegativeCorrelationConfig(RegularizerConfig):
    weight: float = 0.1
    """lambda, what the loss is multiplied by; at 1 and above it can outweigh the labels."""
