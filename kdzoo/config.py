"""A run's config: the fields, in the order in which people look for them."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SerializeAsAny,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from kdzoo import registry
from kdzoo.backbones.config import BackboneConfig, backbone_at
from kdzoo.component import Component, Config, by_name, choice, has_home, named
from kdzoo.data.dataset import DatasetConfig
from kdzoo.durations import seconds
from kdzoo.errors import ConfigError, UserError
from kdzoo.identity import CountsAs, NotAtDefault, NotIdentity, identity_of
from kdzoo.optim.optimizer import OptimizerConfig, optimizer_config
from kdzoo.optim.schedule import ScheduleConfig, schedule_config

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1, le=10**9)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]


def _device(value: Any) -> Any:
    """A number alone is that of a GPU."""
    if isinstance(value, bool) or not re.fullmatch("[0-9]{1,3}", str(value)):
        return value
    return f"cuda:{int(value)}"


Device = Annotated[
    str, BeforeValidator(_device), Field(pattern=r"^(auto|cpu|mps|cuda(:[0-9]{1,3})?)$")
]


def _interval(value: Any) -> Any:
    """A whole number of epochs, or ``auto``; said in one sentence, since it is one setting."""
    if value == "auto" or re.fullmatch("0*[1-9][0-9]*", str(value)):
        return value if value == "auto" else int(value)
    raise ConfigError(
        f"This is no number of epochs, 1 or more, nor 'auto': {value!r}.",
        ("training", "eval_every"),
    )


def _duration(value: Any) -> Any:
    """Checked, and left as it was typed."""
    if value is None:
        return None
    try:
        seconds(str(value))
    except UserError as error:
        raise ConfigError(str(error), ("training", "checkpoint_every")) from None
    return str(value).strip()


def _compiles(value: Any) -> Any:
    """Yes, no or ``auto``; said in one sentence, since it is one setting."""
    try:
        return value if value == "auto" else TypeAdapter(bool).validate_python(value)
    except ValidationError:
        raise ConfigError(
            f"This is neither true nor false, nor 'auto': {value!r}.", ("training", "compile")
        ) from None


MOST_THREADS = 1024


class TrainingConfig(Config):
    steps: Count | None = None
    """Train for so many optimiser steps, not for ``epochs``."""
    eval_every: Annotated[int | Literal["auto"], BeforeValidator(_interval)] = "auto"
    """Evaluate after every so many epochs, and after the last; ``auto`` as often as takes no more
    than a tenth of the time."""
    label_smoothing: Share = 0.0
    """The share of each label's probability that is spread over all classes."""
    clip_norm: Positive | None = None
    """The largest norm of the whole gradient; none by default."""
    sam_rho: Annotated[Positive | None, NotAtDefault] = None
    """Sharpness-aware minimization: take each step's gradient so far up its slope from the weights,
    0.05 in the paper, by a second forward and backward pass; none by default."""
    average: Annotated[Literal["none", "ema", "swa"], NotAtDefault] = "none"
    """Deploy and judge the student with a mean of its weights: ``ema``, their exponential moving
    average over the steps; ``swa``, the plain mean over the ends of the last epochs."""
    average_decay: Annotated[Share, NotAtDefault] = 0.999
    """Of ``ema``: how much of the average a step keeps."""
    average_from: Annotated[Share, NotAtDefault] = 0.75
    """Of ``swa``: the fraction of the training after which epochs count."""
    channels_last: bool = True
    """Keep images in channels-last memory order, the faster one for convolutions."""
    on_nonfinite: Annotated[Literal["stop", "skip", "rollback"], NotIdentity] = "stop"
    """What becomes of a step whose loss or gradient is no finite number: ``stop`` ends the training
    at the end of the epoch; ``skip`` leaves the step out, and says how many there were;
    ``rollback`` goes back to a state 100 to 199 steps ago, and leaves out what led there."""
    sync_batch_norm: Annotated[Literal["auto"] | bool, NotIdentity] = "auto"
    """On several processes, normalise with the statistics of the whole batch and not of each
    process's share; ``auto`` where a process has fewer than 32 samples of a batch."""
    threads: Annotated[Annotated[int, Field(ge=1, le=MOST_THREADS)] | None, NotIdentity] = None
    """CPU threads; torch decides by default. For several runs at a time, divide the cores between
    them: on small images that does more in all than one run with all cores."""
    compile: Annotated[
        bool | Literal["auto"], BeforeValidator(_compiles), CountsAs("auto", False)
    ] = "auto"
    """Compile the step with torch.compile; ``auto`` where that saves more time than it takes."""
    cuda_graph: Annotated[bool, NotIdentity] = True
    """On CUDA, capture the whole step as one graph and replay it, wherever that can be done."""
    fused_kernels: Annotated[bool, NotIdentity] = False
    """In a captured step in bf16, compute the blocks of kdzoo's ResNets, as far as they have 16 to
    64 channels, with kernels of kdzoo's own: twice as fast, once they are compiled."""
    checkpointing: Annotated[bool, NotIdentity] = False
    """Activation checkpointing: keep the inputs of blocks only, and compute the blocks again in the
    backward pass. Less memory, more time, and the same result."""
    checkpoint_every: Annotated[str | None, BeforeValidator(_duration), NotIdentity] = "10min"
    """Leave a checkpoint within an epoch as well, whenever the last one is so old: ``90s``,
    ``10min``, ``1h``; none for checkpoints after epochs alone."""
    tracker: Annotated[Literal["tensorboard", "wandb", "mlflow"] | None, NotIdentity] = None
    """Also report to this tracker, which must be installed."""

    @model_validator(mode="after")
    def _average_has_its_settings(self) -> "TrainingConfig":
        for setting, kind in (("average_decay", "ema"), ("average_from", "swa")):
            default = type(self).model_fields[setting].default
            if getattr(self, setting) != default and self.average != kind:
                raise ConfigError(
                    f"It is a setting of training.average={kind}, and training.average is "
                    f"{self.average}.",
                    ("training", setting),
                )
        if self.average != "none" and self.on_nonfinite == "rollback":
            raise ConfigError(
                "A mean of the weights does not go back with the training. Set "
                "training.on_nonfinite=skip or stop, or training.average=none.",
                ("training", "average"),
            )
        return self

    @model_validator(mode="after")
    def _compiler_decides(self) -> "TrainingConfig":
        if self.fused_kernels and self.compile is True:
            raise ConfigError(
                "torch.compile makes kernels of its own. Set either training.fused_kernels or "
                "training.compile.",
                ("training", "fused_kernels"),
            )
        if self.checkpointing and self.compile is True:
            raise ConfigError(
                "torch.compile decides itself what is kept and what is computed again. Set either "
                "training.checkpointing or training.compile.",
                ("training", "checkpointing"),
            )
        return self


