"""The settings of each feature term of the zoo; as for all parts of a config, without torch."""

from typing import Annotated

from pydantic import Field

from kdzoo.component import Component, ComponentConfig, by_name
from kdzoo.registry import feature_terms

FeatureTermChoice = Annotated[Component, by_name(feature_terms)]
"""The type of a setting that is a feature term, given by name or as a mapping with ``name``."""


class FeatureTermConfig(ComponentConfig):
    weight: Annotated[float, Field(ge=0)]
    """What the term is multiplied by in the loss."""
    stages: Annotated[tuple[int | str, ...], Field(min_length=1)] = (-3, -2, -1)
    """The student's stages that are compared: numbers from 1 on, from -1 on backwards, or modules'
    paths."""
    teacher_stages: tuple[int | str, ...] | None = None
    """The teacher's stages, one for each of the student's; left out, they are called the same."""


@feature_terms.register_config("at")
class ATConfig(FeatureTermConfig):
    weight: Annotated[float, Field(ge=0)] = 1000.0
    """beta, what the sum over the stages is multiplied by."""
