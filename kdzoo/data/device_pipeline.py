"""The pipeline for small images: all of them on the device as bytes, augmented there in batches."""

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from kdzoo.data.batches import BatchSampler
from kdzoo.data.images import ArrayImages
from kdzoo.data.pipeline import Batch, DataInfo, DataModule
from kdzoo.data.splits import Split, SplitName, find_split
from kdzoo.data.transform import BatchTransform


class DevicePipeline(DataModule):
    """Batches cut from images that stay on the device; within an epoch nothing waits for the host.

    Args:
        splits: the images, all decoded.
        info: facts about them.
        sampler: this process's training batches.
        transform: from bytes to batches.
        device: where the images go.
    """

    def __init__(
        self,
        splits: Mapping[str, Split],
        info: DataInfo,
        sampler: BatchSampler,
        transform: BatchTransform,
        device: torch.device,
    ) -> None:
        super().__init__(info, sampler)
        self._sampler = sampler
        self._transform = transform
        self._device = device
        self._splits = {name: self._upload(split) for name, split in splits.items()}

    def train_batches(self, epoch: int, views: int = 1) -> Iterator[Batch]:
        images, labels = self._splits["train"]
        order = self._to_device(self._sampler.share(self._sampler.order(epoch)))
        draws = self._transform.draws(self._sampler, epoch, views)
        for step, index in enumerate(order):
            batch = images.index_select(0, index).expand(views, -1, -1, -1, -1)
            numbers = {name: of_epoch[step] for name, of_epoch in draws.items()}
            yield self._transform.train(batch, labels.index_select(0, index), numbers)

    def eval_batches(self, split: SplitName) -> Iterator[Batch]:
        images, labels = find_split(self._splits, split)
        for batch in self._sampler.eval_shares(len(labels)):
            part = slice(batch.start, batch.stop)
            yield self._transform.eval(images[part]), labels[part]

    @property
    def description(self) -> str:
        stored = sum(images.nbytes for images, _ in self._splits.values())
        return f"all images ({stored / 1e6:.0f} MB) stay on {self._device}, augmented in batches"

    def _upload(self, split: Split) -> tuple[Tensor, Tensor]:
        assert isinstance(split.images, ArrayImages)
        return self._to_device(split.images.array), self._to_device(split.labels)

    def _to_device(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._device)
