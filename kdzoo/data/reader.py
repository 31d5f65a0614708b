"""What the worker processes of a DataLoader do: decode, crop and resize, one image at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from torchvision.transforms.v2 import functional as F

from kdzoo.data.images import Images
from kdzoo.data.resample import crop_boxes
from kdzoo.data.resize import Frame, UnreadableImageError, read
from kdzoo.data.splits import Split
from kdzoo.errors import UserError


class Request(NamedTuple):
    """The position of a sample and the numbers [V, 4] of its random crops, None for no crop."""

    position: int
    crops: np.ndarray | None


class Answer(NamedTuple):
    """Views uint8 [V, H, W, 3], None where unreadable; the label; what went wrong on the way.

    Errors are values, since one that is raised in a worker reaches its parent as another.
    """

    views: np.ndarray | None
    label: int
    errors: list[UserError]


@dataclass(frozen=True)
class Requests:
    """The batches that are asked for.

    Attributes:
        positions: [B] of each batch, which is not empty.
        crops: [steps, B, V, 4], None for no crops.
    """

    positions: Sequence[np.ndarray]
    crops: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.positions)

    def __iter__(self) -> Iterator[list[Request]]:
        for step, positions in enumerate(self.positions):
            crops = [None] * len(positions) if self.crops is None else self.crops[step]
            yield [Request(int(at), crop) for at, crop in zip(positions, crops, strict=True)]


class Reader(TorchDataset[Answer]):
    """Reads the samples of a split.

    Args:
        split: the samples.
        frame: the size they get.
        smallest_crop: the part of the area that a random crop has at least; None for no crops.
        replace: put the next readable sample in the place of an unreadable one.
    """

    def __init__(
        self, split: Split, frame: Frame, smallest_crop: float | None = None, replace: bool = False
    ) -> None:
        self._split = split
        self._frame = frame
        self._smallest_crop = smallest_crop
        self._replace = replace

    def __getitem__(self, request: Request) -> Answer:
        errors: list[UserError] = []
        for further in range(len(self._split) if self._replace else 1):
            position = (request.position + further) % len(self._split)
            try:
                views = self._views(position, request.crops)
            except UnreadableImageError as error:
                errors.append(error)
            except UserError as error:
                return Answer(None, -1, [error])
            else:
                return Answer(views, int(self._split.labels[position]), errors)
        return Answer(None, -1, errors)

    def collate(self, answers: Sequence[Answer]) -> tuple[Tensor, Tensor, list[UserError]]:
        """The readable images of a batch, [V, B, H, W, 3], their labels [B], and all errors."""
        views = [answer.views for answer in answers if answer.views is not None]
        labels = [answer.label for answer in answers if answer.views is not None]
        nothing = np.zeros((1, 0, self._frame.height, self._frame.width, 3), np.uint8)
        images = torch.from_numpy(np.stack(views, axis=1) if views else nothing)
        errors = [error for answer in answers for error in answer.errors]
        return images, torch.tensor(labels, dtype=torch.int64), errors

    def _views(self, position: int, crops: np.ndarray | None) -> np.ndarray:
        image = read(self._split.images, position)
        if self._smallest_crop is None or crops is None or not self._frame.resize:
            image = self._frame.fit(image, self._split.images.name(position))
        if self._smallest_crop is None or crops is None:
            return image[None]
        height, width = image.shape[:2]
        boxes = crop_boxes(torch.from_numpy(crops), height, width, self._smallest_crop)
        x = torch.from_numpy(image).movedim(-1, 0)
        size = [self._frame.height, self._frame.width]
        views = [
            F.resized_crop(x, *box, size=size, antialias=True)
            for box in zip(*(side.int().tolist() for side in boxes), strict=True)
        ]
        return torch.stack(views).movedim(1, -1).numpy()


CHUNK = 256
"""How many images a worker decodes at a time."""


Unreadable = dict[int, str]
"""Why images cannot be read, by position."""


@dataclass(frozen=True)
class Decoded:
    """Images that have been decoded.

    Attributes:
        array: uint8 [N, H, W, 3]; black where an image is unreadable.
        unreadable: which ones are.
    """

    array: np.ndarray
    unreadable: Unreadable


def decode(
    images: Images, frame: Frame, array: np.ndarray, *, workers: int, label: str
) -> Unreadable:
    """Decode ``images`` in ``workers`` processes, with a progress bar where there is a terminal.

    Args:
        images: N images.
        frame: the size that they get.
        array: uint8 [N, H, W, 3] that they are put into; black where one is unreadable.
        workers: how many processes; 0 to decode in this one.
        label: stands beside the progress bar.

    Raises:
        UserError: an image has another size than the others and is not to be resized.
    """
    unreadable: Unreadable = {}
    chunks = _Chunks(images, frame)
    loader = DataLoader(
        chunks,
        batch_size=None,
        num_workers=workers if len(chunks) > 1 else 0,
        generator=torch.Generator(),  # else it would draw from the global one
    )
    console = Console(stderr=True)
    progress = track(loader, label, console=console, disable=not console.is_terminal)
    for start, (decoded, errors) in zip(range(0, len(images), CHUNK), progress, strict=True):
        for offset, error in errors:
            if not isinstance(error, UnreadableImageError):
                raise error
            unreadable[start + offset] = str(error)
        array[start : start + CHUNK] = decoded.numpy()
    return unreadable


class _Chunks(torch.utils.data.Dataset):
    """Runs of images, decoded; errors are values here, so that they reach the parent whole."""

    def __init__(self, images: Images, frame: Frame) -> None:
        self._images = images
        self._frame = frame

    def __len__(self) -> int:
        return -(-len(self._images) // CHUNK)

    def __getitem__(self, chunk: int) -> tuple[np.ndarray, list[tuple[int, UserError]]]:
        positions = range(chunk * CHUNK, min((chunk + 1) * CHUNK, len(self._images)))
        decoded = np.zeros((len(positions), self._frame.height, self._frame.width, 3), np.uint8)
        errors = []
        for offset, position in enumerate(positions):
            try:
                image = read(self._images, position)
                decoded[offset] = self._frame.fit(image, self._images.name(position))
            except UserError as error:
                errors.append((offset, error))
        return decoded, errors