def _backbones(value: Any) -> Any:
    """One backbone or a list of them, each a name or settings."""
    if isinstance(value, list | tuple):
        if not value:
            raise ConfigError("The list of backbones is empty.", ("backbone",))
        return tuple(_backbones(one) for one in value)
    return backbone_at("backbone", value)


class RunConfig(Config):
    """Everything that a run depends on."""

    method: Annotated[Component, by_name(registry.methods)] = named("mbde")
    """How the peers teach each other: see ``kdzoo list methods``."""
    backbone: Annotated[
        BackboneConfig | tuple[BackboneConfig, ...], BeforeValidator(_backbones)
    ] = named("resnet20")
    """The network to train, or a list of one for each peer: see ``kdzoo list backbones``."""
    dataset: Annotated[SerializeAsAny[DatasetConfig], by_name(registry.datasets)] = named("digits")
    """What to train on: see ``kdzoo list datasets``."""

    seed: Seed = 0
    """Fixes the initial weights, the order of samples and every augmentation."""
    epochs: Count = 300
    """Passes over the training set."""
    batch_size: Count = 128
    """Samples a step, over all devices."""
    lr: Positive = 0.1
    """The learning rate at its highest."""
    device: Annotated[Device, NotIdentity] = "auto"
    """``auto``, ``cpu``, ``cuda``, ``cuda:N`` (or N alone) or ``mps``."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Number format of the forward pass; ``auto`` takes bf16 where the device is fast at it."""
    out: Annotated[str, Field(min_length=1), AfterValidator(has_home), NotIdentity] = "runs"
    """The folder that holds the run folders."""
    resume: Annotated[Literal["auto", "never"], NotIdentity] = "auto"
    """``auto`` goes on with an unfinished run and returns a finished one; ``never`` starts over."""

    optimizer: Annotated[SerializeAsAny[OptimizerConfig], choice(optimizer_config)] = named("sgd")
    """What makes a step of a gradient: one of timm's optimisers."""
    schedule: Annotated[SerializeAsAny[ScheduleConfig], choice(schedule_config)] = named(
        "multistep"
    )
    """How the learning rate goes over the training."""
    training: TrainingConfig = TrainingConfig()

    @model_validator(mode="after")
    def _rate_falls(self) -> Self:
        lowest = getattr(self.schedule, "min_lr", 0)
        if lowest > self.lr:
            raise ConfigError(
                f"The rate at the end, {lowest:g}, is above lr, its highest, {self.lr:g}.",
                ("schedule", "min_lr"),
            )
        return self

    @model_validator(mode="after")
    def _scaler_skips(self) -> Self:
        if self.precision == "fp16" and self.training.on_nonfinite != "stop":
            raise ConfigError(
                "In fp16 the scaler of the loss leaves such steps out already. Leave it at stop.",
                ("training", "on_nonfinite"),
            )
        return self

    @property
    def backbones(self) -> tuple[BackboneConfig, ...]:
        """The backbones: one for all peers, or one for each."""
        return self.backbone if isinstance(self.backbone, tuple) else (self.backbone,)

    @property
    def backbone_name(self) -> str:
        """What the backbones are called together."""
        return "+".join(backbone.name for backbone in self.backbones)

    def identity(self) -> dict[str, Any]:
        """The settings that decide the result, besides the data and the networks themselves."""
        return identity_of(self.model_dump(mode="json"), RunConfig)
