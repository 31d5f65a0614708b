"""The student of a run folder, rebuilt and measured on its own test set or on other data."""

import logging
import math
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from kdzoo import registry
from kdzoo.backbones.logits import logits_of
from kdzoo.backbones.task import OtherClassesError, places_among
from kdzoo.component import validate
from kdzoo.compose import merge_all, parse_override, read_stored
from kdzoo.config import RunConfig
from kdzoo.data.batches import BatchSampler
from kdzoo.data.cores import available_cores
from kdzoo.data.dataset import Dataset, DatasetConfig, Measured, measured
from kdzoo.data.fingerprint import data_fingerprint
from kdzoo.data.pipeline import DataInfo
from kdzoo.data.pixel_range import find_pixel_range
from kdzoo.data.prepare import Prepared, eval_batch_size, make_pipeline, prepare
from kdzoo.data.selection import select
from kdzoo.data.splits import LabelledImages, Split, SplitName, Splits, lacking_classes
from kdzoo.errors import ConfigError, UserError, in_line
from kdzoo.peers.calls import probe_batch
from kdzoo.student import StudentInfo, find_student, load_student, read_student_info
from kdzoo.training.device import choose_device
from kdzoo.training.folding import find_foldable, folded
from kdzoo.training.measurement import Measurement, Meter
from kdzoo.training.run_folder import RunFolder
from kdzoo.training.trained_on import count_trained_on

logger = logging.getLogger(__name__)

SETTINGS = ("dataset", "batch_size", "seed", "device")
"""What of a run's settings decides how its student is measured."""

ALL_TRAINING: dict[str, Any] = {"train_subset": None, "imbalance": 1.0, "label_noise": 0.0}
UNSELECTED: dict[str, dict[str, Any]] = {
    "train": {},
    "val": ALL_TRAINING,
    "test": {**ALL_TRAINING, "val_fraction": 0.0},
    "all": {**ALL_TRAINING, "val_fraction": 0.0},
}
"""By split, the settings for choosing training samples that have nothing to say about it; other
data need not have as many samples."""


def evaluate_student(
    path: Path,
    overrides: Sequence[str] = (),
    split: Measured = "test",
    trust: bool = False,
    dataset: Dataset | None = None,
) -> dict[str, float]:
    """The figures of :func:`measure_student` alone: top-1, top-5 and ece (percent), nll (nats)."""
    return measure_student(path, overrides, split, trust, dataset).figures


def measure_student(
    path: Path,
    overrides: Sequence[str] = (),
    split: Measured = "test",
    trust: bool = False,
    dataset: Dataset | None = None,
) -> Measurement:
    """Measure a run's student, class by class.

    Labels are compared with the student's outputs by the names of the classes, and images are
    resized and normalised as those that the student was trained on, whatever the data. A warning
    is logged where the run's own data have changed since, and where nothing tells which images it
    was trained on.

    Args:
        path: the run folder, or a file of it; where ``overrides`` name other data, any student's.
        overrides: changes ``a.b=value`` to the run's ``dataset``, ``device`` or ``batch_size``.
        split: of the data; ``all`` is every image in them.
        trust: as in :func:`~kdzoo.student.load_student`.
        dataset: what :func:`~kdzoo.data.data_from` makes, in place of the run's data.

    Returns:
        what was found. There is no top-5 where there are no more than 5 classes. ``trained_on``
        counts the images that the run was trained on too; of large ones, it looks for no more
        than ``looked_for``.

    Raises:
        UserError: the folder holds no finished run, the data cannot be opened as asked, they have
            classes that the student does not know, or its outputs are no finite numbers.
    """
    path = find_student(path)
    run = RunFolder(path)
    changes = merge_all(map(parse_override, overrides))
    config = _config(run, changes, dataset)
    info = read_student_info(path)
    network = load_student(path, trust)
    device = choose_device(config.device)
    asked_for = changes.get("dataset")
    _, height, width = info.input_size
    if isinstance(asked_for, dict) and asked_for.get("image_size"):
        size = config.dataset.image_size
    else:  # images that are not square are not cropped to others that are not
        size = height if info.resize_mode == "shortest" else None
    settings = config.dataset.model_copy(update={**UNSELECTED[split], "image_size": size})
    source = copy(dataset or registry.datasets.get(settings.name)(settings))
    source.config = settings
    if asked_for is None:
        own = source.load()
        _compare(run, own)
        images = measured(select(own, settings, config.seed), split)
    else:
        own = None
        images = source.load_measured(split, config.seed)
        for note in images.notes:  # the run itself has said those of its own
            logger.warning("%s", in_line(note))
    images = _as_trained(images, info)
    if asked_for is not None and (lacking := _lacking(images)):
        logger.warning("%s", in_line(lacking))
    workers = available_cores() if settings.workers is None else settings.workers
    pixel_range = info.pixel_range
    first = next(iter(images.splits.values())).images
    if pixel_range is None and (found := find_pixel_range(first, workers, settings.cache_folder)):
        pixel_range = found.pixel_range
        logger.warning("%s", found)
    prepared = prepare(images.splits, settings, pixel_range, workers)
    for reason in prepared.skipped:
        logger.warning("Skipped: %s", in_line(reason))
    seen = (prepared.size.height, prepared.size.width)
    if size is None and seen != (height, width):
        raise UserError(
            f"The student in {path} takes images of {width}x{height} pixels, and these have "
            f"{seen[1]}x{seen[0]}."
        )
    measurement = _measure(network.to(device), images, prepared, config, settings, info)
    if not math.isfinite(measurement.figures["nll"]):
        raise UserError(
            f"What the student in {path} says of these images is no finite number: its weights are "
            "so large that 32 bits cannot hold what it computes. Train it again, at a lower lr."
        )
    trained_on = _trained_on(run, own, config, images, prepared, pixel_range)
    return replace(measurement, figures=measurement.figures | trained_on)


