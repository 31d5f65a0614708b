"""Random resized crops of single images, decoded no larger than they need to be."""

import numpy as np
import torch

from kdzoo.data.encoded import DRAFTS, EncodedImages, decode_upright, upright_size
from kdzoo.data.resized_crop import crop_boxes

Box = tuple[int, int, int, int]
"""Top, left, height and width, in pixels."""


def read_crops(
    images: EncodedImages,
    position: int,
    numbers: np.ndarray,
    smallest: float,
    height: int,
    width: int,
) -> np.ndarray:
    """Crops of an image, as :func:`cut` makes them.

    A JPEG is decoded at a half, a quarter or an eighth of its sides where every crop still has to
    shrink; its pixels are then the means of those of the whole, and a box is rounded to them.

    Args:
        images: all images.
        position: of this one.
        numbers: float32 [V, 4], what the crops are drawn with.
        smallest: the part of the area that a crop has at least.
        height: of the crops.
        width: likewise.

    Raises:
        Exception: whatever Pillow raises for damaged files.
    """
    with images.open(position) as image:
        whole = upright_size(image)
        boxes = boxes_of(numbers, *whole, smallest)
        fits = min(min(box[2] // height, box[3] // width) for box in boxes)
        pixels = decode_upright(
            image, images.pixel_range, next((by for by in DRAFTS if by <= fits), 1)
        )
    if pixels.shape[:2] != whole:
        boxes = [_reduced(box, whole, pixels.shape[:2]) for box in boxes]
    return cut(pixels, boxes, height, width)


def boxes_of(numbers: np.ndarray, height: int, width: int, smallest: float) -> list[Box]:
    """The boxes of an image that the numbers, float32 [V, 4], stand for."""
    sides = crop_boxes(torch.from_numpy(numbers), height, width, smallest)
    return list(zip(*(side.int().tolist() for side in sides), strict=True))


def cut(pixels: np.ndarray, boxes: list[Box], height: int, width: int) -> np.ndarray:
    """Boxes of an image, bytes [h, w, 3], each resized: uint8 [V, height, width, 3].

    Bilinear, and antialiased where a box shrinks.
    """
    x = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    views = [
        torch.nn.functional.interpolate(
            x[..., top : top + rows, left : left + columns],
            (height, width),
            mode="bilinear",
            antialias=True,
        )
        for top, left, rows, columns in boxes
    ]
    return torch.cat(views).permute(0, 2, 3, 1).numpy()


def _reduced(box: Box, whole: tuple[int, int], reduced: tuple[int, ...]) -> Box:
    """The box in an image of other sides."""
    (top, rows), (left, columns) = (
        _scaled(box[side], box[side + 2], whole[side], reduced[side]) for side in (0, 1)
    )
    return top, left, rows, columns


def _scaled(start: int, length: int, whole: int, reduced: int) -> tuple[int, int]:
    first, last = (round(edge * reduced / whole) for edge in (start, start + length))
    return first, max(last - first, 1)
