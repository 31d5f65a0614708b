"""Which choices go together: backbones with a method, an aggregator or regularizer with the peers.

What does not is refused when the method is built, before anything is trained.
"""

from collections.abc import Collection, Sequence

import torch

from kdzoo import registry
from kdzoo.aggregators.base import Aggregator
from kdzoo.backbones.backbone import Backbone
from kdzoo.errors import ConfigError
from kdzoo.methods.config import MethodConfig
from kdzoo.peers.outputs import PeerOutputs
from kdzoo.peers.watched import StageKey


def one_backbone_a_peer(
    config: MethodConfig, backbones: Sequence[Backbone], mixes_backbones: bool
) -> list[Backbone]:
    """The backbone of each peer: the one that is given, or each its own.

    Raises:
        ConfigError: several are given, and the method, the layout or their number is against it.
    """
    if len(backbones) == 1:
        return list(backbones) * config.peers
    if not mixes_backbones:
        raise ConfigError(
            f"{config.name} trains copies of one backbone; give it one, not {len(backbones)}. "
            f"These methods take different ones: {', '.join(_methods_that_mix_backbones())}.",
            ("backbone",),
        )
    if config.layout != "independent":
        raise ConfigError(
            "Different backbones share no trunk. Set method.layout=independent.", ("backbone",)
        )
    if len(backbones) != config.peers:
        raise ConfigError(
            f"There are {len(backbones)} backbones for {config.peers} peers; give one for each, or "
            f"set method.peers={len(backbones)}.",
            ("backbone",),
        )
    return list(backbones)


def check_enough_peers(
    name: str, min_peers: int, example: PeerOutputs, leaders: int, where: tuple[str, ...]
) -> None:
    """Refuse an aggregator or regularizer that compares more peers than there are.

    Args:
        name: of the aggregator or regularizer.
        min_peers: how many peers it needs.
        example: outputs of the peers that it will see.
        leaders: how many peers it will not see.
        where: the setting that chose it.

    Raises:
        ConfigError: there are fewer.
    """
    if len(example.logits) < min_peers:
        raise ConfigError(
            f"{name} needs {min_peers} peers to compare, and sees only {len(example.logits)}. Set "
            f"method.peers={min_peers + leaders} or more.",
            where,
        )


def check_stages(watched: Collection[StageKey], example: PeerOutputs) -> None:
    """Make sure that peers which a method builds in its own way give the maps that are asked for.

    Raises:
        ConfigError: they do not.
    """
    missing = [key for key in watched if key not in example.stages]
    if missing:
        raise ConfigError(
            f"The maps of stage {missing[0]} are asked for, and this method's build_peers does not "
            "pass its stages on to the peers. Give them stages=self.watched.",
            ("method",),
        )


def check_aggregator_learns(
    config: MethodConfig, aggregator: Aggregator, example: PeerOutputs, through: Collection[str]
) -> None:
    """Refuse an aggregator with weights that the method's loss would never train.

    Args:
        config: of the method.
        aggregator: in training mode, as it is afterwards.
        example: outputs of the peers for a batch of two.
        through: the aggregator's results that the loss has a gradient through.

    Raises:
        ConfigError: no gradient would reach the aggregator's weights.
    """
    if next(aggregator.parameters(), None) is None:
        return
    with torch.enable_grad():
        results = aggregator.eval()(example)._asdict()
    aggregator.train()
    learns_through = {name for name, value in results.items() if value.requires_grad}
    if learns_through.isdisjoint(through):
        raise ConfigError(
            f"{config.name} would never train the aggregator {config.aggregator.name}: its loss "
            f"has no gradient through the aggregator's {' or '.join(sorted(learns_through))}. "
            "mean and leave_one_out need no training.",
            ("method", "aggregator"),
        )


def check_aggregator_matters(
    config: MethodConfig, aggregator: Aggregator, example: PeerOutputs
) -> None:
    """Refuse an aggregator from which a method that looks at no targets would get nothing.

    Args:
        config: of the method.
        aggregator: in training mode, as it is afterwards.
        example: outputs of the peers for a batch of two.

    Raises:
        ConfigError: its ensemble is the mean, which the method has without it.
    """
    if config.aggregator.name == "mean":
        return
    ensemble = aggregator.eval()(example).ensemble
    aggregator.train()
    if torch.equal(ensemble, example.logits.mean(dim=0)):
        raise ConfigError(
            f"{config.name} teaches by no aggregator's targets, and the ensemble of "
            f"{config.aggregator.name} is the mean of all peers: it would change nothing. Leave it "
            "out.",
            ("method", "aggregator"),
        )


def _methods_that_mix_backbones() -> list[str]:
    broken = registry.methods.broken()
    return [
        name
        for name in registry.methods.names()
        if name not in broken and registry.methods.get(name).mixes_backbones
    ]
