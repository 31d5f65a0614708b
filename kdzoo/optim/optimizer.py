"""The settings of an optimiser: any of timm's by name, each with its own.

timm is slow to import, so the functions that ask it import it, and the default does without.
"""

import inspect
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import Field, create_model

from kdzoo.component import ComponentConfig
from kdzoo.errors import UserError, nearest

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


class SGDConfig(OptimizerConfig):
    """Stochastic gradient descent with momentum, as the papers train: what timm says of ``sgd``."""

    name: Literal["sgd"] = "sgd"
    momentum: float = 0.9
    """The share of the last step that goes on."""
    dampening: float = 0.0
    """The share of the gradient that momentum leaves out."""
    nesterov: bool = True
    """Whether the gradient is taken after the momentum."""


def optimizer_names() -> list[str]:
    """The optimisers that a method can be trained with; those of second order need more steps."""
    from timm.optim import get_optimizer_info, list_optimizers

    names = map(str, list_optimizers())
    return [name for name in names if not get_optimizer_info(name).second_order]


def optimizer_config(name: str) -> type[OptimizerConfig]:
    """The config class of one of timm's optimisers: a field for each setting of its own.

    Raises:
        UserError: there is no such optimiser, or it cannot be used here.
    """
    return SGDConfig if name == "sgd" else config_by_timm(name)


@cache
def config_by_timm(name: str) -> type[OptimizerConfig]:
    """The same, of what timm and the optimiser's class tell of it.

    Raises:
        UserError: as :func:`optimizer_config`.
    """
    from timm.optim import get_optimizer_class, get_optimizer_info

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
            fields[key] = (_field_type(hints.get(key), default), default)
    return create_model(f"{optimizer_class.__name__}Config", __base__=OptimizerConfig, **fields)


def _is_plain(value: Any) -> bool:
    """Whether a config file can hold it."""
    if isinstance(value, tuple):
        return all(map(_is_plain, value))
    return isinstance(value, bool | int | float | str | NoneType)


def _field_type(hint: Any, default: Any) -> Any:
    """The type of a setting: as it is annotated, or where that is no help, as its default is."""
    if hint is not None and _is_plain_type(hint):
        return hint
    if isinstance(default, tuple):
        return tuple[tuple(_field_type(None, one) for one in default)]  # type: ignore[misc]
    if default is None:
        return float | None
    return int | float if type(default) is int else type(default)


def _is_plain_type(hint: Any) -> bool:
    if get_origin(hint) in (Union, UnionType, tuple, list):
        return all(map(_is_plain_type, get_args(hint)))
    return hint in (bool, int, float, str, NoneType)
