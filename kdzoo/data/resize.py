"""Resizing and cropping images to the network's input size."""

from dataclasses import dataclass

import numpy as np

from kdzoo.data.images import Images, UnreadableImageError, evenly_spaced, read
from kdzoo.errors import UserError

PROBES = 64
"""Images whose size is looked at before all are read."""


@dataclass(frozen=True)
class ImageSize:
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
        import torch  # photographs alone need these, and they are slow to import
        from torchvision.transforms.v2 import functional as F

        x = torch.from_numpy(images).movedim(-1, -3)
        x = F.center_crop(F.resize(x, [self.height], antialias=True), [self.height, self.width])
        return np.ascontiguousarray(x.movedim(-3, -1).numpy())


def choose_size(images: Images, image_size: int | None) -> ImageSize:
    """A square of ``image_size``, or the size that the images have.

    Raises:
        UserError: they differ in size, or none can be read.
    """
    if image_size is not None:
        return ImageSize(image_size, image_size, resize=True)
    size = None
    for position in evenly_spaced(images, PROBES):
        try:
            image = read(images, position)
        except UnreadableImageError as error:
            failure = error
            continue
        size = size or ImageSize(image.shape[0], image.shape[1], resize=False)
        size.fit(image, images.name(position))
    if size is None:
        raise failure
    return size
