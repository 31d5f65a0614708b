"""The optimiser: any of timm's by name, with its own settings and groups of parameters."""

import inspect
from functools import cache
from types import NoneType
from typing import Annotated, Any, Literal, Self, get_type_hints

from pydantic import Field, create_model, model_validator
from timm.models import group_parameters
from timm.optim import create_optimizer_v2, get_optimizer_class, get_optimizer_info, list_optimizers
from torch import nn
from torch.optim import Optimizer

from kdzoo.component import ComponentConfig
from kdzoo.errors import ConfigError, UserError, nearest
from kdzoo.methods.base import Method
from kdzoo.optim.ranges import in_range, plain_part
from kdzoo.optim.trial import find_refusal

NO_SETTINGS = frozenset(
    {"params", "lr", "weight_decay", "maximize"}
    | {"foreach", "fused", "capturable", "differentiable", "verbose"}
)
"""Arguments of optimisers that are set elsewhere, or say how to compute and not what."""


class OptimizerConfig(ComponentConfig):
    """What every optimiser can be told; each has settings of its own besides."""

    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    """Weight decay."""
    decay_norm_and_bias: bool = True
    """Whether biases and the scales of normalisation layers decay as well, as in the papers."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] | None = None
    """Each layer learns at the rate of the next one times this, for pretrained networks of timm's
    (Bao et al., BEiT, ICLR 2022); all at one rate by default."""

    @model_validator(mode="after")
    def _makes_steps(self) -> Self:
        """Refuse what the optimiser itself refuses, be it in its steps; its defaults are tested."""
        defaults = {name: field.default for name, field in type(self).model_fields.items()}
        changed = [name for name in self.own_settings() if getattr(self, name) != defaults[name]]
        refusal = find_refusal(self.name, self.own_settings()) if changed else None
        if refusal is None:
            return self
        guilty = [
            name
            for name in changed
            if find_refusal(self.name, {**self.own_settings(), name: defaults[name]}) is None
        ]
        advice = " optimizer.nesterov=false turns it off." if "nesterov" in refusal.lower() else ""
        raise ConfigError(
            f"{self.name} does not take {'this' if guilty else 'these settings'}: {refusal}."
            f"{advice}",
            tuple(guilty[:1]),
        )

    def own_settings(self) -> dict[str, Any]:
        """What the optimiser itself is told, but for the learning rate."""
        return self.model_dump(exclude={"name", "decay_norm_and_bias", "layer_decay"})


def optimizer_names() -> list[str]:
    """The optimisers that a method can be trained with; those of second order need more steps."""
    names = map(str, list_optimizers())
    return [name for name in names if not get_optimizer_info(name).second_order]


@cache
def optimizer_config(name: str) -> type[OptimizerConfig]:
    """The config class of one of timm's optimisers: a field for each setting of its own.

    Raises:
        UserError: there is no such optimiser, or it cannot be used here.
    """
    if name not in optimizer_names():
        raise UserError(f"There is no optimizer '{name}'. {nearest(name, optimizer_names())}")
    info = get_optimizer_info(name)
    try:
        optimizer_class: Any = get_optimizer_class(name, bind_defaults=False)
    except (AssertionError, ImportError) as error:
        raise UserError(f"The optimizer {name} cannot be used here: {error}.") from None
    # timm drops these where they are not meant, and has a momentum and defaults of its own.
    meant = {"eps": info.has_eps, "betas": info.has_betas}
    defaults = {**({"momentum": 0.9} if info.has_momentum else {}), **(info.defaults or {})}
    hints = get_type_hints(optimizer_class.__init__)
    fields: dict[str, Any] = {"name": (Literal[name], name)}
    for key, parameter in inspect.signature(optimizer_class).parameters.items():
        default = defaults.get(key, parameter.default)
        if key not in NO_SETTINGS and meant.get(key, True) and _is_plain(default):
            kind = _field_type(hints.get(key), default)
            if kind is not None:
                fields[key] = (in_range(key, kind, default), default)
    return create_model(f"{optimizer_class.__name__}Config", __base__=OptimizerConfig, **fields)


def _is_plain(value: Any) -> bool:
    """Whether a config file can hold it."""
    if isinstance(value, tuple):
        return all(map(_is_plain, value))
    return isinstance(value, bool | int | float | str | NoneType)


def _field_type(hint: Any, default: Any) -> Any:
    """The type of a setting: as it is annotated, or where it is not, as its default is.

    None where a config file cannot hold any of its values.
    """
    if hint is not None:
        return plain_part(hint)
    if isinstance(default, tuple):
        return tuple[tuple(_field_type(None, one) for one in default)]  # type: ignore[misc]
    if default is None or type(default) is int:
        return float | None if default is None else float
    return type(default)


def build_optimizer(config: OptimizerConfig, method: Method, lr: float) -> Optimizer:
    """The optimiser of a method's parameters, as far as they need a gradient.

    Args:
        config: of :func:`optimizer_config`.
        method: what is to be trained.
        lr: the learning rate at its highest.

    Raises:
        ConfigError: ``layer_decay`` is given, and a network does not tell its layers.
    """
    if config.decay_norm_and_bias and config.layer_decay is None:
        parameters: Any = [p for p in method.parameters() if p.requires_grad]
    else:
        parameters = _Grouped(method, config)
    return create_optimizer_v2(
        parameters,
        opt=config.name,
        lr=lr,
        filter_bias_and_bn=not config.decay_norm_and_bias,
        layer_decay=config.layer_decay,
        **config.own_settings(),
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
            f"{backbone} does not tell which parameters make a layer. Networks of timm's do "
            "(backbone=timm/NAME); leave layer_decay out for this one.",
            ("optimizer", "layer_decay"),
        )
    layers = group_parameters(network, matcher(coarse=False), reverse=True)
    last = max(layers.values())
    return {name: layer - last for name, layer in layers.items()}
