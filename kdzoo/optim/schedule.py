"""The schedule of the learning rate (lr scheduler): timm's curves, as rates of steps.

The rate of a step follows from the step's number alone, so a run that goes on needs no state of it.
"""

import fractions
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from kdzoo.component import ComponentConfig
from kdzoo.errors import ConfigError, UserError, nearest

if TYPE_CHECKING:
    from torch.optim import Optimizer

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Factor = Annotated[float, Field(gt=0, le=1)]
Exponent = Annotated[float, Field(gt=0, le=10)]

LENGTH = 2**20
"""How long timm is told that the training is: by a power of two, fractions of it are exact."""
FINEST = 10**9
"""The highest denominator of a fraction of the training, beyond the steps of any."""


def _not_epochs(warmup: float) -> float:
    if warmup >= 1:
        raise ConfigError(
            f"The warm-up is a fraction of the training, below 1; {warmup:g} would be epochs. "
            "For those, divide by epochs: 5 of 40 are 0.125.",
            ("warmup",),
        )
    return warmup


class ScheduleConfig(ComponentConfig):
    """What every schedule can be told; each has settings of its own besides."""

    warmup: Annotated[NotNegative, AfterValidator(_not_epochs)] = 0.0
    """The fraction of the training over which the rate first rises linearly from 0."""

    def for_timm(self, steps: int, warmup: float) -> dict[str, Any]:
        """The arguments of timm's scheduler, with times in the unit of :data:`LENGTH`.

        Args:
            steps: the length of the whole training.
            warmup: steps of it that come before the curve.
        """
        return {}

    def clock(self, steps: int, warmup: float) -> Callable[[int], float]:
        """Tells when a step is in timm's scheduler; the arguments are those of :meth:`for_timm`."""
        return lambda step: _time(step, steps, warmup)


class Constant(ScheduleConfig):
    """The rate does not fall."""

    name: Literal["constant"] = "constant"


class Multistep(ScheduleConfig):
    """The rate falls at milestones."""

    name: Literal["multistep"] = "multistep"
    milestones: tuple[Fraction, ...] = (0.5, 0.75)
    """Fractions of the training after which the rate is multiplied by ``gamma``."""
    gamma: Factor = 0.1
    """The factor at each milestone."""

    def for_timm(self, steps: int, warmup: float) -> dict[str, Any]:
        first_steps = [math.ceil(_exact(each) * steps) for each in sorted(self.milestones)]
        # Timm compares milestones with the time plus 1.
        milestones = [_time(step, steps, warmup) + 1 for step in first_steps]
        return {"decay_milestones": milestones, "decay_rate": self.gamma}


