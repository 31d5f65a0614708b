"""Where the settings of optimisers mean something, by name: their ranges, and what else they need.

Timm and torch check little of it: SGD takes a momentum of 5, and others fail within a step.
"""

from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import Field

SHARE = Field(ge=0, lt=1)
"""Of what came before, in a moving average."""
POSITIVE = Field(gt=0)
NOT_NEGATIVE = Field(ge=0)

SHARES = {"alpha", "beta2_cap", "betas", "betas_1d", "dampening", "momentum", "rho", "wd_ratio"}
ABOVE_ZERO = {
    *("adamw_lr", "clip_threshold", "clipping_threshold", "delta", "eps"),
    *("fallback_lr_scale", "lr_1d_factor", "max_grad_norm", "ns_steps", "precond_init_scale"),
    *("precond_lr", "safety_factor", "trust_coeff"),
}
FROM_ZERO = {
    *("clip_exp", "decay_offset", "gamma", "initial_accumulator_value", "lr_decay"),
    *("max_size_triangular", "min_dim_size_to_factor", "min_ndim_triangular"),
    *("momentum_decay", "schedule_decay"),
}
RANGES = {
    **dict.fromkeys(SHARES, SHARE),
    **dict.fromkeys(ABOVE_ZERO, POSITIVE),
    **dict.fromkeys(FROM_ZERO, NOT_NEGATIVE),
    "preconditioner_update_probability": Field(gt=0, le=1),
}
"""Of a setting with several numbers, the range of each."""

NEEDS: dict[str, dict[str, bool | str]] = {
    "amsgrad": {"rectify": False},
    "betas_1d": {"optimize_1d": False},
    "caution": {"betas": True, "momentum": True},
    "corrected_weight_decay": {"decoupled": True, "decoupled_decay": True},
    "dampening": {"momentum": True},
    "degenerated_to_sgd": {"rectify": True},
    "fallback_lr_scale": {"adamw_lr": False},
    "fixed_decay": {"decoupled_decay": True},
    "flatten_end_dim": {"flatten": True},
    "flatten_start_dim": {"flatten": True},
    "lr_1d_factor": {"optimize_1d": False},
    "lr_in_momentum": {"momentum": True},
    "momentum_into_precond_update": {"momentum": True},
    "normalize_spatial": {"conv_mode": "batched"},
}
"""Without which others a setting changes nothing, or beside which, of those that an optimiser has:
whether they have to be given, or as what."""


def in_vain(setting: str, settings: Mapping[str, Any]) -> str | None:
    """What keeps a setting from changing anything; None where nothing does.

    Args:
        setting: its name.
        settings: all of the optimiser.
    """
    for other, wanted in NEEDS.get(setting, {}).items():
        value = settings.get(other, wanted)
        if wanted != (value if isinstance(wanted, str) else bool(value)):
            flag = "=true" if isinstance(value, bool) else ""
            how = f"={wanted}" if isinstance(wanted, str) else flag
            return f"{'without' if wanted else 'beside'} optimizer.{other}{how}"
    return None


def in_range(name: str, kind: Any, default: Any) -> Any:
    """A setting's type with the range of the numbers in it, where one is known.

    Args:
        name: the setting's.
        kind: its type.
        default: its default.
    """
    if name == "decay_rate":  # an exponent, which one Adafactor of timm's negates and one does not
        return _bounded(kind, Field(lt=0) if default < 0 else POSITIVE)
    return _bounded(kind, RANGES[name]) if name in RANGES else kind


def _bounded(kind: Any, bounds: Any) -> Any:
    if kind in (int, float):
        return Annotated[kind, bounds]
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return Union[tuple(_bounded(one, bounds) for one in inner)]  # noqa: UP007
    if origin is tuple:
        return tuple[tuple(_bounded(one, bounds) for one in inner)]  # type: ignore[misc]
    return kind


def plain_part(hint: Any) -> Any:
    """What a config file can hold of a type; None where it can hold nothing of it but None."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        parts = [part for part in map(plain_part, inner) if part is not None]
        return Union[tuple(parts)] if any(part is not NoneType for part in parts) else None  # noqa: UP007
    if origin in (tuple, list):
        parts = [one if one is Ellipsis else plain_part(one) for one in inner]
        return None if None in parts else origin[tuple(parts)]
    return hint if hint in (bool, int, float, str, NoneType) else None
