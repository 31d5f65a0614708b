"""The pipeline for large images: worker processes read them ahead of the device.

Workers decode, crop and resize, which images of different sizes need one by one. What follows is
done in batches on the device, by the same code and with the same random numbers as in the pipeline
for small images.
"""

import logging
from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import DataLoader

from kdzoo.data.batches import BatchPlan, contiguous_share
from kdzoo.data.pipeline import Batch, DataInfo, DataModule, SplitName, wanted
from kdzoo.data.reader import Reader, Requests
from kdzoo.data.resample import NUMBERS, PURPOSE
from kdzoo.data.resize import Frame, UnreadableImageError, refusal
from kdzoo.data.splits import Splits
from kdzoo.data.transform import BatchTransform
from kdzoo.errors import UserError
from kdzoo.seeding import stream

logger = logging.getLogger(__name__)

AHEAD = 4
"""Batches that each worker reads ahead."""


class LoaderPipeline(DataModule):
    """Batches that a torch DataLoader reads ahead.

    Args:
        splits: the images, decoded or not.
        info: facts about them.
        plan: this process's training batches.
        transform: what is done in batches: everything but the random resized crop.
        device: where batches are wanted.
        frame: the size that images get.
        smallest_crop: of the random resized crop; None for no such crop.
        workers: how many processes read; 0 to read in this one.
        skip: leave out what cannot be read; in training, the next sample takes its place.
    """

    def __init__(
        self,
        splits: Splits,
        info: DataInfo,
        plan: BatchPlan,
        transform: BatchTransform,
        device: torch.device,
        *,
        frame: Frame,
        smallest_crop: float | None,
        workers: int,
        skip: bool,
    ) -> None:
        super().__init__(info, plan.steps)
        self._splits = splits.by_name()
        self._plan = plan
        self._transform = transform
        self._device = device
        self._frame = frame
        self._smallest_crop = smallest_crop
        self._workers = workers
        self._skip = skip

    @property
    def description(self) -> str:
        size = f"{self._frame.width}x{self._frame.height}"
        return f"images are read ahead by {self._workers} workers and resized to {size}"

    def train_batches(self, epoch: int, views: int = 1) -> Iterator[Batch]:
        plan = self._plan
        order = plan.share(plan.order(epoch))
        draws = self._transform.draws(plan, epoch, views)
        if self._smallest_crop is None:
            crops = None
        else:
            crops = plan.uniform(PURPOSE, epoch, views, NUMBERS)
        reader = Reader(self._splits["train"], self._frame, self._smallest_crop, self._skip)
        requests = Requests(list(order), crops)
        for step, (images, labels) in enumerate(self._read(reader, requests, epoch)):
            if len(labels) < plan.local_size:
                raise UserError("No image of the training split can be read.")
            numbers = {name: of_epoch[step] for name, of_epoch in draws.items()}
            yield self._transform.train(images.expand(views, -1, -1, -1, -1), labels, numbers)

    def eval_batches(self, split: SplitName) -> Iterator[Batch]:
        samples = wanted(self._splits, split)
        share = contiguous_share(len(samples), self._plan.rank, self._plan.world_size)
        size = self._plan.local_size
        batches = [np.asarray(share[at : at + size]) for at in range(0, len(share), size)]
        for images, labels in self._read(Reader(samples, self._frame), Requests(batches), 0):
            if len(labels):
                yield self._transform.eval(images[0]), labels

    def _read(self, reader: Reader, requests: Requests, epoch: int) -> Iterator[Batch]:
        """Images [V, B, H, W, 3] and labels [B] on the device, as they are asked for."""
        # workers get seeds of their own, for people's data sets that draw random numbers
        seed = int(stream(self._plan.seed, "workers", epoch).integers(2**63))
        loader = DataLoader(
            reader,
            batch_sampler=requests,
            collate_fn=reader.collate,
            num_workers=self._workers,
            prefetch_factor=AHEAD if self._workers else None,
            pin_memory=self._device.type == "cuda",
            generator=torch.Generator().manual_seed(seed),
        )
        for images, labels, errors in loader:
            self._note(errors)
            yield (
                images.to(self._device, non_blocking=True),
                labels.to(self._device, non_blocking=True),
            )

    def _note(self, errors: list[UserError]) -> None:
        for error in errors:
            if not isinstance(error, UnreadableImageError):
                raise error
            if not self._skip:
                raise refusal([str(error)])
            if str(error) not in self.skipped:
                self.skipped.append(str(error))
                logger.warning("Skipped: %s", error)
