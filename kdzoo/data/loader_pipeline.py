"""The pipeline for large images: worker processes read them ahead of the device.

Workers decode, crop and resize, which images of different sizes need one by one, and flip what they
have cropped, which costs nothing there. What follows is done in batches on the device, by the same
code and with the same random numbers as in the pipeline for small images.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from kdzoo.data.augment import FLIP
from kdzoo.data.batches import BatchSampler
from kdzoo.data.crops import RandomCrops
from kdzoo.data.images import UnreadableImageError
from kdzoo.data.pipeline import DataInfo, DataModule, Samples
from kdzoo.data.reader import BatchReader, read_ahead, refusal
from kdzoo.data.resize import ImageSize
from kdzoo.data.resized_crop import NUMBERS, PURPOSE, crop_shapes
from kdzoo.data.splits import Split, SplitName, find_split
from kdzoo.data.transform import BatchTransform
from kdzoo.errors import UserError, in_line
from kdzoo.seeding import derive

logger = logging.getLogger(__name__)


class LoaderPipeline(DataModule):
    """Batches that a torch DataLoader reads ahead.

    Args:
        splits: the images, decoded or not.
        info: facts about them.
        sampler: this process's training batches.
        transform: what is done in batches: everything but the random resized crop and its flip.
        device: where batches are wanted.
        size: the size that images get.
        smallest_crops: of the random resized crop, for each view that has one of its own; with more
            views, they come round again. Empty for no such crops.
        flips: the probabilities with which such crops are flipped, likewise.
        workers: how many processes read; 0 to read in this one.
        skip: leave out what cannot be read; in training, the next sample takes its place.
    """

    def __init__(
        self,
        splits: Mapping[str, Split],
        info: DataInfo,
        sampler: BatchSampler,
        transform: BatchTransform,
        device: torch.device,
        *,
        size: ImageSize,
        smallest_crops: Sequence[float],
        flips: Sequence[float],
        workers: int,
        skip: bool,
    ) -> None:
        super().__init__(info, sampler)
        self._splits = dict(splits)
        self._sampler = sampler
        self._transform = transform
        self._device = device
        self._labels = {
            name: torch.tensor(split.labels, device=device) for name, split in self._splits.items()
        }
        self._size = size
        self._smallest_crops = smallest_crops
        self._flips = flips
        self._workers = workers
        self._skip = skip

    @property
    def description(self) -> str:
        size = f"{self._size.width}x{self._size.height}"
        return f"images are read ahead by {self._workers} workers and resized to {size}"

    def train_batches(self, epoch: int, views: int = 1, start: int = 0) -> Iterator[Samples]:
        sampler = self._sampler
        draws = self._transform.draws(sampler, epoch, views)
        crops = self._crops(epoch, views, start)
        batches = list(sampler.share(sampler.order(epoch)))[start:]
        images = self._splits["train"].images
        seed = derive(sampler.seed, "samples", epoch)
        reader = BatchReader(images, self._size, batches, crops, seed, replace=self._skip)
        for step, (pixels, index) in enumerate(self._read(reader), start):
            if len(index) < sampler.local_size:
                raise UserError("No image of the training split can be read.")
            of_step = {name: of_epoch[step] for name, of_epoch in draws.items()}
            labels = self._labels["train"].index_select(0, index)
            x, y = self._transform.train(pixels.expand(views, -1, -1, -1, -1), labels, of_step)
            yield x, y, index

    def _crops(self, epoch: int, views: int, start: int) -> RandomCrops | None:
        """Those of an epoch from a batch on, [steps, B, V]."""
        if not self._smallest_crops:
            return None
        numbers = torch.from_numpy(self._sampler.uniform(PURPOSE, epoch, views, NUMBERS))
        chances = self._sampler.uniform(FLIP, epoch, views, 1)
        kinds = [(v, v % len(self._smallest_crops)) for v in range(views)]
        shapes = [crop_shapes(numbers[:, :, v], self._smallest_crops[kind]) for v, kind in kinds]
        mirrored = [chances[:, :, v, 0] < self._flips[kind] for v, kind in kinds]
        return RandomCrops(
            torch.stack(shapes, dim=2).numpy()[start:], np.stack(mirrored, axis=2)[start:]
        )

    def eval_batches(self, split: SplitName) -> Iterator[tuple[Tensor, Tensor]]:
        images = find_split(self._splits, split).images
        batches = [np.asarray(batch) for batch in self._sampler.eval_shares(len(images))]
        reader = BatchReader(images, self._size, batches)
        for x, index in self._read(reader):
            if len(index):
                yield self._transform.eval(x[0]), self._labels[split].index_select(0, index)

    def _read(self, reader: BatchReader) -> Iterator[tuple[Tensor, Tensor]]:
        """Images [V, B, H, W, 3] and their positions [B] on the device."""
        pin_memory = self._device.type == "cuda"
        for batch in read_ahead(reader, self._workers, pin_memory=pin_memory):
            self._note(batch.errors.values())
            positions = batch.positions.to(self._device, non_blocking=True)
            images = batch.images.to(self._device, non_blocking=True)
            yield images, positions

    def _note(self, errors: Iterable[UserError]) -> None:
        for error in errors:
            if not isinstance(error, UnreadableImageError):
                raise error
            if not self._skip:
                raise refusal([str(error)])
            if str(error) not in self.skipped:
                self.skipped.append(str(error))
                logger.warning("Skipped: %s", in_line(str(error)))
