"""The settings of each divergence of the zoo; like all that a config is made of, without torch."""

from typing import Annotated

from pydantic import Field

from kdzoo.component import Component, ComponentConfig, by_name
from kdzoo.registry import divergences

DivergenceChoice = Annotated[Component, by_name(divergences)]
"""The type of a setting that is a divergence, given by name or as a mapping with ``name``."""

for _name in ("kl", "reverse_kl", "js"):
    divergences.register_config(_name)(ComponentConfig)  # they have none of their own


@divergences.register_config("dkd")
class DKDConfig(ComponentConfig):
    alpha: Annotated[float, Field(ge=0)] = 1.0
    """What the divergence between the target class and all others is multiplied by."""
    beta: Annotated[float, Field(ge=0)] = 8.0
    """What the divergence among the other classes is multiplied by."""


@divergences.register_config("nkd")
class NKDConfig(ComponentConfig):
    gamma: Annotated[float, Field(ge=0)] = 1.5
    """What the part of the classes that are not the target is multiplied by; the paper takes 1.5 at
    temperature 1, its authors' code 3.5 at 3 on CIFAR-100."""


@divergences.register_config("dist")
class DISTConfig(ComponentConfig):
    beta: Annotated[float, Field(ge=0)] = 1.0
    """What the distance between the classes of each sample is multiplied by."""
    gamma: Annotated[float, Field(ge=0)] = 1.0
    """What the distance between the samples of each class is multiplied by."""
