"""The settings of each aggregator of the zoo; like all that a config is made of, without torch."""

from typing import Annotated, Literal

from pydantic import Field

from kdzoo.component import Component, ComponentConfig, by_name
from kdzoo.registry import aggregators

AggregatorChoice = Annotated[Component, by_name(aggregators)]
"""The type of a setting that is an aggregator, given by name or as a mapping with ``name``."""

for _name in ("concat", "gate", "hierarchy", "leave_one_out", "mean"):
    aggregators.register_config(_name)(ComponentConfig)  # they have none of their own


@aggregators.register_config("attention")
class AttentionConfig(ComponentConfig):
    reduction: Annotated[int, Field(ge=1)] = 8
    """What the width D of the embeddings is divided by for the maps L and E."""


@aggregators.register_config("ffm")
class FFMConfig(ComponentConfig):
    channels: Annotated[int, Field(ge=1)] | None = None
    """The width of the fused features; by default that of the first peer's last block."""
    hidden: Annotated[int, Field(ge=1)] | None = None
    """The width of the hidden layer; by default a quarter of ``channels``, at least P."""
    score: Literal["branch", "class"] = "branch"
    """``branch``: one weight a peer; ``class``: one weight a peer and class."""


@aggregators.register_config("fusion")
class FusionConfig(ComponentConfig):
    channels: Annotated[int, Field(ge=1)] | None = None
    """The width of the fused features; by default that of the first peer's last block."""
