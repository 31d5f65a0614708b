"""Reading single images, and bringing them to the network's input size."""

from dataclasses import dataclass

import numpy as np
import torch
from torchvision.transforms.v2 import functional as F

from kdzoo.data.images import Images
from kdzoo.errors import UserError

PROBES = 64
"""Images whose size is looked at before all are read."""


class UnreadableImageError(UserError):
    """An image that cannot be decoded; the message names it and the reason."""


@dataclass(frozen=True)
class Frame:
    """The size of a sample.

    Attributes:
        height: in pixels.
        width: in pixels.
        resize: resize the shorter side and crop the middle; otherwise images must have the size.
    """

    height: int
    width: int
    resize: bool

    def fit(self, images: np.ndarray, name: str) -> np.ndarray:
        """Bytes [..., h, w, 3] as bytes [..., height, width, 3], bilinear and antialiased.

        Raises:
            UserError: they have another size and are not to be resized; it names them.
        """
        height, width = images.shape[-3:-1]
        if (height, width) == (self.height, self.width):
            return images
        if not self.resize:
            raise UserError(
                f"Images differ in size: {name} has {width}x{height} pixels, others have "
                f"{self.width}x{self.height}. Say to which side all are to be resized, such as "
                "dataset.image_size=32, or 224 for photographs."
            )
        x = torch.from_numpy(images).movedim(-1, -3)
        x = F.center_crop(F.resize(x, [self.height], antialias=True), [self.height, self.width])
        return np.ascontiguousarray(x.movedim(-3, -1).numpy())


def choose_frame(images: Images, image_size: int | None) -> Frame:
    """A square of ``image_size``, or the size that the images have.

    Raises:
        UserError: they differ in size, or none can be read.
    """
    if image_size is not None:
        return Frame(image_size, image_size, resize=True)
    frame = None
    for position in evenly_spaced(len(images), PROBES):
        try:
            image = read(images, position)
        except UnreadableImageError as error:
            failure = error
            continue
        frame = frame or Frame(image.shape[0], image.shape[1], resize=False)
        frame.fit(image, images.name(position))
    if frame is None:
        raise failure
    return frame


def read(images: Images, position: int) -> np.ndarray:
    """An image, uint8 [h, w, 3].

    Raises:
        UnreadableImageError: it cannot be decoded.
    """
    try:
        return images[position]
    except Exception as error:  # broken files, and people's own data sets, raise anything
        reason = f"{type(error).__name__}: {error}"
        raise UnreadableImageError(f"Cannot read {images.name(position)} ({reason})") from error


def evenly_spaced(length: int, count: int) -> list[int]:
    """At most ``count`` of the positions 0 to ``length`` - 1."""
    return np.unique(np.linspace(0, length - 1, count).astype(int)).tolist()


def refusal(unreadable: list[str]) -> UserError:
    """The error for images that cannot be read and are not to be skipped."""
    more = f", and {len(unreadable) - 1} more" if len(unreadable) > 1 else ""
    return UserError(
        f"{unreadable[0]}{more}. Replace such images, or leave them out with dataset.on_error=skip."
    )
