"""The sizes of one convolution, and its kernels called with them."""

from typing import Any

import torch
import triton
from torch import Tensor, nn

from kdzoo.kernels import batch_norm, convolution

CONVOLVE = {16: (128, 4), 32: (128, 4), 64: (128, 8)}
"""For each number of output channels, how many pixels a program takes at a time, and its warps;
this and what follows as measured fastest on an H100."""
CONVOLVE_BACK = {16: (128, 4), 32: (64, 4), 64: (128, 8)}
"""Likewise for each number of input channels."""
WEIGHT = {16: (4, 128, 4, 1), 32: (2, 64, 4, 1), 64: (1, 64, 4, 3)}
"""For each number of input channels, how many taps side by side a program of the gradient of the
weight takes, how many pixels at a time, its warps, and how many blocks are on their way."""
MOST = 528
"""Programs of a kernel that runs over all pixels: four for each processor of a large GPU."""


class Geometry:
    """Of a convolution of x [B, I, H, W] to y [B, O, h, w] with a weight [O, I, K, K].

    Args:
        x: in channels-last order.
        conv: whose sizes these are.
        dtype: the format of y.
    """

    def __init__(self, x: Tensor, conv: nn.Conv2d, dtype: torch.dtype) -> None:
        batch, self._inputs, *in_size = x.shape
        self._outputs, self._kernel, stride = conv.out_channels, conv.kernel_size[0], conv.stride[0]
        out_size = [-(-size // stride) for size in in_size]
        self.y_shape = (batch, self._outputs, *out_size)
        self.dtype = dtype
        self._in_pixels = batch * in_size[0] * in_size[1]
        self._pixels = batch * out_size[0] * out_size[1]
        self._sizes = (*in_size, *out_size)
        self._constants = {
            "IN": self._inputs,
            "OUT": self._outputs,
            "KERNEL": self._kernel,
            "STRIDE": stride,
            "PADDING": conv.padding[0],
        }

    def convolve(self, x: Tensor, weight: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        """y, and the numbers, means and squared deviations of parts of it."""
        y = self._new_map(self.y_shape, x)
        pixels, warps = CONVOLVE[self._outputs]
        programs = self._programs(pixels)
        counts = torch.empty(programs, device=x.device)
        means, squares = torch.empty(2, programs, self._outputs, device=x.device)
        convolution.convolve[(programs,)](
            x,
            weight,
            y,
            counts,
            means,
            squares,
            self._pixels,
            *self._sizes,
            *weight.stride(),
            **self._constants,
            IN_BLOCK=max(16, self._inputs),
            PIXELS=pixels,
            num_warps=warps,
            num_stages=1,
        )
        return y, (counts, means, squares)

    def convolve_back(self, gradient: Tensor, weight: Tensor, other: Tensor | None) -> Tensor:
        """The gradient of x from that of y, and from elsewhere."""
        shape = (self.y_shape[0], self._inputs, *self._sizes[:2])
        result = self._new_map(shape, gradient)
        pixels, warps = CONVOLVE_BACK[self._inputs]
        convolution.convolve_back[(triton.cdiv(self._in_pixels, pixels),)](
            gradient,
            weight,
            other,
            result,
            self._in_pixels,
            *self._sizes,
            *weight.stride(),
            **self._constants,
            PIXELS=pixels,
            num_warps=warps,
            num_stages=1,
        )
        return result

    def weight_gradient(self, gradient: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        """The gradient of the weight from that of y, in float32."""
        in_block = triton.next_power_of_2(self._inputs)
        columns, pixels, warps, stages = WEIGHT[max(16, in_block)]
        columns = max(min(columns, triton.next_power_of_2(self._kernel)), 16 // in_block)
        groups = self._kernel * triton.cdiv(self._kernel, columns)
        taps = {**self._constants, "IN_BLOCK": in_block, "COLUMNS": columns}
        count = min(triton.cdiv(self._pixels, 512), triton.cdiv(MOST, groups))
        shares = torch.empty(count, groups, self._outputs, columns * in_block, device=weight.device)
        convolution.weight_gradient_shares[(count, groups)](
            gradient,
            x,
            shares,
            self._pixels,
            *self._sizes,
            **taps,
            PIXELS=pixels,
            num_warps=warps,
            num_stages=stages,
        )
        result = torch.empty_like(weight)
        del taps["STRIDE"], taps["PADDING"]
        convolution.add_shares[(self._outputs, groups)](
            shares, result, count, *result.stride(), **taps, SHARES=16
        )
        return result

    def normalise(
        self,
        y: Tensor,
        parts: tuple[Tensor, Tensor, Tensor],
        shortcut: Tensor | None,
        norm: nn.BatchNorm2d,
        relu: bool,
    ) -> tuple[Tensor, Tensor]:
        """relu(norm(y) + shortcut), and the mean and inverse deviation of y, [2, O]."""
        out = torch.empty_like(y)
        saved = torch.empty(2, self._outputs, device=y.device)
        pixels = self._pixels_at_a_time
        batch_norm.normalise[(min(MOST, triton.cdiv(self._pixels, pixels)),)](
            y,
            y if shortcut is None else shortcut,
            out,
            *parts,
            len(parts[0]),
            norm.weight,
            norm.bias,
            saved,
            norm.running_mean,
            norm.running_var,
            norm.num_batches_tracked,
            norm.momentum,
            norm.eps,
            self._pixels,
            int(shortcut is not None),
            int(relu),
            C=self._outputs,
            PARTS=self._parts_at_a_time,
            PIXELS=pixels,
        )
        return out, saved

    def normalise_back(
        self,
        gradient: Tensor,
        out: Tensor | None,
        y: Tensor,
        saved: Tensor,
        weight: Tensor,
        with_shortcut: bool,
    ) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
        """The gradients of y, of the shortcut, and of the norm's weight and bias.

        Args:
            gradient: of what :meth:`normalise` returned.
            out: what it returned; None where there was no ReLU.
            y: what it was given.
            saved: mean and inverse deviation of that.
            weight: the norm's.
            with_shortcut: whether there was one.
        """
        pixels = self._pixels_at_a_time
        programs = self._programs(pixels)
        relu = out is not None
        masked = with_shortcut and relu
        out = y if out is None else out
        sums = torch.empty(programs, 2, self._outputs, device=y.device)
        batch_norm.gradient_sums[(programs,)](
            gradient, out, y, saved, sums, self._pixels, int(relu), C=self._outputs, PIXELS=pixels
        )
        y_gradient = torch.empty_like(y)
        shortcut_gradient = torch.empty_like(y) if masked else gradient
        weight_gradient, bias_gradient = torch.empty_like(weight), torch.empty_like(weight)
        batch_norm.normalise_back[(min(MOST, triton.cdiv(self._pixels, pixels)),)](
            gradient,
            out,
            y,
            saved,
            weight,
            sums,
            programs,
            y_gradient,
            shortcut_gradient,
            weight_gradient,
            bias_gradient,
            self._pixels,
            int(masked),
            int(relu),
            C=self._outputs,
            PARTS=self._parts_at_a_time,
            PIXELS=pixels,
        )
        if not with_shortcut:
            return y_gradient, None, weight_gradient, bias_gradient
        return y_gradient, shortcut_gradient, weight_gradient, bias_gradient

    def _new_map(self, shape: Any, like: Tensor) -> Tensor:
        return torch.empty(
            shape, dtype=self.dtype, device=like.device, memory_format=torch.channels_last
        )

    @property
    def _pixels_at_a_time(self) -> int:
        """Of a kernel that waits for nothing but memory."""
        return 4096 // self._outputs

    @property
    def _parts_at_a_time(self) -> int:
        return 8192 // self._outputs

    def _programs(self, pixels: int) -> int:
        """Of a kernel that leaves parts of sums, which every program of the next one adds up."""
        blocks = triton.cdiv(self._pixels, pixels)
        return min(blocks, max(self._parts_at_a_time, min(MOST, blocks // 8)))
