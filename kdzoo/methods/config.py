"""The settings that methods have in common: peers, layout, temperature, ramp-up."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from kdzoo.aggregators.settings import AggregatorChoice
from kdzoo.component import ComponentConfig, named
from kdzoo.divergences.settings import DivergenceChoice
from kdzoo.errors import ConfigError
from kdzoo.identity import NotAtDefault
from kdzoo.regularizers.settings import RegularizerChoice


class MethodConfig(ComponentConfig):
    """What every method can be told."""

    peers: Annotated[int, Field(ge=1)] = 3
    """P, how many copies of the backbone are trained together."""
    layout: Literal["branched", "independent"] = "branched"
    """How they share: one trunk with P branches, or P whole networks."""
    aggregator: AggregatorChoice = named("mean")
    """What turns the peers' outputs into target logits and the ensemble."""
    regularizers: tuple[RegularizerChoice, ...] = ()
    """Losses on the peers themselves, each times its weight."""

    @field_validator("regularizers")
    @classmethod
    def _each_once(cls, chosen: tuple[ComponentConfig, ...]) -> tuple[ComponentConfig, ...]:
        names = [part.name for part in chosen]
        if len(set(names)) < len(names):
            raise ConfigError("The same regularizer is there twice.", ("regularizers",))
        return chosen


class OneNetworkConfig(MethodConfig):
    """What the methods share in which a network teaches itself."""

    peers: Literal[1] = 1
    """P; there is one network."""
    layout: Literal["independent"] = "independent"
    """One whole network."""


class SoftenedConfig(MethodConfig):
    """What the methods share that compare softened distributions."""

    temperature: Annotated[float, Field(gt=0)] = 3.0
    """T, which softens the distributions that are compared."""
    divergence: Annotated[DivergenceChoice, NotAtDefault] = named("kl")
    """How the distributions are compared; the papers of the methods take KL."""
    standardize: Annotated[bool, NotAtDefault] = False
    """Whether all logits that are compared are brought to one mean and one deviation first (Sun et
    al., CVPR 2024, who take T=2 and nine times the weight)."""


class DistillationConfig(SoftenedConfig):
    """What the methods share whose peers are taught in the course of the training."""

    peers: Annotated[int, Field(ge=2)] = 3
    """P, how many copies of the backbone are trained together."""
    ramp_up: Annotated[float, Field(ge=0, le=1)] = 80 / 300
    """The fraction of the training over which the weight w of the distillation rises to 1; the
    papers take 80 of their 300 epochs."""
