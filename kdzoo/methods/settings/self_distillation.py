"""The settings of the methods in which one network teaches itself."""

from typing import Annotated, Literal

from pydantic import Field

from kdzoo.methods.config import (
    OneNetworkConfig,
    SoftenedConfig,
)
from kdzoo.registry import methods


@methods.register_config("byot")
class BYOTConfig(SoftenedConfig):
    peers: Annotated[int, Field(ge=2)] = 3
    """P classifiers: the backbone's own, and one after each of the P-1 stages before its last."""
    layout: Literal["branched"] = "branched"
    """All classifiers stand on one network."""
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.1
    """The share of the distillation of logits; the labels have the rest."""
    feature_weight: Annotated[float, Field(ge=0)] = 1.28e-4
    """What the distance of the features from the deepest ones is multiplied by."""


@methods.register_config("tf_kd")
class TFKDConfig(OneNetworkConfig):
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.1
    """The share of the virtual teacher in the loss; the labels have the rest."""
    correct: Annotated[float, Field(gt=0, le=1)] = 0.99
    """The probability that the virtual teacher gives the class of the label."""
    temperature: Annotated[float, Field(gt=0)] = 20.0
    """T, which softens the virtual teacher, and it alone."""


@methods.register_config("uskd")
class USKDConfig(OneNetworkConfig):
    weak_stage: int | str = -2
    """Where the weak classifier stands: a stage by its number, from 1 on or from -1 on backwards,
    or the path of a module."""
    alpha: Annotated[float, Field(ge=0)] = 0.1
    """What the term of the target class is multiplied by."""
    beta: Annotated[float, Field(ge=0)] = 0.1
    """What the term of the other classes is multiplied by."""
    mu: Annotated[float, Field(ge=0)] = 0.1
    """What the weak classifier's own loss is multiplied by."""


@methods.register_config("cs_kd")
class CSKDConfig(OneNetworkConfig, SoftenedConfig):
    temperature: Annotated[float, Field(gt=0)] = 4.0
    """T, which softens the distributions that are compared."""
    weight: Annotated[float, Field(ge=0)] = 1.0
    """lambda, what the distillation is multiplied by."""
    per_class: Annotated[int, Field(ge=2)] = 2
    """How many images of each of its classes a batch holds."""


@methods.register_config("ps_kd")
class PSKDConfig(OneNetworkConfig):
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.8
    """The share that the last epoch's predictions have in the labels of the last epoch."""


@methods.register_config("dlb")
class DLBConfig(OneNetworkConfig, SoftenedConfig):
    temperature: Annotated[float, Field(gt=0)] = 3.0
    """T, which softens the distributions that are compared."""
    alpha: Annotated[float, Field(ge=0)] = 1.0
    """What the distillation from the last batch is multiplied by."""


@methods.register_config("bake")
class BAKEConfig(OneNetworkConfig, SoftenedConfig):
    temperature: Annotated[float, Field(gt=0)] = 4.0
    """T, which softens the distributions that are compared."""
    omega: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """How much of what the alike images say is mixed in at each step of the propagation."""
    weight: Annotated[float, Field(ge=0)] = 1.0
    """What the distillation is multiplied by."""
    per_class: Annotated[int, Field(ge=1)] = 4
    """How many images of each of its classes a batch holds."""


@methods.register_config("ddgsd")
class DDGSDConfig(OneNetworkConfig, SoftenedConfig):
    temperature: Annotated[float, Field(gt=0)] = 3.0
    """T, which softens the distributions that are compared."""
    weight: Annotated[float, Field(ge=0)] = 1.0
    """What the distillation between the two views is multiplied by."""
    feature_weight: Annotated[float, Field(ge=0)] = 5e-4
    """What the distance between the mean embeddings of the two views is multiplied by."""
