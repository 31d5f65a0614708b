"""All images of a folder, whatever they show: those to be predicted."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kdzoo.data.bit_depth import PixelRange
from kdzoo.data.folders import LeftOut, images_below
from kdzoo.data.images import FileImages
from kdzoo.errors import UserError


def find_images(given: Sequence[Path]) -> tuple[list[str], tuple[str, ...]]:
    """The images that files and folders stand for, at any depth, sorted by path in each folder.

    Files are taken as they are; of folders, what a folder of class folders would hold.

    Returns:
        their paths, and what was left out of folders, in lines for people.

    Raises:
        UserError: there is no such file, or there are no images.
    """
    paths: list[str] = []
    notes: list[str] = []
    for one in given:
        if one.is_dir():
            left_out = LeftOut(one)
            above = Path(os.path.realpath(one)).parent
            paths += sorted(image.path for image in images_below(above, one, left_out))
            notes += left_out.notes()
        elif one.is_file():
            paths.append(str(one))
        elif one.exists():
            raise UserError(f"{one} is no regular file. Give images, or folders of images.")
        else:
            raise UserError(f"There is no {one}. Give images, or folders of images.")
    if not paths:
        raise UserError(f"There are no images in {', '.join(map(str, given))}.")
    return paths, tuple(notes)


def image_files(paths: Sequence[str], pixel_range: tuple[float, float] | None) -> FileImages:
    """The images in files, to be read once."""
    known = None if pixel_range is None else PixelRange(*pixel_range)
    return FileImages(paths, np.zeros((len(paths), 2), np.int64), known)
