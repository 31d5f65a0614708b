"""From images as they were loaded to a pipeline: which size, on the device or from workers."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from kdzoo.data.batches import BatchSampler
from kdzoo.data.bit_depth import PixelRange
from kdzoo.data.dataset import DatasetConfig
from kdzoo.data.device_pipeline import DevicePipeline
from kdzoo.data.loader_pipeline import LoaderPipeline
from kdzoo.data.pipeline import DataInfo, DataModule
from kdzoo.data.pixel_range import scaled_alike
from kdzoo.data.preload import preload
from kdzoo.data.resize import ImageSize, choose_size
from kdzoo.data.splits import Split
from kdzoo.data.transform import BatchTransform
from kdzoo.errors import ConfigError

SMALL_SIDE = 96
"""The longest side, in pixels, of images that are kept on the device."""

SMALL_TOTAL = 4 * 2**30
"""The most bytes that all images together may take there."""

EVAL_PIXELS_CPU, EVAL_PIXELS = 2**17, 2**20
"""Of a batch in evaluation, all images together: 128 and 1,024 images of 32x32."""

LEAST_EVAL_SIZE, MOST_EVAL_SIZE = 16, 128
"""Images of such a batch on the CPU, however large or small they are."""


@dataclass(frozen=True)
class Prepared:
    """Splits whose images are decoded, where they are small.

    Attributes:
        splits: by name.
        size: the size that images get.
        on_device: whether all are decoded, to be kept on the device.
        skipped: why images were left out that could not be read.
        workers: how many processes read images.
    """

    splits: dict[str, Split]
    size: ImageSize
    on_device: bool
    skipped: list[str]
    workers: int


def prepare(
    splits: Mapping[str, Split],
    settings: DatasetConfig,
    pixel_range: tuple[float, float] | None,
    workers: int,
) -> Prepared:
    """Find the size of images, and decode them all if they are small.

    Args:
        splits: as they were loaded; where no size is asked for, it is that of the first one.
        settings: of the data set.
        pixel_range: what becomes 0 and 255 in files of more than 8 bits a channel.
        workers: how many processes read images.

    Raises:
        UserError: images differ in size, or cannot be read and are not to be skipped.
    """
    if pixel_range is not None:
        splits = scaled_alike(splits, PixelRange(*pixel_range))
    size = choose_size(next(iter(splits.values())).images, settings.image_size)
    if settings.pipeline == "auto":
        on_device = is_small(splits, size)
    else:
        on_device = settings.pipeline == "device"
    if not on_device:
        return Prepared(dict(splits), size, on_device, [], workers)
    decoded, skipped = preload(
        splits,
        size,
        cache=settings.cache_folder,
        workers=workers,
        skip=settings.on_error == "skip",
    )
    return Prepared(decoded, size, on_device, skipped, workers)


def make_pipeline(
    prepared: Prepared,
    splits: Mapping[str, Split],
    info: DataInfo,
    sampler: BatchSampler,
    settings: DatasetConfig,
    device: torch.device,
    channels_last: bool = True,
) -> DataModule:
    """The pipeline for images that are prepared.

    Args:
        prepared: how.
        splits: what was chosen of them.
        info: facts about them.
        sampler: this process's batches.
        settings: of the data set.
        device: where batches are wanted.
        channels_last: whether each view of a batch has channels-last strides.
    """
    augments = settings.augments
    if prepared.on_device:
        transform = BatchTransform(info, augments, device, channels_last)
        return DevicePipeline(splits, info, sampler, transform, device)
    if len({augment.resized_crop is None for augment in augments}) > 1:
        raise ConfigError(
            "Of images that are read ahead, all views have a resized_crop or none has; in a view "
            "without, resized_crop=1 takes nearly the whole image.",
            ("dataset", "view_augments"),
        )
    # a crop is flipped where it is cut, unless something else comes between
    flips = [0.0 if a.resized_crop is None or a.crop_padding else a.flip for a in augments]
    in_batches = [
        augment.model_copy(update={"resized_crop": None, "flip": augment.flip - flip})
        for augment, flip in zip(augments, flips, strict=True)
    ]
    transform = BatchTransform(info, in_batches, device, channels_last)
    smallest = [augment.resized_crop for augment in augments if augment.resized_crop is not None]
    return LoaderPipeline(
        splits,
        info,
        sampler,
        transform,
        device,
        size=prepared.size,
        smallest_crops=smallest,
        flips=flips,
        workers=prepared.workers,
        skip=settings.on_error == "skip",
    )


def eval_batch_size(size: ImageSize, device: torch.device, batch_size: int) -> int:
    """Images of a batch in evaluation, the same however many processes there are.

    A CPU gets slower again with maps too large for its caches and its allocator; other devices want
    to be filled, and a batch without gradients takes a fraction of the memory of one with them.
    """
    area = size.height * size.width
    if device.type == "cpu":
        return min(max(EVAL_PIXELS_CPU // area, LEAST_EVAL_SIZE), MOST_EVAL_SIZE)
    return max(EVAL_PIXELS // area, batch_size)


def is_small(splits: Mapping[str, Split], size: ImageSize) -> bool:
    """Whether all images together are kept decoded."""
    images = sum(len(split) for split in splits.values())
    total = images * size.height * size.width * 3
    return max(size.height, size.width) <= SMALL_SIDE and total <= SMALL_TOTAL
