"""The sizes of one convolution and its batch norm, and what follows from them."""

from functools import cached_property

import torch
import triton
from torch import Tensor, nn

from kdzoo.kernels import tuned

PRODUCT = 16
"""The least inner size of a matrix product on a GPU's tensor cores."""


class Geometry:
    """Of a convolution of x [B, I, H, W] to y [B, O, h, w] with a weight [O, I, K, K].

    Args:
        x: in channels-last order.
        conv: whose sizes these are.
        dtype: the format of y.
    """

    def __init__(self, x: Tensor, conv: nn.Conv2d, dtype: torch.dtype) -> None:
        self.batch, self.inputs, *self.in_size = x.shape
        self.outputs = conv.out_channels
        self.kernel, self.stride = conv.kernel_size[0], conv.stride[0]
        self.out_size = [-(-size // self.stride) for size in self.in_size]
        self.dtype = dtype

    @property
    def x_shape(self) -> tuple[int, ...]:
        return self.batch, self.inputs, *self.in_size

    @property
    def y_shape(self) -> tuple[int, ...]:
        return self.batch, self.outputs, *self.out_size

    @property
    def in_pixels(self) -> int:
        return self.batch * self.in_size[0] * self.in_size[1]

    @property
    def out_pixels(self) -> int:
        return self.batch * self.out_size[0] * self.out_size[1]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Height and width of x and of y, as kernels are given them."""
        return *self.in_size, *self.out_size

    @cached_property
    def constants(self) -> dict[str, int]:
        """What kernels of convolutions are compiled for."""
        return {
            "IN": self.inputs,
            "OUT": self.outputs,
            "KERNEL": self.kernel,
            "STRIDE": self.stride,
            "PADDING": self.kernel // 2,
        }

    @property
    def of_images(self) -> bool:
        """Whether the channels of x are too few for a matrix product of each tap."""
        return self.inputs < PRODUCT

    @property
    def seen(self) -> int:
        """Places for all values that a pixel of y sees, as the kernels of images have them."""
        return max(PRODUCT, triton.next_power_of_2(self.kernel**2 * self.inputs))

    def summing_programs(self, pixels: int) -> int:
        """Programs that leave sums over y, all of which every program of the next kernel adds up.

        Args:
            pixels: that each takes at a time.
        """
        blocks = triton.cdiv(self.out_pixels, pixels)
        return min(blocks, max(tuned.PARTS // self.outputs, min(tuned.MOST, blocks // 8)))

    def new_map(self, shape: tuple[int, ...], device: torch.device) -> Tensor:
        """Memory for a map in channels-last order."""
        return torch.empty(
            shape, dtype=self.dtype, device=device, memory_format=torch.channels_last
        )
