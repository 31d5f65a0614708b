"""The pipeline for small images: all of them on the device as bytes, augmented there in batches."""

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from kdzoo.data.batches import BatchSampler
from kdzoo.data.images import ArrayImages
from kdzoo.data.pipeline import DataInfo, DataModule, Samples
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

    def train_batches(self, epoch: int, views: int = 1, start: int = 0) -> Iterator[Samples]:
        batches = self.resident_batches(views)
        batches.begin(epoch)
        positions = torch.arange(self.steps_per_epoch, device=self._device)
        for step in range(start, self.steps_per_epoch):
            yield batches.batch(positions[step : step + 1])

    def resident_batches(self, views: int = 1) -> "_OnDevice":
        images, labels = self._splits["train"]
        return _OnDevice(images, labels, self._sampler, self._transform, views)

    def eval_batches(self, split: SplitName) -> Iterator[tuple[Tensor, Tensor]]:
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


class _OnDevice:
    """The training batches of one epoch after the other: V views of the images at a place each."""

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        sampler: BatchSampler,
        transform: BatchTransform,
        views: int,
    ) -> None:
        self._images = images
        self._labels = labels
        self._sampler = sampler
        self._transform = transform
        self._views = views
        self._epoch: dict[str, Tensor] = {}

    def begin(self, epoch: int) -> None:
        order = self._sampler.share(self._sampler.order(epoch))
        draws = self._transform.draws(self._sampler, epoch, self._views)
        given = {"": torch.from_numpy(np.ascontiguousarray(order)).to(self._images.device), **draws}
        if not self._epoch:
            self._epoch = given
        for name, numbers in given.items():
            self._epoch[name].copy_(numbers)

    def batch(self, position: Tensor) -> Samples:
        of_step = {name: each.index_select(0, position)[0] for name, each in self._epoch.items()}
        index = of_step.pop("")
        images = self._images.index_select(0, index).expand(self._views, -1, -1, -1, -1)
        x, y = self._transform.train(images, self._labels.index_select(0, index), of_step)
        return x, y, index
