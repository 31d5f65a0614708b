"""Reads images in batches: decodes, crops and resizes each, in the workers of a DataLoader.

Both ways to read are built on it: all images into one array (:func:`decode`), and batches of an
epoch ahead of the device that takes them (:func:`read_ahead`).
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from rich.progress import track
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from kdzoo.console import make_console
from kdzoo.data.crops import RandomCrops, cut, read_crops
from kdzoo.data.encoded import EncodedImages
from kdzoo.data.images import ArrayImages, Images, UnreadableImageError, named_if_unreadable, read
from kdzoo.data.resize import ImageSize
from kdzoo.errors import UserError
from kdzoo.seeding import derive, seeded

T = TypeVar("T")

AHEAD = 4
"""Batches that each worker reads ahead."""

CHUNK = 128
"""Images of a batch where all are decoded."""

DRAW_NOTHING = (ArrayImages, EncodedImages)
"""Images that are always the same."""

Unreadable = dict[int, str]
"""Why images cannot be read, by position."""


class ReadBatch(NamedTuple):
    """What could be read of a batch, and what could not.

    Errors are values, since one that is raised in a worker reaches its parent as another.

    Attributes:
        images: uint8 [V, B, H, W, 3].
        positions: int64 [B], where the images stand among all.
        errors: of the images that are left out, by position.
    """

    images: Tensor
    positions: Tensor
    errors: dict[int, UserError]


@dataclass(frozen=True)
class BatchReader(TorchDataset[ReadBatch]):
    """A torch data set whose items are whole batches, so that a worker stacks what it has read.

    Attributes:
        images: all that there are.
        size: the size they get.
        batches: positions [B] of each batch.
        crops: of every image, [steps, B, V]; None for one view, the whole image.
        seed: for people's own data sets that draw random numbers. What they draw for an image
            follows from it and the image's position, whoever reads it and after which others.
        replace: put the next readable image in the place of an unreadable one.
    """

    images: Images
    size: ImageSize
    batches: Sequence[np.ndarray]
    crops: RandomCrops | None = None
    seed: int = 0
    replace: bool = False

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, step: int) -> ReadBatch:
        batch = self.batches[step]
        views = 1 if self.crops is None else self.crops.views
        images = np.empty((views, len(batch), self.size.height, self.size.width, 3), np.uint8)
        positions: list[int] = []
        errors: dict[int, UserError] = {}
        for place, first in enumerate(batch):
            for further in range(len(self.images) if self.replace else 1):
                position = (int(first) + further) % len(self.images)
                try:
                    self._read_into(images[:, len(positions)], position, step, place)
                except UnreadableImageError as error:
                    errors[position] = error
                except UserError as error:
                    errors[position] = error
                    break
                else:
                    positions.append(position)
                    break
        read = torch.from_numpy(images[:, : len(positions)])
        return ReadBatch(read, torch.tensor(positions, dtype=torch.int64), errors)

    def _drawing(self, position: int) -> AbstractContextManager[None]:
        if isinstance(self.images, DRAW_NOTHING):
            return nullcontext()  # numpy takes as long to keep its state as a small image to decode
        return seeded(derive(self.seed, "sample", position))

    def _read_into(self, views: np.ndarray, position: int, step: int, place: int) -> None:
        """Fill ``views``, uint8 [V, H, W, 3], with the image or with crops of it."""
        if self.crops is None:
            views[:] = self.size.fit(self._image(position), self.images.name(position))
            return
        crops = self.crops[step, place]
        if self.size.resize and isinstance(self.images, EncodedImages):
            with named_if_unreadable(self.images, position):
                read_crops(self.images, position, crops, views)
            return
        image = self._image(position)
        if not self.size.resize:
            image = self.size.fit(image, self.images.name(position))
        cut(image, crops.boxes(image.shape), crops.mirrored, views)

    def _image(self, position: int) -> np.ndarray:
        with self._drawing(position):
            return read(self.images, position)


def read_ahead(
    reader: BatchReader, workers: int, *, pin_memory: bool = False
) -> Iterator[ReadBatch]:
    """The batches of ``reader`` in order, read by ``workers`` processes; by this one where 0."""
    loader = DataLoader(
        reader,
        batch_size=None,
        num_workers=workers,
        prefetch_factor=AHEAD if workers else None,
        pin_memory=pin_memory,
        generator=torch.Generator().manual_seed(0),  # that of the training is left alone
    )
    yield from loader


def decode(
    images: Images, size: ImageSize, array: np.ndarray, *, workers: int, label: str
) -> Unreadable:
    """Decode ``images`` in ``workers`` processes, with a progress bar where there is a terminal.

    Args:
        images: N images.
        size: the size that they get.
        array: uint8 [N, H, W, 3], zeros, that they are put into; an unreadable one stays black.
        workers: how many processes; 0 to decode in this one.
        label: stands beside the progress bar.

    Raises:
        UserError: an image has another size than the others and is not to be resized.
    """
    unreadable: Unreadable = {}
    positions = np.arange(len(images))
    batches = [positions[start : start + CHUNK] for start in range(0, len(images), CHUNK)]
    reader = BatchReader(images, size, batches)
    read = read_ahead(reader, workers if len(batches) > 1 else 0)
    for batch in with_progress(read, label, len(batches)):
        array[batch.positions.numpy()] = batch.images[0].numpy()
        for position, error in batch.errors.items():
            if not isinstance(error, UnreadableImageError):
                raise error
            unreadable[position] = str(error)
    return unreadable


def with_progress(items: Iterable[T], label: str, total: int) -> Iterable[T]:
    """The items, with a progress bar where there is a terminal."""
    console = make_console(stderr=True)
    return track(items, label, total=total, console=console, disable=not console.is_terminal)


def refusal(unreadable: list[str]) -> UserError:
    """The error for images that cannot be read and are not to be skipped."""
    more = f", and {len(unreadable) - 1} more" if len(unreadable) > 1 else ""
    return UserError(
        f"{unreadable[0]}{more}. Replace such images, or leave them out with dataset.on_error=skip."
    )