class Step(ScheduleConfig):
    """The rate falls at equal intervals."""

    name: Literal["step"] = "step"
    interval: Fraction = 0.3
    """The fraction of the training, after the warm-up, between two falls."""
    gamma: Factor = 0.1
    """The factor of each fall."""

    def for_timm(self, steps: int, warmup: float) -> dict[str, Any]:
        return {"decay_epochs": 1, "decay_rate": self.gamma}

    def clock(self, steps: int, warmup: float) -> Callable[[int], float]:
        """Counts the intervals that are over, which timm's division of floats does not do well."""
        begin = _exact(self.warmup) * steps
        length = (steps - begin) * max(_exact(self.interval), fractions.Fraction(1, FINEST))
        return lambda step: float((step - begin) // length)


class _Falling(ScheduleConfig):
    min_lr: NotNegative = 0.0
    """The rate at the end."""

    def for_timm(self, steps: int, warmup: float) -> dict[str, Any]:
        return {"min_lr": self.min_lr}


class _Cyclic(_Falling):
    cycles: Annotated[int, Field(ge=1, le=1000)] = 1
    """How often the curve runs through (warm restarts: Loshchilov & Hutter, ICLR 2017)."""
    cycle_decay: Factor = 1.0
    """The factor on the highest rate from one cycle to the next."""

    @model_validator(mode="after")
    def _has_a_next_cycle(self) -> Self:
        if self.cycles == 1 and self.cycle_decay != 1:
            raise ConfigError(
                "After one cycle none follows; schedule.cycles=2 makes two.", ("cycle_decay",)
            )
        return self

    def for_timm(self, steps: int, warmup: float) -> dict[str, Any]:
        return super().for_timm(steps, warmup) | {
            "num_epochs": LENGTH // self.cycles,
            "cycle_limit": self.cycles,
            "cycle_decay": self.cycle_decay,
        }


class Tanh(_Cyclic):
    """The rate falls along a hyperbolic tangent (Hsueh et al., WACV 2019)."""

    name: Literal["tanh"] = "tanh"


class _Stretched(_Cyclic):
    k_decay: Exponent = 1.0
    """k of k-decay, which holds the rate up longer (Zhang & Li, 2020)."""

    def for_timm(self, steps: int, warmup: float) -> dict[str, Any]:
        return super().for_timm(steps, warmup) | {"k_decay": self.k_decay}


class Cosine(_Stretched):
    """The rate falls along half a cosine (Loshchilov & Hutter, ICLR 2017)."""

    name: Literal["cosine"] = "cosine"


class Poly(_Stretched):
    """The rate falls as a power of what is left of the training."""

    name: Literal["poly"] = "poly"
    power: Exponent = 1.0
    """The power; 1 is a straight line."""

    def for_timm(self, steps: int, warmup: float) -> dict[str, Any]:
        return super().for_timm(steps, warmup) | {"decay_rate": self.power}


class _Stable(_Falling):
    decay: Fraction = 0.2
    """The last fraction of the training, after the warm-up, in which the rate falls."""
    decay_fn: Literal["1-sqrt", "linear", "cosine", "exp"] = "1-sqrt"
    """How it falls then."""

    def for_timm(self, steps: int, warmup: float) -> dict[str, Any]:
        return super().for_timm(steps, warmup) | {
            "decay_epochs": max(1.0, self.decay * LENGTH),
            "decay_fn": self.decay_fn,
        }


class Wsd(_Stable):
    """Warm-up, stable, decay: the rate is constant, then falls (Haegele et al., NeurIPS 2024)."""

    name: Literal["wsd"] = "wsd"


class Rsqrt(_Stable):
    """The rate goes with one over the root of the time, then falls (Zhai et al., CVPR 2022)."""

    name: Literal["rsqrt"] = "rsqrt"
    timescale: Positive = 0.1
    """The fraction of the training, after the warm-up, by which 1/sqrt(1 + t / timescale) goes."""

    def for_timm(self, steps: int, warmup: float) -> dict[str, Any]:
        return super().for_timm(steps, warmup) | {"stable_timescale": self.timescale * LENGTH}


SCHEDULES: dict[str, type[ScheduleConfig]] = {
    config_class.model_fields["name"].default: config_class
    for config_class in (Constant, Cosine, Multistep, Poly, Rsqrt, Step, Tanh, Wsd)
}


def schedule_config(name: str) -> type[ScheduleConfig]:
    """The config class of a schedule.

    Raises:
        UserError: there is no such schedule.
    """
    if name not in SCHEDULES:
        raise UserError(f"There is no schedule '{name}'. {nearest(name, SCHEDULES)}")
    return SCHEDULES[name]


class Schedule:
    """The learning rate of each step, a function of the step's number.

    Args:
        config: of :func:`schedule_config`.
        optimizer: whose rates are meant; a group with an ``lr_scale`` gets the rate times that.
        steps: the length of the whole training.
    """

    def __init__(self, config: ScheduleConfig, optimizer: "Optimizer", steps: int) -> None:
        from timm.scheduler import create_scheduler_v2  # slow to import, and no setting needs it

        self.steps = steps
        self.warmup = config.warmup * steps
        self._optimizer = optimizer
        settings = {"num_epochs": LENGTH} | config.for_timm(steps, self.warmup)
        self._groups = _Groups(optimizer)
        groups: Any = self._groups
        self._clock = config.clock(steps, self.warmup)
        self._timm, _ = create_scheduler_v2(groups, sched=config.name, **settings)

    def rates(self, step: int) -> list[float]:
        """The rate of each group of parameters at a step, counted from 0."""
        if step < self.warmup:
            share = (step + 1) / (self.warmup + 1)
            self._timm.update_groups([base * share for base in self._timm.base_values])
        else:
            self._timm.step(self._clock(step))
        return [group["lr"] for group in self._groups.param_groups]

    def set(self, step: int) -> None:
        """Give the optimiser the rates of a step, as numbers of the host."""
        for group, rate in zip(self._optimizer.param_groups, self.rates(step), strict=True):
            group["lr"] = rate


class _Groups:
    """The rates of an optimiser's groups, for timm to write to: the optimiser's own may be tensors
    of a device.
    """

    def __init__(self, optimizer: "Optimizer") -> None:
        self.param_groups = [
            {"lr": float(group["lr"])}
            | ({"lr_scale": group["lr_scale"]} if "lr_scale" in group else {})
            for group in optimizer.param_groups
        ]


def _time(step: int, steps: int, warmup: float) -> float:
    """When a step is, counted from the end of the warm-up, in the unit of :data:`LENGTH`."""
    return LENGTH * ((step - warmup) / max(steps - warmup, 1))


def _exact(number: float) -> fractions.Fraction:
    """The fraction that is meant: 7/100 of 0.07, which as a float is a little more."""
    return fractions.Fraction(number).limit_denominator(FINEST)
