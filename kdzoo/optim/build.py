"""Builds an optimiser: timm's, for a method's parameters in groups."""

import inspect
from typing import Any

from timm.models import group_parameters
from timm.optim import (
    create_optimizer_v2,
    get_optimizer_class,
    param_groups_layer_decay,
    param_groups_weight_decay,
)
from torch import nn
from torch.optim import SGD, Adam, Optimizer

from kdzoo.errors import ConfigError
from kdzoo.methods.base import Method
from kdzoo.optim.groups import check_groups, split_groups
from kdzoo.optim.optimizer import OptimizerConfig

FUSED = (SGD, Adam)
"""What has a fused kernel on CUDA that reads the rate from a tensor, AdamW included."""


def on_device(name: str) -> dict[str, bool]:
    """The arguments with which an optimiser keeps all its numbers, the rate included, on a GPU.

    Empty where it cannot do so.
    """
    optimizer_class: Any = get_optimizer_class(name, bind_defaults=False)
    known = inspect.signature(optimizer_class).parameters
    fused = inspect.isclass(optimizer_class) and issubclass(optimizer_class, FUSED)
    kinds = ("fused", "capturable") if fused else ("capturable",)
    return {kind: True for kind in kinds if kind in known}


def build_optimizer(config: OptimizerConfig, method: Method, lr: float, **how: Any) -> Optimizer:
    """The optimiser of a method's parameters, as far as they need a gradient.

    Args:
        config: of :func:`~kdzoo.optim.optimizer.optimizer_config`.
        method: what is to be trained, in its own groups.
        lr: the learning rate at its highest.
        how: arguments of the optimiser that say how it computes, such as :func:`on_device`.

    Raises:
        ConfigError: ``layer_decay`` is given, and a network does not tell its layers.
        UserError: the method's groups do not hold each parameter once.
    """
    own = method.parameter_groups()
    check_groups(own, method)
    groups = split_groups(_groups_of_timm(config, method), own, config.weight_decay)
    return create_optimizer_v2(groups, opt=config.name, lr=lr, **config.own_settings(), **how)


def _groups_of_timm(config: OptimizerConfig, method: Method) -> list[dict[str, Any]]:
    """The parameters as the run wants them grouped; ``weight_decay`` is a factor of it, 1 or 0."""
    if config.layer_decay is not None:
        return param_groups_layer_decay(
            grouped := _Grouped(method, config),
            weight_decay=1.0,
            weight_decay_exclude_1d=not config.decay_norm_and_bias,
            layer_decay=config.layer_decay,
            no_weight_decay_list=grouped.no_weight_decay(),
        )
    if config.decay_norm_and_bias:
        trained = [p for p in method.parameters() if p.requires_grad]
        return [{"params": trained, "weight_decay": 1.0}]
    grouped = _Grouped(method, config)
    return param_groups_weight_decay(
        grouped, weight_decay=1.0, no_weight_decay_list=grouped.no_weight_decay()
    )


class _Grouped(nn.Module):
    """A method as timm groups parameters: it asks a network for its layers and for exceptions.

    The peers' parameters are found by their memory, which a peer's state dict shares with them:
    whatever the peers are put together from, that has the names of the backbone.
    """

    def __init__(self, method: Method, config: OptimizerConfig) -> None:
        super().__init__()
        self.method = method
        self._config = config
        self._layers: dict[int, int] = {}
        self._no_decay: set[int] = set()
        peers = method.peers
        for peer in range(peers.num_peers):
            try:
                state = peers.state_of(peer)
            except ValueError:  # an exit is a part of another peer
                continue
            network = peers.backbones[peer].build(seed=0)
            layers = _layers_of(network, peers.backbones[peer].name) if config.layer_decay else {}
            spared: set[str] = getattr(network, "no_weight_decay", set)()
            self._layers |= {state[name].data_ptr(): layer for name, layer in layers.items()}
            self._no_decay |= {state[name].data_ptr() for name in spared if name in state}
        self._memory = {name: p.data_ptr() for name, p in self.named_parameters()}

    def group_matcher(self, coarse: bool) -> Any:
        """Tells a parameter's layer, counted back from the classifier's, 0, which heads share."""
        return lambda name: self._layers.get(self._memory[name], 0)

    def no_weight_decay(self) -> set[str]:
        """The parameters that a network wants no decay of, unless all are to decay."""
        if self._config.decay_norm_and_bias:
            return set()
        return {name for name, memory in self._memory.items() if memory in self._no_decay}


def _layers_of(network: nn.Module, backbone: str) -> dict[str, int]:
    """The layer of each parameter, from the last, which is 0, to the negative of the first."""
    matcher: Any = getattr(network, "group_matcher", None)
    if matcher is None:
        raise ConfigError(
            f"{backbone} does not tell which parameters make a layer. kdzoo's own networks do, and "
            "timm's (backbone=timm/NAME); leave layer_decay out for this one.",
            ("optimizer", "layer_decay"),
        )
    layers = group_parameters(network, matcher(coarse=False), reverse=True)
    last = max(layers.values())
    return {name: layer - last for name, layer in layers.items()}
