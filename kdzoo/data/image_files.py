"""Which files are images, and opening them: every format whose pixels Pillow decodes itself."""

import hashlib
import io
import os
import stat
import warnings
from contextlib import suppress
from functools import cache

from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

FOREIGN = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"})
"""Formats that Pillow knows by sight only, or hands to another program."""

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What sets an image upright, by its EXIF orientation."""


def is_image(entry: os.DirEntry[str]) -> bool:
    """Whether a file is to be read as an image, by its extension or else by its content.

    A damaged file with an image's extension is one, so that whoever reads it names it. Only regular
    files are opened, since opening a pipe may never end.
    """
    return has_extension(entry.name) or (os.path.isfile(entry.path) and _holds_image(entry.path))


def has_extension(name: str) -> bool:
    """Whether a name ends as those of images do."""
    return os.path.splitext(name)[1].lower() in _extensions()


def open_image(source: str | bytes) -> ImageFile.ImageFile:
    """The image in a file, not loaded yet; of several frames, the first.

    Args:
        source: the path, or what is in the file.

    Raises:
        OSError: there is no such file, or it is no image.
        Exception: whatever else Pillow raises for damaged files.
    """
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    with warnings.catch_warnings(action="ignore"):  # about metadata, or formats it does not have
        try:
            return Image.open(file, formats=_formats())
        except UnidentifiedImageError:
            if file is source:
                raise
            raise UnidentifiedImageError("no image format is recognised") from None  # no address


def file_digest(path: str) -> bytes | None:
    """What stands for a file's bytes; None where it is no regular file or cannot be read."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # reading from a pipe would wait for ever
            return None
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return None


def orientation(image: Image.Image) -> Image.Transpose | None:
    """What sets a loaded image upright; None where it is, or where its EXIF data are damaged."""
    with warnings.catch_warnings(action="ignore"), suppress(Exception):
        return TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    return None


def _holds_image(path: str) -> bool:
    try:
        open_image(path).close()
    except (Image.DecompressionBombError, PermissionError):
        return True
    except Exception:  # Pillow raises anything
        return False
    return True


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in Image.ID if name not in FOREIGN)


@cache
def _extensions() -> frozenset[str]:
    formats = {*_formats(), "MPO"}  # which is opened as a JPEG
    return frozenset(
        extension for extension, name in Image.registered_extensions().items() if name in formats
    )
