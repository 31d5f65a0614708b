"""A data set by name: its settings, how it loads, and the pipeline that makes batches of it."""

import logging
import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field

from kdzoo.component import ComponentConfig
from kdzoo.data.augment import AugmentConfig
from kdzoo.data.cache import default_folder
from kdzoo.data.device import DevicePipeline
from kdzoo.data.framing import Frame, choose_frame
from kdzoo.data.loader import LoaderPipeline
from kdzoo.data.module import DataInfo, DataModule
from kdzoo.data.normalisation import mean_and_std
from kdzoo.data.plan import BatchPlan
from kdzoo.data.preload import preload
from kdzoo.data.selection import SelectionConfig, select
from kdzoo.data.splits import Splits
from kdzoo.data.transform import BatchTransform
from kdzoo.registry import datasets

SMALL_SIDE = 96
"""The longest side, in pixels, of images that are kept on the device."""

SMALL_TOTAL = 4 * 2**30
"""The most bytes that all images together may take there."""

logger = logging.getLogger(__name__)


class DatasetConfig(SelectionConfig, ComponentConfig):
    """The settings that every data set has."""

    root: Path = Path("data")
    """The folder that the files are in, or are downloaded to."""
    image_size: Annotated[int, Field(ge=1)] | None = None
    """Resize images to this side, in pixels; by default they keep their own size."""
    augment: AugmentConfig = AugmentConfig()
    """How training images are varied."""
    on_error: Literal["stop", "skip"] = "stop"
    """What to do about an image that cannot be read: stop, or skip it and say so."""
    pipeline: Literal["auto", "device", "loader"] = "auto"
    """Keep all images on the device, or load them with workers; ``auto`` goes by their size."""
    workers: Annotated[int, Field(ge=0)] | None = None
    """Processes that read images; by default one for each core."""
    cache: Path | None = None
    """The folder for decoded images; by default kdzoo's in the user's cache folder."""


class Dataset(ABC):
    """A source of labelled images, registered by name; not a torch.utils.data.Dataset.

    Attributes:
        recipe: settings of a run that the papers use with this data set, as a recipe would.
    """

    class Config(DatasetConfig):
        """The data set's own settings, and its defaults for the common ones."""

    config: DatasetConfig
    recipe: ClassVar[dict[str, Any]] = {}

    def __init__(self, config: DatasetConfig) -> None:
        self.config = config

    @abstractmethod
    def load(self) -> Splits:
        """The labelled images of every split.

        Raises:
            UserError: they are not there, or not as they should be.
        """


def open_data(
    config: DatasetConfig | Dataset,
    *,
    batch_size: int,
    seed: int,
    device: torch.device,
    rank: int = 0,
    world_size: int = 1,
    channels_last: bool = True,
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

    Raises:
        UserError: the data cannot be used as asked; the message says why and what to do.
    """
    dataset = config if isinstance(config, Dataset) else datasets.get(config.name)(config)
    settings = dataset.config
    splits = dataset.load()
    frame = choose_frame(splits.train.images, settings.image_size)
    if settings.pipeline == "auto":
        on_device = _is_small(splits, frame)
    else:
        on_device = settings.pipeline == "device"
    workers = max(1, cores() // world_size) if settings.workers is None else settings.workers
    skip = settings.on_error == "skip"
    skipped: list[str] = []
    if on_device:
        cache = settings.cache or default_folder()
        splits, skipped = preload(splits, frame, cache=cache, workers=workers, skip=skip)
    splits = select(splits, settings, seed)

    info = _info(settings.name, splits, frame)
    plan = BatchPlan(info.train_size, batch_size, seed, rank, world_size)
    augment = settings.augment
    data: DataModule
    if on_device:
        transform = BatchTransform(info, augment, device, channels_last)
        data = DevicePipeline(splits, info, plan, transform, device)
    else:
        in_batches = augment.model_copy(update={"resized_crop": None})
        transform = BatchTransform(info, in_batches, device, channels_last)
        data = LoaderPipeline(
            splits,
            info,
            plan,
            transform,
            device,
            frame=frame,
            smallest_crop=augment.resized_crop,
            workers=workers,
            skip=skip,
        )
    data.skipped += skipped
    logger.info("%s: %s", info.name, data.description)
    return data


def _info(name: str, splits: Splits, frame: Frame) -> DataInfo:
    if splits.mean is None or splits.std is None:
        mean, std = mean_and_std(splits.train.images, frame)
    else:
        mean, std = splits.mean, splits.std
    return DataInfo(
        name=name,
        num_classes=len(splits.classes),
        input_size=(3, frame.height, frame.width),
        mean=mean,
        std=std,
        classes=tuple(splits.classes),
        train_size=len(splits.train),
        val_size=0 if splits.val is None else len(splits.val),
        test_size=len(splits.test),
    )


def _is_small(splits: Splits, frame: Frame) -> bool:
    images = sum(len(split) for split in splits.by_name().values())
    total = images * frame.height * frame.width * 3
    return max(frame.height, frame.width) <= SMALL_SIDE and total <= SMALL_TOTAL


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
