"""The sizes of one convolution, and its kernels called with them."""

from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor, nn

from kdzoo.kernels import (
    batch_norm,
    convolution,
    convolution_by_rows,
    image_convolution,
    tuned,
    weight_gradient,
)

NOTHING = (None, None, None, None)


class Before(NamedTuple):
    """The step that x comes from: relu(norm(y) + shortcut)."""

    out: Tensor
    """What it returned, which is x."""
    y: Tensor
    saved: Tensor
    """Mean and inverse deviation of that."""


class Geometry:
    """Of a convolution of x [B, I, H, W] to y [B, O, h, w] with a weight [O, I, K, K].

    Args:
        x: in channels-last order.
        conv: whose sizes these are.
        dtype: the format of y.
    """

    def __init__(self, x: Tensor, conv: nn.Conv2d, dtype: torch.dtype) -> None:
        batch, self._inputs, *in_size = x.shape
        self._outputs, self._kernel = conv.out_channels, conv.kernel_size[0]
        self._stride = conv.stride[0]
        out_size = [-(-size // self._stride) for size in in_size]
        self.y_shape = (batch, self._outputs, *out_size)
        self.dtype = dtype
        self._in_pixels = batch * in_size[0] * in_size[1]
        self._pixels = batch * out_size[0] * out_size[1]
        self._sizes = (*in_size, *out_size)
        self._constants = {
            "IN": self._inputs,
            "OUT": self._outputs,
            "KERNEL": self._kernel,
            "STRIDE": self._stride,
            "PADDING": self._kernel // 2,
        }

    def convolve(self, x: Tensor, weight: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        """y, and the numbers, means and squared deviations of parts of it."""
        y = self._new_map(self.y_shape, x)
        if by_rows := self._by_rows(tuned.BY_ROWS, self._outputs, x.device):
            grid, division = by_rows
            parts = self._new_parts(grid[0] * grid[1], x.device)
            convolution_by_rows.convolve_by_rows[grid](
                x,
                weight,
                0,
                None,
                y,
                *parts,
                *NOTHING,
                *weight.stride(),
                IN=self._inputs,
                OUT=self._outputs,
                **division,
            )
            return y, parts
        blocks = tuned.CONVOLVE[self._outputs]
        kernel, sizes = convolution.convolve, self._constants
        if self._of_images:
            blocks, kernel = tuned.IMAGE, image_convolution.convolve_image
            sizes = {**sizes, "BLOCK": self._seen}
        parts = self._new_parts(self._programs(blocks.pixels), x.device)
        kernel[(len(parts[0]),)](
            x,
            weight,
            y,
            *parts,
            self._pixels,
            *self._sizes,
            *weight.stride(),
            **sizes,
            PIXELS=blocks.pixels,
            num_warps=blocks.warps,
            num_stages=1,
        )
        return y, parts

    def convolve_back(
        self, gradient: Tensor, weight: Tensor, other: Tensor | None, before: Before | None
    ) -> tuple[Tensor, Tensor | None]:
        """The gradient of x from that of y and from elsewhere, and sums for what comes before.

        Args:
            gradient: of y.
            weight: of the convolution.
            other: another gradient of x, if any.
            before: where x comes from, if it is such a step with a ReLU. Then its sums for
                :meth:`normalise_back` are added up on the way, where that costs less.
        """
        shape = (self.y_shape[0], self._inputs, *self._sizes[:2])
        result = self._new_map(shape, gradient)
        if by_rows := self._by_rows(tuned.BY_ROWS_BACK, self._inputs, gradient.device):
            grid, division = by_rows
            wanted, sums = self._new_sums(before, grid[0] * grid[1])
            out, into, row, column = weight.stride()
            convolution_by_rows.convolve_by_rows[grid](
                gradient,
                weight,
                2 * row + 2 * column,
                other,
                result,
                *NOTHING[:3],
                *wanted,
                into,
                out,
                -row,
                -column,
                IN=self._outputs,
                OUT=self._inputs,
                **division,
            )
            return result, sums
        blocks = tuned.CONVOLVE_BACK[self._inputs]
        programs = triton.cdiv(self._in_pixels, blocks.pixels)
        if programs > tuned.PARTS // self._inputs:
            before = None
        wanted, sums = self._new_sums(before, programs)
        convolution.convolve_back[(programs,)](
            gradient,
            weight,
            other,
            result,
            *wanted,
            self._in_pixels,
            *self._sizes,
            *weight.stride(),
            **self._constants,
            PIXELS=blocks.pixels,
            num_warps=blocks.warps,
            num_stages=1,
        )
        return result, sums

    def weight_gradient(self, gradient: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        """The gradient of the weight from that of y, in float32."""
        if self._of_images:
            return self._image_weight_gradient(gradient, x, weight)
        how = tuned.SHARES[max(self._inputs, self._outputs)]
        most = max(1, tuned.MOST_SUMS // (self._inputs * self._outputs))
        columns = min(triton.next_power_of_2(self._kernel), most)
        groups = triton.cdiv(self._kernel, columns)
        in_height, _, _, out_width = self._sizes
        places = self.y_shape[0] * in_height * out_width
        count = min(triton.cdiv(places, 2 * how.places), triton.cdiv(how.enough, groups))
        size = groups * self._kernel * columns * self._inputs * self._outputs
        shares = torch.empty(count, size, device=weight.device)
        weight_gradient.weight_gradient_shares[(count, groups)](
            gradient,
            x,
            shares,
            places,
            *self._sizes,
            **self._constants,
            COLUMNS=columns,
            PLACES=how.places,
            num_warps=4,
            num_stages=how.stages,
        )
        return self._add_shares(shares, weight, columns)

    def _image_weight_gradient(self, gradient: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        how = tuned.IMAGE_SHARES
        count = min(triton.cdiv(self._pixels, 2 * how.places), how.enough)
        shares = torch.empty(count, self._seen * self._outputs, device=weight.device)
        image_convolution.image_weight_gradient_shares[(count,)](
            gradient,
            x,
            shares,
            self._pixels,
            *self._sizes,
            **self._constants,
            BLOCK=self._seen,
            PIXELS=how.places,
            num_warps=4,
            num_stages=how.stages,
        )
        return self._add_shares(shares, weight, columns=self._kernel)

    def _add_shares(self, shares: Tensor, weight: Tensor, columns: int) -> Tensor:
        result = torch.empty_like(weight)
        count, size = shares.shape
        weight_gradient.add_shares[(size // tuned.VALUES,)](
            shares,
            result,
            count,
            size,
            *result.stride(),
            IN=self._inputs,
            OUT=self._outputs,
            KERNEL=self._kernel,
            COLUMNS=columns,
            SHARES=tuned.ADDED,
            VALUES=tuned.VALUES,
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
        batch_norm.normalise[(min(tuned.MOST, triton.cdiv(self._pixels, pixels)),)](
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
        sums: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
        """The gradients of y, of the shortcut, and of the norm's weight and bias.

        Args:
            gradient: of what :meth:`normalise` returned.
            out: what it returned; None where there was no ReLU.
            y: what it was given.
            saved: mean and inverse deviation of that.
            weight: the norm's.
            with_shortcut: whether there was one.
            sums: those that :meth:`convolve_back` has added up of that gradient, if it has.
        """
        pixels = self._pixels_at_a_time
        relu = out is not None
        masked = with_shortcut and relu
        out = y if out is None else out
        if sums is None:
            sums = torch.empty(self._programs(pixels), 2, self._outputs, device=y.device)
            batch_norm.gradient_sums[(len(sums),)](
                gradient,
                out,
                y,
                saved,
                sums,
                self._pixels,
                int(relu),
                C=self._outputs,
                PIXELS=pixels,
            )
        y_gradient = torch.empty_like(y)
        shortcut_gradient = torch.empty_like(y) if masked else gradient
        weight_gradient, bias_gradient = torch.empty_like(weight), torch.empty_like(weight)
        batch_norm.normalise_back[(min(tuned.MOST, triton.cdiv(self._pixels, pixels)),)](
            gradient,
            out,
            y,
            saved,
            weight,
            sums,
            len(sums),
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

    @property
    def _of_images(self) -> bool:
        """Whether the channels of x are too few for a matrix product of each tap."""
        return self._inputs < 16

    @property
    def _seen(self) -> int:
        """Places for all values that a pixel of y sees, as the kernels of images have them."""
        return max(16, triton.next_power_of_2(self._kernel**2 * self._inputs))

    def _by_rows(
        self, table: dict[int, tuned.Rows], channels: int, device: torch.device
    ) -> tuple[tuple[int, int, int], dict[str, int]] | None:
        """How ``convolve_by_rows`` divides the work of those channels; None where others do it."""
        of_its_kind = (self._kernel, self._stride) == (3, 1) and not self._of_images
        if not of_its_kind or channels not in table:
            return None
        if device.type == "cuda" and torch.cuda.get_device_capability(device) < (9, 0):
            return None  # measured there alone, and it takes more memory than others have
        how = table[channels]
        batch, _, height, width = self.y_shape
        across, deep = triton.cdiv(batch * width, how.columns), channels // how.channels
        rows = min(height, across * height * deep // how.enough)
        if rows < tuned.FEWEST_ROWS:
            return None
        division = {
            "columns": batch * width,
            "height": height,
            "width": width,
            "rows": rows,
            "COLUMNS": how.columns,
            "OUT_BLOCK": how.channels,
            "STAGES": how.stages,
            "num_warps": how.warps,
        }
        return (across, triton.cdiv(height, rows), deep), division

    def _new_sums(
        self, before: Before | None, programs: int
    ) -> tuple[tuple[Tensor | None, ...], Tensor | None]:
        """What kernels need to add up the sums of the step before, and those."""
        if before is None:
            return NOTHING, None
        sums = torch.empty(programs, 2, self._inputs, device=before.y.device)
        return (before.out, before.y, before.saved, sums), sums

    def _new_parts(self, programs: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """For numbers, means and squared deviations of the values that programs have computed."""
        means, squares = torch.empty(2, programs, self._outputs, device=device)
        return torch.empty(programs, device=device), means, squares

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
        return tuned.PARTS // self._outputs

    def _programs(self, pixels: int) -> int:
        """Of a kernel that leaves parts of sums, which every program of the next one adds up."""
        blocks = triton.cdiv(self._pixels, pixels)
        return min(blocks, max(self._parts_at_a_time, min(tuned.MOST, blocks // 8)))
