"""A data set by name: its settings, how it loads, and the pipeline that makes batches of it."""

import logging

import torch

from kdzoo.data.batches import BatchSampler
from kdzoo.data.cores import available_cores
from kdzoo.data.dataset import Dataset, DatasetConfig
from kdzoo.data.last_batch import LastBatchSampler, check_last_batch
from kdzoo.data.normalisation import check_contrast, known_mean_and_std
from kdzoo.data.per_class import PerClassSampler, images_together
from kdzoo.data.pipeline import DataInfo, DataModule
from kdzoo.data.pixel_range import find_pixel_range
from kdzoo.data.prepare import eval_batch_size, make_pipeline, prepare
from kdzoo.data.repeats import Repeats, known_repeats
from kdzoo.data.resize import ImageSize
from kdzoo.data.selection import select
from kdzoo.data.splits import Splits
from kdzoo.errors import UserError, in_line
from kdzoo.registry import datasets

logger = logging.getLogger(__name__)


def open_data(
    config: DatasetConfig | Dataset,
    *,
    batch_size: int,
    seed: int,
    device: torch.device,
    rank: int = 0,
    world_size: int = 1,
    channels_last: bool = True,
    splits: Splits | None = None,
    pixel_range: tuple[float, float] | None = None,
    per_class: int = 1,
    last_batch: bool = False,
) -> DataModule:
    """Load a data set and make the pipeline for it.

    Args:
        config: the settings of a registered data set, or a data set.
        batch_size: samples of a batch, over all processes.
        seed: fixes, with the epoch, the order and every augmentation.
        device: where batches are wanted.
        rank: this process.
        world_size: how many processes share each batch.
        channels_last: whether each view of a batch has channels-last strides.
        splits: what the data set loads, where that is done already.
        pixel_range: the values that become 0 and 255 in files of more than 8 bits a channel; by
            default the lowest and the highest in the training split.
        per_class: how many images of each of its classes a batch has to hold at least.
        last_batch: whether a batch holds the one before it once more.

    Raises:
        UserError: the data cannot be used as asked; the message says why and what to do.
    """
    dataset = config if isinstance(config, Dataset) else datasets.get(config.name)(config)
    settings = dataset.config
    splits = splits or dataset.load()
    workers = settings.workers
    if workers is None:
        workers = max(1, available_cores() // world_size)
    notes: list[str] = []
    if pixel_range is None and (
        found := find_pixel_range(splits.train.images, workers, settings.cache_folder)
    ):
        pixel_range = found.pixel_range
        notes.append(str(found))
    prepared = prepare(splits.as_dict(), settings, pixel_range, workers)
    splits = select(splits.replaced(prepared.splits), settings, seed)
    check_contrast(splits.train.images, prepared.size)
    repeats = {
        name: known_repeats(split.images, splits.train.images, settings.cache_folder)
        for name, split in splits.as_dict().items()
        if name != "train"
    }
    notes += [_remark(name, splits, found) for name, found in repeats.items() if found]
    info = _info(settings, splits, prepared.size, pixel_range, repeats["test"])
    eval_size = eval_batch_size(prepared.size, device, batch_size)
    given = info.train_size, batch_size, seed, rank, world_size, eval_size
    sampler = BatchSampler(*given)
    if (together := images_together(settings, per_class, batch_size)) > 1:
        labels = splits.train.labels
        sampler = grouped = PerClassSampler(*given, labels=labels, per_class=together)
        if (left_out := grouped.left_out()) is not None:
            notes.append(left_out)
    if last_batch:
        check_last_batch(settings, together)
        sampler = LastBatchSampler(*given)
    augment = settings.augment
    if (augment.mixup or augment.cutmix) and world_size > 1 and min(sampler.shares) < 2:
        raise UserError(
            "Mixup and cutmix mix two samples of a batch, and a process has fewer. Choose "
            f"batch_size={2 * world_size} or more, or fewer processes."
        )
    data = make_pipeline(prepared, splits.as_dict(), info, sampler, settings, device, channels_last)
    data.skipped += prepared.skipped
    if rank == 0:  # every process decodes all of them
        for reason in prepared.skipped:
            logger.warning("Skipped: %s", in_line(reason))
    data.notes += notes
    for line in (data.description, *notes):
        logger.info("%s: %s", info.name, line)
    return data


def _info(
    settings: DatasetConfig,
    splits: Splits,
    size: ImageSize,
    pixel_range: tuple[float, float] | None,
    repeats: Repeats | None,
) -> DataInfo:
    mean, std = settings.mean or splits.mean, settings.std or splits.std
    if mean is None or std is None:
        mean, std = known_mean_and_std(splits.train.images, size, settings.cache_folder)
    return DataInfo(
        name=settings.name,
        num_classes=len(splits.classes),
        input_size=(3, size.height, size.width),
        mean=mean,
        std=std,
        classes=tuple(splits.classes),
        train_size=len(splits.train),
        val_size=0 if splits.val is None else len(splits.val),
        test_size=len(splits.test),
        pixel_range=pixel_range,
        test_repeats=None if repeats is None else len(repeats),
    )


def _remark(name: str, splits: Splits, repeats: Repeats) -> str:
    """What is measured on images that were trained on, in a line for people."""
    split = splits.as_dict()[name]
    position, trained_on = repeats.pairs[0]
    count = f"{repeats.looked_for:,}"
    if repeats.looked_for < len(split):
        count = f"{count} (of {len(split):,}, evenly spaced)"
    return (
        f"{len(repeats):,} of {count} {name} images are also in the training set, such as "
        f"{split.images.name(position)}, which is the same as "
        f"{splits.train.images.name(trained_on)}"
    )
