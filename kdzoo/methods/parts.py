"""The parts that a method's config names, built from it: aggregator, regularizers, divergence."""

from collections.abc import Sequence

from torch import nn

from kdzoo import registry
from kdzoo.aggregators.base import Aggregator
from kdzoo.divergences.base import Divergence
from kdzoo.methods.checks import check_enough_peers
from kdzoo.methods.config import MethodConfig, SoftenedConfig
from kdzoo.peers.outputs import PeerOutputs
from kdzoo.peers.watched import StageKey


def asked_stages(config: MethodConfig, own: Sequence[StageKey]) -> tuple[StageKey, ...]:
    """The stages whose maps the loss and the parts of a method look at, each once.

    Args:
        config: of the method.
        own: those that the method's own loss looks at.
    """
    asked = [*own, *registry.aggregators.get(config.aggregator.name).stages(config.aggregator)]
    for part in config.regularizers:
        asked += registry.regularizers.get(part.name).stages(part)
    return tuple(dict.fromkeys(asked))


def regularizers_see_maps(config: MethodConfig) -> bool:
    """Whether a regularizer looks at feature maps, the last ones or those of other stages."""
    chosen = [(registry.regularizers.get(part.name), part) for part in config.regularizers]
    return any(kind.sees_maps or kind.stages(part) for kind, part in chosen)


def build_aggregator(config: MethodConfig, example: PeerOutputs, leaders: int) -> Aggregator:
    """What turns the peers' outputs into targets and the ensemble.

    Args:
        config: of the method.
        example: outputs of the peers that teach, to take shapes from.
        leaders: how many peers there are besides, for the message where there are too few.

    Raises:
        ConfigError: there are too few peers for it, or they lack what it needs.
    """
    chosen = config.aggregator
    part = registry.aggregators.get(chosen.name)
    check_enough_peers(chosen.name, part.min_peers, example, leaders, ("method", "aggregator"))
    return part(chosen, example)


def build_regularizers(config: MethodConfig, example: PeerOutputs, leaders: int) -> nn.ModuleDict:
    """The regularizers by name; arguments and errors as for :func:`build_aggregator`."""
    built = nn.ModuleDict()
    for chosen in config.regularizers:
        part = registry.regularizers.get(chosen.name)
        where = ("method", "regularizers", chosen.name)
        check_enough_peers(chosen.name, part.min_peers, example, leaders, where)
        built[chosen.name] = part(chosen, example)
    return built


def build_divergence(config: SoftenedConfig) -> Divergence:
    """How the method compares distributions."""
    chosen = config.divergence
    return registry.divergences.get(chosen.name)(chosen, config.temperature, config.standardize)
