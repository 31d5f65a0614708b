"""Decoding every image of a split once, on all cores, into one array of bytes."""

from dataclasses import dataclass

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch.utils.data import DataLoader

from kdzoo.data.framing import Frame, UnreadableImageError, read
from kdzoo.data.images import Images
from kdzoo.errors import UserError

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