def _measure(
    network: nn.Module,
    images: LabelledImages,
    prepared: Prepared,
    config: RunConfig,
    settings: DatasetConfig,
    info: StudentInfo,
) -> Measurement:
    device = next(iter([*network.parameters(), *network.buffers()])).device
    count = sum(map(len, prepared.splits.values()))
    facts = DataInfo(
        settings.name,
        info.num_classes,
        (3, prepared.size.height, prepared.size.width),
        info.mean,
        info.std,
        info.classes,
        train_size=0,
        val_size=0,
        test_size=count,
    )
    eval_size = eval_batch_size(prepared.size, device, config.batch_size)
    sampler = BatchSampler(count, config.batch_size, config.seed, eval_size=eval_size)
    data = make_pipeline(prepared, prepared.splits, facts, sampler, settings, device)
    meter = Meter(info.classes, device)
    foldable = find_foldable(network, lambda: network(probe_batch(network, facts.input_size)))
    with torch.inference_mode(), folded(foldable):
        for name in prepared.splits:
            for x, y in data.eval_batches(cast(SplitName, name)):
                meter.update(logits_of(network(x), info.num_classes), y)
    return meter.compute()


def _trained_on(
    run: RunFolder,
    own: Splits | None,
    config: RunConfig,
    images: LabelledImages,
    prepared: Prepared,
    pixel_range: tuple[float, float] | None,
) -> dict[str, int]:
    """How many images the run was trained on, and of how many that is; nothing if it is unknown."""
    reason = f"the data of {run.path} cannot be compared with these"
    try:
        if run.config.is_file() and not run.identity.is_file():
            raise UserError(f"{run.path} does not say which data it was trained on")
        if own is None:
            config = _config(run, {}, None)
            own = _load_own(run, config)
        found = count_trained_on(
            images.splits, prepared, own, config.dataset, config.seed, pixel_range
        )
    except UserError as error:
        found, reason = None, str(error).split(". ")[0]  # what to do is another matter here
    if found is None:
        logger.warning(
            "Nothing tells whether the student was trained on some of these images: %s",
            in_line(reason),
        )
        return {}
    partly = found.looked_for < sum(map(len, prepared.splits.values()))
    looked_for = {"looked_for": found.looked_for} if partly else {}
    return {"trained_on": found.count, **looked_for}


def _load_own(run: RunFolder, config: RunConfig) -> Splits:
    """The run's own data.

    Raises:
        UserError: they are not there, or others are.
    """
    settings = config.dataset.without_download()
    own: Splits = registry.datasets.get(settings.name)(settings).load()
    if run.identity.is_file():
        changed = run.read_identity().data.difference(data_fingerprint(own))
        if changed is not None:
            raise UserError(f"the data of {run.path} are other ones now ({changed})")
    return own


