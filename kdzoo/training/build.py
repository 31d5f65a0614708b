"""What a run needs before its first step: the runs before it, data, method and optimiser."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from accelerate import PartialState

from kdzoo import registry
from kdzoo.backbones.create import BackboneLike, as_backbone
from kdzoo.backbones.task import Task, UnopenedTask
from kdzoo.component import validate
from kdzoo.config import RunConfig
from kdzoo.data.bit_depth import PixelRange
from kdzoo.data.dataset import Dataset, DatasetConfig
from kdzoo.data.encoded import EncodedImages
from kdzoo.data.last_batch import check_last_batch
from kdzoo.data.open import open_data
from kdzoo.data.per_class import images_together
from kdzoo.data.resize import choose_size
from kdzoo.data.splits import Splits
from kdzoo.errors import ConfigError
from kdzoo.methods.base import Method
from kdzoo.peers.calls import probe_batch
from kdzoo.peers.checkpointing import checkpoint_blocks
from kdzoo.peers.one_sample import check_one_sample
from kdzoo.seeding import derive
from kdzoo.training.device import build_accelerator, join_processes
from kdzoo.training.display import Display
from kdzoo.training.precision import check_precision, choose_precision
from kdzoo.training.sync_batch_norm import is_synchronised
from kdzoo.training.teacher_cache import teacher_cache
from kdzoo.training.trainer import Trainer


def build_trainer(
    config: RunConfig,
    source: Dataset,
    splits: Splits,
    networks: Sequence[BackboneLike],
    filled: Mapping[str, str],
    display: Display,
) -> Trainer:
    """The data, the method and the optimiser of a run, ready for the first step.

    Args:
        config: the run.
        source: its data set.
        splits: what that loads.
        networks: a person's own, in place of the backbones that the config names.
        filled: for each setting that :func:`prerequisites` names, the folder of that run.
        display: told what a person should know about the data and the networks.

    Raises:
        UserError: the config cannot be carried out here.
    """
    processes = join_processes(config)
    check_precision(config.precision, processes.device)
    method_class = registry.methods.get(config.method.name)
    unopened = UnopenedTask(tuple(splits.classes))
    # what does not fit is refused here, before images are decoded
    method = _build_method(config, networks, filled, unopened, _input_size(config, splits))
    check_views(config.dataset, method.views)
    data = open_data(
        source,
        batch_size=config.batch_size,
        seed=config.seed,
        device=processes.device,
        rank=processes.process_index,
        world_size=processes.num_processes,
        channels_last=config.training.channels_last,
        splits=splits,
        per_class=method_class.images_per_class(config.method),
        last_batch=method_class.repeats_last_batch(config.method),
    )
    display.say(f"{data.info.name}: {data.info.summary()}; {data.description}")
    for remark in splits.remarks():
        display.say(remark)
    for note in data.notes:
        display.say(note)
    info = data.info
    if unopened.was_asked:
        task = Task(info.classes, info.mean, info.std)
        method = _build_method(config, networks, filled, task, info.input_size)
    if len(data.shares) > 1:
        display.say(_how_shared(config, data.shares))
    if _are_alone(config, info.train_size, processes):
        try:
            method.check_one_sample()
        except ConfigError as error:
            raise error.inside("batch_size") from None
    for note in method.notes:
        display.say(note)
    precision = choose_precision(config.precision, processes.device, method)
    if precision.note is not None:
        display.say(precision.note)
    if config.training.checkpointing:
        blocks = checkpoint_blocks(method.peers)
        display.say(f"Activation checkpointing: {len(blocks)} blocks are computed twice.")
    accelerator = build_accelerator(processes, precision.name)
    cache = teacher_cache(config, method, data, splits, accelerator, display.say)
    return Trainer(config, method, data, accelerator, display.say, cache)


def prerequisites(config: RunConfig) -> dict[str, RunConfig]:
    """The runs that a method needs finished before its own, by the setting each one fills.

    Each is the method's own run but for the settings that the method asks for, e.g. a teacher.
    """
    method_class = registry.methods.get(config.method.name)
    return {
        field: validate(RunConfig, {**config.model_dump(), **settings, "resume": "auto"})
        for field, settings in method_class.prerequisites(config.method).items()
    }


def check_batches(config: RunConfig, source: Dataset) -> None:
    """Refuse batches and steps that are not what the method asks for, before any data are read."""
    method = registry.methods.get(config.method.name)
    needed = method.images_per_class(config.method)
    together = images_together(source.config, needed, config.batch_size)
    if method.repeats_last_batch(config.method):
        check_last_batch(source.config, together)
    if config.training.checkpointing and method.meta_every(config.method) is not None:
        raise ConfigError(
            "The method takes meta steps, and blocks that are computed again have no second "
            "derivative. Leave it out, or method.meta_every.",
            ("training", "checkpointing"),
        )


def check_students(config: RunConfig, splits: Splits, networks: Sequence[BackboneLike]) -> None:
    """Refuse what cannot be trained on batches of one before other runs are trained for it."""
    if not _are_alone(config, len(splits.train), join_processes(config)):
        return
    input_size = _input_size(config, splits)
    for given in networks or config.backbones:
        network = as_backbone(given, len(splits.classes), input_size).build(config.seed)
        try:
            check_one_sample(network, probe_batch(network, input_size, samples=1))
        except ConfigError as error:
            raise error.inside("batch_size") from None


def check_method(
    config: RunConfig,
    splits: Splits,
    networks: Sequence[BackboneLike],
    before: Mapping[str, RunConfig],
) -> None:
    """Refuse what a method cannot be built with before other runs are trained for it.

    Args:
        config: the run.
        splits: its data, as they were loaded.
        networks: a person's own, in place of the backbones that the config names.
        before: those runs, as :func:`prerequisites` has them; networks that are not trained stand
            for theirs.
    """
    input_size = _input_size(config, splits)
    filled = {
        field: as_backbone(
            networks[0] if networks and first.backbone == config.backbone else first.backbones[0],
            len(splits.classes),
            input_size,
        ).build(config.seed)
        for field, first in before.items()
    }
    _build_method(config, networks, filled, UnopenedTask(tuple(splits.classes)), input_size)


def check_views(settings: DatasetConfig, views: int) -> None:
    """Refuse augmentations of more views than a method sees of an image."""
    if len(settings.view_augments) > views:
        raise ConfigError(
            f"There are {len(settings.view_augments)} augmentations, and the method sees "
            f"{views if views > 1 else 'only one'} view{'s' * (views > 1)} of each image.",
            ("dataset", "view_augments"),
        )


def _build_method(
    config: RunConfig,
    networks: Sequence[BackboneLike],
    filled: Mapping[str, Any],
    task: Task,
    input_size: tuple[int, int, int],
) -> Method:
    classes = len(task.classes or ())
    backbones = [
        replace(as_backbone(given, classes, input_size), task=task)
        for given in networks or config.backbones
    ]
    method_config = config.method.model_copy(update=dict(filled))
    method_class = registry.methods.get(config.method.name)
    return method_class(method_config, backbones, derive(config.seed, "weights"))


def _input_size(config: RunConfig, splits: Splits) -> tuple[int, int, int]:
    """(C, H, W) of the images of a run, of which a few are looked at."""
    images = splits.train.images
    if isinstance(images, EncodedImages):  # any range: sizes do not depend on the pixels
        images = images.scaled(PixelRange(0, 1))
    size = choose_size(images, config.dataset.image_size)
    return 3, size.height, size.width


def _are_alone(config: RunConfig, samples: int, processes: PartialState) -> bool:
    """Whether a process has one sample of a batch, and normalises it alone."""
    repeats = registry.methods.get(config.method.name).repeats_last_batch(config.method)
    together = min(config.batch_size, samples) * (2 if repeats else 1)
    shares = [together // processes.num_processes] * processes.num_processes
    return shares[0] == 1 and not is_synchronised(config.training.sync_batch_norm, shares)


def _how_shared(config: RunConfig, shares: Sequence[int]) -> str:
    synchronised = is_synchronised(config.training.sync_batch_norm, shares)
    each = f"{min(shares)}" if min(shares) == max(shares) else f"{min(shares)} to {max(shares)}"
    return (
        f"{len(shares)} processes share each batch of {sum(shares)}, {each} samples each; lr is "
        f"{config.lr:g} for any number of them. Batch norm is over "
        f"{'the whole batch' if synchronised else 'the samples of each process alone'}."
    )
