"""A data set by name: its settings, how it loads, and the pipeline that makes batches of it."""

import logging

import torch

from kdzoo.data.batches import BatchSampler
from kdzoo.data.bit_depth import PixelRange
from kdzoo.data.dataset import Dataset, DatasetConfig
from kdzoo.data.device_pipeline import DevicePipeline
from kdzoo.data.loader_pipeline import LoaderPipeline
from kdzoo.data.normalisation import check_contrast, mean_and_std
from kdzoo.data.pipeline import DataInfo, DataModule
from kdzoo.data.pixel_range import find_pixel_range, scaled_alike
from kdzoo.data.preload import preload
from kdzoo.data.reader import available_cores
from kdzoo.data.resize import ImageSize, choose_size
from kdzoo.data.selection import select
from kdzoo.data.splits import Splits
from kdzoo.data.transform import BatchTransform
from kdzoo.registry import datasets

SMALL_SIDE = 96
"""The longest side, in pixels, of images that are kept on the device."""

SMALL_TOTAL = 4 * 2**30
"""The most bytes that all images together may take there."""

EVAL_PIXELS_CPU, EVAL_PIXELS = 2**17, 2**20
"""Of a batch in evaluation, all images together: 128 and 1,024 images of 32x32."""

LEAST_EVAL_SIZE, MOST_EVAL_SIZE = 16, 128
"""Images of such a batch on the CPU, however large or small they are."""

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
) -> DataModule:
    """Load a data set and make the pipeline for it.

    Args:
        config: the settings of a registered data set, or a data set.
        batch_size: samples of a batch, over all processes; a multiple of ``world_size``.
        seed: fixes, with the epoch, the order and every augmentation.
        device: where batches are wanted.
        rank: this process.
        world_size: how many processes share each batch.
        channels_last: whether each view of a batch has channels-last strides.
        splits: what the data set loads, where that is done already.
        pixel_range: the values that become 0 and 255 in files of more than 8 bits a channel; by
            default the lowest and the highest in the training split.

    Raises:
        UserError: the data cannot be used as asked; the message says why and what to do.
    """
    dataset = config if isinstance(config, Dataset) else datasets.get(config.name)(config)
    settings = dataset.config
    splits = splits or dataset.load()
    workers = settings.workers
    if workers is None:
        workers = max(1, available_cores() // world_size)
    skipped: list[str] = []
    notes: list[str] = []
    if pixel_range is None and (found := find_pixel_range(splits.train.images, workers)):
        pixel_range = found.pixel_range
        notes.append(str(found))
    if pixel_range is not None:
        splits = scaled_alike(splits, PixelRange(*pixel_range))
    size = choose_size(splits.train.images, settings.image_size)
    if settings.pipeline == "auto":
        on_device = _is_small(splits, size)
    else:
        on_device = settings.pipeline == "device"
    skip = settings.on_error == "skip"
    if on_device:
        cache = settings.cache_folder
        splits, skipped = preload(splits, size, cache=cache, workers=workers, skip=skip)
    splits = select(splits, settings, seed)
    check_contrast(splits.train.images, size)

    info = _info(settings.name, splits, size, pixel_range)
    eval_size = _eval_size(size, device, batch_size)
    sampler = BatchSampler(info.train_size, batch_size, seed, rank, world_size, eval_size)
    augment = settings.augment
    data: DataModule
    if on_device:
        transform = BatchTransform(info, augment, device, channels_last)
        data = DevicePipeline(splits, info, sampler, transform, device)
    else:
        in_batches = augment.model_copy(update={"resized_crop": None})
        transform = BatchTransform(info, in_batches, device, channels_last)
        data = LoaderPipeline(
            splits,
            info,
            sampler,
            transform,
            device,
            size=size,
            smallest_crop=augment.resized_crop,
            workers=workers,
            skip=skip,
        )
    data.skipped += skipped
    data.notes += notes
    for line in (data.description, *notes):
        logger.info("%s: %s", info.name, line)
    return data


def _info(
    name: str, splits: Splits, size: ImageSize, pixel_range: tuple[float, float] | None
) -> DataInfo:
    if splits.mean is None or splits.std is None:
        mean, std = mean_and_std(splits.train.images, size)
    else:
        mean, std = splits.mean, splits.std
    return DataInfo(
        name=name,
        num_classes=len(splits.classes),
        input_size=(3, size.height, size.width),
        mean=mean,
        std=std,
        classes=tuple(splits.classes),
        train_size=len(splits.train),
        val_size=0 if splits.val is None else len(splits.val),
        test_size=len(splits.test),
        pixel_range=pixel_range,
    )


def _eval_size(size: ImageSize, device: torch.device, batch_size: int) -> int:
    """Images of a batch in evaluation, the same however many processes there are.

    A CPU gets slower again with maps too large for its caches and its allocator; other devices want
    to be filled, and a batch without gradients takes a fraction of the memory of one with them.
    """
    area = size.height * size.width
    if device.type == "cpu":
        return min(max(EVAL_PIXELS_CPU // area, LEAST_EVAL_SIZE), MOST_EVAL_SIZE)
    return max(EVAL_PIXELS // area, batch_size)


def _is_small(splits: Splits, size: ImageSize) -> bool:
    images = sum(len(split) for split in splits.as_dict().values())
    total = images * size.height * size.width * 3
    return max(size.height, size.width) <= SMALL_SIDE and total <= SMALL_TOTAL
