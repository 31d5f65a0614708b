"""The student of a run folder, rebuilt and measured on its own test set or on other data."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from kdzoo import registry
from kdzoo.backbones.logits import logits_of
from kdzoo.backbones.task import OtherClassesError, places
from kdzoo.component import validate
from kdzoo.compose import merge_all, parse_override, read_stored
from kdzoo.config import RunConfig
from kdzoo.data.fingerprint import data_fingerprint
from kdzoo.data.open import open_data
from kdzoo.data.pipeline import SplitName
from kdzoo.data.splits import Split, Splits
from kdzoo.errors import ConfigError, UserError, printable
from kdzoo.peers.calls import probe_batch
from kdzoo.student import StudentInfo, load_student, read_student_info
from kdzoo.training.device import choose_device
from kdzoo.training.folding import find_foldable, folded
from kdzoo.training.metrics import Accuracy
from kdzoo.training.run_folder import RunFolder

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
    split: Literal["test", "val", "train", "all"] = "test",
    trust: bool = False,
) -> dict[str, float]:
    """Top-1 and top-5 (percent) and nll (nats) of a run's student.

    Labels are compared with the student's outputs by the names of the classes, and images are
    resized and normalised as those that the student was trained on, whatever the data. A warning
    is logged where the run's own data have changed since.

    Args:
        path: the run folder.
        overrides: changes ``a.b=value`` to the run's ``dataset``, ``device`` or ``batch_size``.
        split: of the data; ``all`` is every image in them.
        trust: as in :func:`~kdzoo.student.load_student`.

    Returns:
        and ``images``, how many were measured; no top-5 where there are no more than 5 classes.

    Raises:
        UserError: the folder holds no finished run, the data cannot be opened as asked, or they
            have other classes than the student knows.
    """
    changes = merge_all(map(parse_override, overrides))
    config = _config(RunFolder(path), changes)
    info = read_student_info(path)
    network = load_student(path, trust)
    device = choose_device(config.device)
    _, height, width = info.input_size
    asked_for = changes.get("dataset")
    if isinstance(asked_for, dict) and asked_for.get("image_size"):
        size = config.dataset.image_size
    else:  # images that are not square are not cropped to others that are not
        size = height if height == width else None
    settings = config.dataset.model_copy(update={**UNSELECTED[split], "image_size": size})
    dataset = registry.datasets.get(settings.name)(settings)
    splits = dataset.load()
    if asked_for is None:
        _compare(RunFolder(path), splits)
    else:  # the run itself has said it of its own
        for remark in splits.remarks():
            logger.warning("%s", printable(remark))
    data = open_data(
        dataset,
        batch_size=config.batch_size,
        seed=config.seed,
        device=device,
        splits=_as_trained(splits, info),
        pixel_range=info.pixel_range,
    )
    if size is None and data.info.input_size != info.input_size:
        raise UserError(
            f"The student in {path} takes images of {width}x{height} pixels, and these have "
            f"{data.info.input_size[2]}x{data.info.input_size[1]}."
        )
    network.to(device)
    accuracy = Accuracy(1, device)
    measured: tuple[SplitName, ...] = ("train", "val", "test") if split == "all" else (split,)
    shape = data.info.input_size
    foldable = find_foldable(network, lambda: network(probe_batch(network, shape)))
    with torch.inference_mode(), folded(foldable):
        for name in measured:
            if split == "all" and name == "val" and not data.info.val_size:
                continue
            for x, y in data.eval_batches(name):
                accuracy.update(logits_of(network(x), info.num_classes)[None], y)
    return {**accuracy.compute()[0], "images": int(accuracy.count)}


def _config(folder: RunFolder, changes: Mapping[str, Any]) -> RunConfig:
    """The run's own settings of its data and device, with the changes."""
    if not folder.config.is_file():
        raise UserError(f"{folder.path} is no run folder: there is no {folder.config.name} in it.")
    own = {key: value for key, value in read_stored(folder.config).items() if key in SETTINGS}
    for key in changes:
        if key not in ("dataset", "device", "batch_size"):
            raise UserError(
                f"{key}: a finished run is measured as it is; only dataset, dataset.*, device and "
                "batch_size can be other ones."
            )
    if "dataset" not in own and "dataset" not in changes:
        raise UserError(
            f"{folder.config} is damaged: it does not say which data the run was trained on. Name "
            "them, such as dataset=digits."
        )
    if "dataset" in own and _names_another(changes.get("dataset"), own["dataset"]):
        del own["dataset"]  # whose settings the other data set need not have
    try:
        return validate(RunConfig, merge_all([own, changes]))
    except ConfigError as error:
        raise error if changes else UserError(f"{folder.config}: {error}") from None


def _names_another(given: Any, own: Any) -> bool:
    name = given.get("name") if isinstance(given, dict) else given
    return name is not None and (not isinstance(own, dict) or name != own.get("name"))


def _compare(run: RunFolder, splits: Splits) -> None:
    """Warn where a run's data are no longer those that it was trained on.

    A folder that is divided by chance is then divided otherwise, and the test split may hold images
    that were trained on.
    """
    if not run.identity.is_file():
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
            printable(str(run.path)),
            changed,
            run.result.name,
        )


def _as_trained(splits: Splits, info: StudentInfo) -> Splits:
    """The data with the labels, the mean and the std that a student was trained with."""
    try:
        order = places(splits.classes, info.classes)
    except OtherClassesError as error:
        raise UserError(
            f"The student knows other classes than these data: {error}. Name the class folders "
            f"as its student.json does, or measure it on other data with dataset.root=DIR."
        ) from None
    labels = np.array(order, dtype=np.int64)
    moved: dict[str, Any] = {
        name: Split(split.images, labels[split.labels]) for name, split in splits.as_dict().items()
    }
    return replace(
        splits,
        train=moved["train"],
        test=moved["test"],
        val=moved.get("val"),
        classes=info.classes,
        mean=info.mean,
        std=info.std,
    )
