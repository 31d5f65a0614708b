"""The settings of each feature term of the zoo; as for all parts of a config, without torch."""

from typing import Annotated

from pydantic import Field, model_validator

from kdzoo.component import Component, ComponentConfig, by_name
from kdzoo.errors import ConfigError
from kdzoo.registry import feature_terms

FeatureTermChoice = Annotated[Component, by_name(feature_terms)]
"""The type of a setting that is a feature term, given by name or as a mapping with ``name``."""


class FeatureTermConfig(ComponentConfig):
    """What every feature term can be told."""

    weight: Annotated[float, Field(ge=0)]
    """What the term is multiplied by in the loss."""

    @property
    def compared(self) -> tuple[tuple[int | str, int | str], ...]:
        """The stages whose maps the term looks at, each of the student's with the teacher's."""
        return ()


class MapsConfig(FeatureTermConfig):
    """What the terms share that compare maps, stage by stage."""

    stages: Annotated[tuple[int | str, ...], Field(min_length=1)] = (-3, -2, -1)
    """The student's stages that are compared: numbers from 1 on, from -1 on backwards, or modules'
    paths."""
    teacher_stages: tuple[int | str, ...] | None = None
    """The teacher's stages, one for each of the student's; left out, they are called the same."""

    @model_validator(mode="after")
    def _one_for_each(self) -> "MapsConfig":
        if self.teacher_stages is not None and len(self.teacher_stages) != len(self.stages):
            raise ConfigError(
                "Name one stage of the teacher for each of the student's.", ("teacher_stages",)
            )
        return self

    @property
    def compared(self) -> tuple[tuple[int | str, int | str], ...]:
        theirs = self.stages if self.teacher_stages is None else self.teacher_stages
        return tuple(zip(self.stages, theirs, strict=True))


@feature_terms.register_config("at")
class ATConfig(MapsConfig):
    weight: Annotated[float, Field(ge=0)] = 1000.0
    """beta, what the sum over the stages is multiplied by."""


@feature_terms.register_config("crd")
class CRDConfig(FeatureTermConfig):
    weight: Annotated[float, Field(ge=0)] = 0.8
    """beta, what the loss is multiplied by."""
    width: Annotated[int, Field(ge=1)] = 128
    """The width of the embeddings that are compared."""
    negatives: Annotated[int, Field(ge=1)] = 16_384
    """M, how many samples of other classes each image is told apart from, drawn with
    replacement."""
    tau: Annotated[float, Field(gt=0)] = 0.07
    """The temperature of the similarities."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """The share of what was remembered of an image that is kept when it comes again."""


@feature_terms.register_config("reviewkd")
class ReviewKDConfig(MapsConfig):
    weight: Annotated[float, Field(ge=0)] = 1.0
    """What the sum over the levels is multiplied by; the authors take 0.6 to 8, a value for each
    pair of networks."""
    warm_up: Annotated[float, Field(ge=0, le=1)] = 20 / 240
    """The fraction of the training over which the weight rises from 0, in a straight line; the
    authors take 20 of their 240 epochs."""
    width: Annotated[int, Field(ge=1)] = 512
    """The most channels that fused features have; else as many as the student's embedding."""
