"""JPEG files in colour, decoded straight into an array: the bytes that Pillow gives, but sooner.

Both hand the file to libjpeg-turbo. But Pillow keeps a fourth byte a pixel, which has to be taken
out again.
"""

import numpy as np
import simplejpeg
from PIL import Image, ImageFile


def decode_jpeg(image: Image.Image) -> np.ndarray | None:
    """The pixels of a JPEG that is opened and not loaded, not turned by its EXIF data.

    Returns:
        uint8 [H, W, 3]; None where it is no such image, or is damaged: Pillow then makes of it what
        can be made, or says what is wrong.
    """
    if (image.format, image.mode) != ("JPEG", "RGB") or not (content := _content(image)):
        return None
    try:
        pixels = simplejpeg.decode_jpeg(content)
    except ValueError:
        return None
    return pixels if pixels.shape == (image.height, image.width, 3) else None


def _content(image: Image.Image) -> bytes:
    """The whole file, which stays where it is read; nothing of an image that is loaded."""
    if not isinstance(image, ImageFile.ImageFile) or not image.tile or image.fp is None:
        return b""
    place = image.fp.tell()
    image.fp.seek(0)
    content = image.fp.read()
    image.fp.seek(place)
    return content
