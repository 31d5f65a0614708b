"""The settings of an optimiser: any of timm's by name, each with its own.

timm is slow to import, so the functions that ask it import it, and the default does without.
"""

import inspect
from collections.abc import Mapping
from functools import cache
from types import NoneType
from typing import Annotated, Any, Literal, Self, get_type_hints

from pydantic import Field, create_model, model_validator

from kdzoo.component import ComponentConfig
from kdzoo.errors import ConfigError, UserError, cause, nearest
from kdzoo.optim.ranges import SHARE, in_range, in_vain, plain_part
from kdzoo.scalars import typed

GONE = {"scale_parameter": True, "eps_scale": 1e-3, "warmup_init": False}
"""Of what Adafactor makes a rate of its own where it is given none, and here it always is. They
were settings once: configs of that time have them at these defaults."""
NO_SETTINGS = frozenset(
    {"params", "lr", "weight_decay", "maximize"}
    | {"foreach", "fused", "capturable", "differentiable", "verbose"}
    | GONE.keys()
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

    @model_validator(mode="before")
    @classmethod
    def _without_what_is_gone(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or "adafactor" not in str(values.get("name")):
            return values
        return {
            key: value
            for key, value in values.items()
            if key not in GONE or typed(value) != GONE[key]
        }

    @model_validator(mode="after")
    def _nothing_in_vain(self) -> Self:
        own = self.own_settings()
        for name in self._changed():
            if (reason := in_vain(name, own)) is not None:
                raise ConfigError(f"{self.name} makes nothing of it {reason}.", (name,))
        return self

    @model_validator(mode="after")
    def _makes_steps(self) -> Self:
        """Refuse what the optimiser itself refuses, be it in its steps; its defaults are tested."""
        changed = self._changed()
        if not changed:
            return self
        from kdzoo.optim.trial import find_refusal  # with torch and timm

        refusal = find_refusal(self.name, self.own_settings())
        if refusal is None:
            return self
        defaults = {name: type(self).model_fields[name].default for name in changed}
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

    def _changed(self) -> list[str]:
        fields = type(self).model_fields
        return [name for name in self.own_settings() if getattr(self, name) != fields[name].default]

    def own_settings(self) -> dict[str, Any]:
        """What the optimiser itself is told, but for the learning rate."""
        return self.model_dump(exclude={"name", "decay_norm_and_bias", "layer_decay"})


class SGDConfig(OptimizerConfig):
    """Stochastic gradient descent with momentum, as the papers train: what timm says of ``sgd``."""

    name: Literal["sgd"] = "sgd"
    momentum: Annotated[float, SHARE] = 0.9
    """The share of the last step that goes on."""
    dampening: Annotated[float, SHARE] = 0.0
    """The share of the gradient that momentum leaves out."""
    nesterov: bool = True
    """Whether the gradient is taken after the momentum."""

    @model_validator(mode="after")
    def _makes_steps(self) -> Self:
        """Refuse what torch's does; one rule needs no trial."""
        if self.nesterov and (not self.momentum or self.dampening):
            raise ConfigError(
                "sgd does not take this: Nesterov momentum requires a momentum and zero dampening. "
                "optimizer.nesterov=false turns it off.",
                ("dampening" if self.momentum else "momentum",),
            )
        return self


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
        raise UserError(f"The optimizer {name} cannot be used here: {cause(error)}.") from None
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
