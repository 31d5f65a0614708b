"""Random resized crops of single images, decoded no larger than they need to be."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from kdzoo.data.encoded import DRAFTS, EncodedImages, decode_upright, upright_size
from kdzoo.data.resized_crop import crop_boxes

Box = tuple[int, int, int, int]
"""Top, left, height and width, in pixels."""


@dataclass(frozen=True)
class RandomCrops:
    """What random crops are cut, of one image or of an epoch's.

    Attributes:
        shapes: float32 [..., V, 4], as :func:`~kdzoo.data.resized_crop.crop_shapes` has them.
        mirrored: bool [..., V], which of them are to be flipped left and right.
    """

    shapes: np.ndarray
    mirrored: np.ndarray

    def __getitem__(self, index: Any, /) -> "RandomCrops":
        return RandomCrops(self.shapes[index], self.mirrored[index])

    @property
    def views(self) -> int:
        """Crops of an image, V."""
        return self.shapes.shape[-2]

    def boxes(self, size: tuple[int, ...]) -> list[Box]:
        """Those of an image of this height and width."""
        sides = crop_boxes(self.shapes, *size[:2])
        return list(zip(*(side.astype(int).tolist() for side in sides), strict=True))


def read_crops(images: EncodedImages, position: int, crops: RandomCrops, views: np.ndarray) -> None:
    """Crops of an image, as :func:`cut` makes them.

    A JPEG is decoded at a half, a quarter or an eighth of its sides where every crop still has to
    shrink; its pixels are then the means of those of the whole, and a box is rounded to them.

    Args:
        images: all images.
        position: of this one.
        crops: of this one.
        views: uint8 [V, h, w, 3], filled.

    Raises:
        Exception: whatever Pillow raises for damaged files.
    """
    height, width = views.shape[1:3]
    with images.open(position) as image:
        whole = upright_size(image)
        boxes = crops.boxes(whole)
        fits = min(min(box[2] // height, box[3] // width) for box in boxes)
        pixels = decode_upright(
            image, images.pixel_range, next((by for by in DRAFTS if by <= fits), 1)
        )
    if pixels.shape[:2] != whole:
        boxes = [_reduced(box, whole, pixels.shape[:2]) for box in boxes]
    cut(pixels, boxes, crops.mirrored, views)


def cut(pixels: np.ndarray, boxes: list[Box], mirrored: np.ndarray, views: np.ndarray) -> None:
    """Put boxes of an image, bytes [H, W, 3], each resized, into ``views``, uint8 [V, h, w, 3].

    Bilinear, and antialiased where a box shrinks; flipped where ``mirrored`` [V] says so.
    """
    x = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    for view, (top, left, rows, columns), flip in zip(views, boxes, mirrored, strict=True):
        box = x[..., top : top + rows, left : left + columns]
        resized = torch.nn.functional.interpolate(
            box.contiguous(memory_format=torch.channels_last),  # or the result would not be
            view.shape[:2],
            mode="bilinear",
            antialias=True,
        )
        view[:] = (resized.flip(3) if flip else resized)[0].permute(1, 2, 0).numpy()


def _reduced(box: Box, whole: tuple[int, int], reduced: tuple[int, ...]) -> Box:
    """The box in an image of other sides."""
    (top, rows), (left, columns) = (
        _scaled(box[side], box[side + 2], whole[side], reduced[side]) for side in (0, 1)
    )
    return top, left, rows, columns


def _scaled(start: int, length: int, whole: int, reduced: int) -> tuple[int, int]:
    first, last = (round(edge * reduced / whole) for edge in (start, start + length))
    return first, max(last - first, 1)