def _config(folder: RunFolder, changes: Mapping[str, Any], dataset: Dataset | None) -> RunConfig:
    """The run's own settings of its data and device, with the changes."""
    stored = read_stored(folder.config) if folder.config.is_file() else {}
    own = {key: value for key, value in stored.items() if key in SETTINGS}
    for key in changes:
        if key not in ("dataset", "device", "batch_size"):
            raise UserError(
                f"{key}: a finished run is measured as it is; only dataset, dataset.*, device and "
                "batch_size can be other ones."
            )
    data = changes.get("dataset")
    for key in ("mean", "std"):
        if isinstance(data, Mapping) and data.get(key) is not None:
            raise ConfigError(
                "A student is measured on images that are normalised as in its training.",
                ("dataset", key),
            )
    if dataset is not None:
        if "dataset" in changes:
            raise UserError("Settings of a data set that is given go into data_from(...).")
        own["dataset"] = dataset.config
    elif _names_another(changes.get("dataset"), own.get("dataset")):
        own.pop("dataset", None)  # whose settings the other data set need not have
    elif not folder.config.is_file():
        raise UserError(
            f"{folder.path} is no run folder: there is no {folder.config.name} in it. Name the "
            "data to measure its student on, such as dataset=digits."
        )
    elif "dataset" not in own:
        raise UserError(
            f"{folder.config} is damaged: it does not say which data the run was trained on. Name "
            "them, such as dataset=digits."
        )
    elif (name := _name(own["dataset"])) not in registry.datasets.names():
        raise UserError(
            f"{folder.path} was trained on '{name}', which is no data set that has a name here: a "
            "program made it (data_from), or its package is not installed. Name data whose classes "
            "have the same names, such as dataset=imagefolder dataset.root=DIR; or measure it from "
            f"Python: evaluate_student(Path('{folder.path}'), dataset=data_from(...)), imported "
            "from kdzoo.training.evaluate_student and kdzoo.data."
        )
    if dataset is None and "dataset" in own:  # which decide what its test set is
        folder.check_config(("dataset", "seed"))
    try:
        return validate(RunConfig, merge_all([own, changes]))
    except ConfigError as error:
        raise error if changes else UserError(f"{folder.config}: {error}") from None


def _name(settings: Any) -> Any:
    return settings.get("name") if isinstance(settings, dict) else settings


def _names_another(given: Any, own: Any) -> bool:
    return _name(given) is not None and _name(given) != _name(own)


def _compare(run: RunFolder, splits: Splits) -> None:
    """Warn where a run's data are no longer those that it was trained on.

    A folder that is divided by chance is then divided otherwise, and the test split may hold images
    that were trained on.
    """
    if not run.identity.is_file():
        logger.warning(
            "Nothing tells whether the data of %s have changed since, or are divided otherwise: "
            "there is no %s in it, which older versions did not write. These may not be the "
            "figures of its %s.",
            in_line(str(run.path)),
            run.identity.name,
            run.result.name,
        )
        return
    try:
        trained_on = run.read_identity().data
    except UserError as error:  # the figures are right all the same, if the data are
        logger.warning("Nothing tells whether the data have changed since: %s", error)
        return
    changed = trained_on.difference(data_fingerprint(splits))
    if changed is not None:
        logger.warning(
            "The data of %s have changed since it was trained (%s): these are not the figures of "
            "its %s, and images that it was trained on may be among those measured.",
            in_line(str(run.path)),
            changed,
            run.result.name,
        )


def _as_trained(images: LabelledImages, info: StudentInfo) -> LabelledImages:
    """The images with the labels that the student was trained with.

    Raises:
        UserError: they have a class that the student does not know.
    """
    try:
        order = places_among(images.classes, info.classes)
    except OtherClassesError as error:
        raise UserError(
            f"The student knows other classes than these data: {error}. Name the class folders "
            f"as its student.json does, or measure it on other data with dataset.root=DIR."
        ) from None
    labels = np.array(order, dtype=np.int64)
    moved = {name: Split(one.images, labels[one.labels]) for name, one in images.splits.items()}
    return LabelledImages(moved, info.classes, images.notes)


def _lacking(images: LabelledImages) -> str | None:
    labels = np.concatenate([one.labels for one in images.splits.values()])
    (first, *more) = images.splits
    what = "the whole" if more or first == "all" else f"the {first} split"
    return lacking_classes(what, labels, images.classes)
