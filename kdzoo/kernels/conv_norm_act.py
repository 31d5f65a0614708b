"""Convolution, batch norm, sum and ReLU as one step of autograd, from the Triton kernels.

Forward it is two kernels and backward five, where PyTorch and cuDNN have about fifteen. It pays
where kernels are short and follow each other without the host, as in a captured step of a network
of few channels.
"""

import math
from typing import Any

import torch
import triton
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from kdzoo.kernels import batch_norm, convolution

CHANNELS = (16, 32, 64)
"""What the kernels are made for, as outputs; as inputs also fewer, where x needs no gradient."""
LARGEST = 2**31
"""Places in a map are numbers of 32 bits."""


def conv_norm_act(
    x: Tensor,
    conv: nn.Conv2d,
    norm: nn.BatchNorm2d,
    act: nn.ReLU | None = None,
    shortcut: Tensor | None = None,
) -> Tensor:
    """relu(norm(conv(x)) + shortcut), [B, I, H, W] -> [B, O, h, w], in training.

    Where the kernels are not made for it, as in evaluation or with other sizes, the modules are
    called as usual.

    Args:
        x: what is convolved.
        conv: the convolution.
        norm: its batch norm, whose running statistics move.
        act: the activation, if any.
        shortcut: [B, O, h, w], added before the activation.
    """
    dtype = _computed_in(x)
    if not _fits(x, conv, norm, act, shortcut, dtype):
        return _in_turn(x, conv, norm, act, shortcut)
    relu = act is not None
    return _ConvNormAct.apply(
        x, conv.weight, norm.weight, norm.bias, shortcut, conv, norm, relu, dtype
    )


def _in_turn(
    x: Tensor, conv: nn.Module, norm: nn.Module, act: nn.Module | None, shortcut: Tensor | None
) -> Tensor:
    out = norm(conv(x))
    if shortcut is not None:
        out = out + shortcut
    return out if act is None else act(out)


def _computed_in(x: Tensor) -> torch.dtype:
    """The format in which a convolution of ``x`` computes here."""
    if torch.is_autocast_enabled(x.device.type):
        return torch.get_autocast_dtype(x.device.type)
    return x.dtype


def _fits(
    x: Tensor,
    conv: nn.Conv2d,
    norm: nn.BatchNorm2d,
    act: nn.ReLU | None,
    shortcut: Tensor | None,
    dtype: torch.dtype,
) -> bool:
    """Whether the kernels compute what the modules would, but for rounding."""
    modules = [module for module in (conv, norm, act) if module is not None]
    if torch.compiler.is_compiling() or any(map(_is_hooked, modules)):
        return False
    if not _is_plain_conv(conv, x.requires_grad) or not _is_plain_norm(norm):
        return False
    if act is not None and type(act) is not nn.ReLU:
        return False
    stride = conv.stride[0]
    out_size = [-(-size // stride) for size in x.shape[2:]]
    pixels = len(x) * math.prod(out_size)
    if pixels < 2 or max(x.numel(), pixels * conv.out_channels) >= LARGEST:
        return False
    if shortcut is not None and shortcut.shape != (len(x), conv.out_channels, *out_size):
        return False
    maps = [one for one in (x, shortcut) if one is not None and one.requires_grad]
    return all(one.dtype == dtype for one in maps)


def _is_plain_conv(conv: nn.Conv2d, with_gradient: bool) -> bool:
    inputs, outputs, kernel = conv.in_channels, conv.out_channels, conv.kernel_size[0]
    return (
        type(conv) is nn.Conv2d
        and conv.bias is None
        and conv.groups == 1
        and conv.dilation == (1, 1)
        and conv.kernel_size in ((1, 1), (3, 3))
        and conv.padding == (kernel // 2, kernel // 2)
        and conv.stride in ((1, 1), (2, 2))
        and conv.padding_mode == "zeros"
        and outputs in CHANNELS
        and (inputs in CHANNELS or (inputs < min(CHANNELS) and not with_gradient))
        and conv.weight.dtype == torch.float32
    )


def _is_plain_norm(norm: nn.BatchNorm2d) -> bool:
    """Whether it normalises a batch and keeps a moving average of its statistics."""
    return (
        type(norm) is nn.BatchNorm2d
        and norm.training
        and norm.affine
        and norm.running_mean is not None
        and norm.momentum is not None
        and norm.weight.dtype == torch.float32
    )


def _is_hooked(module: nn.Module) -> bool:
    hooks = (
        module._forward_hooks,
        module._forward_pre_hooks,
        module._backward_hooks,
        module._backward_pre_hooks,
    )
    return any(hooks) or "forward" in vars(module)


class _ConvNormAct(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        scale: Tensor,
        bias: Tensor,
        shortcut: Tensor | None,
        conv: nn.Conv2d,
        norm: nn.BatchNorm2d,
        relu: bool,
        dtype: torch.dtype,
    ) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        geometry = _Geometry(x, conv, dtype)
        y = geometry.new_output(x)
        counts, means, squares = geometry.convolve(x, weight, y)
        if shortcut is not None:
            shortcut = shortcut.to(y.dtype, memory_format=torch.channels_last)
        out = torch.empty_like(y)
        saved = torch.empty(2, geometry.outputs, device=x.device)
        batch_norm.normalise[(_programs(geometry.pixels, geometry.outputs),)](
            y,
            shortcut,
            out,
            counts,
            means,
            squares,
            len(counts),
            scale,
            bias,
            saved,
            norm.running_mean,
            norm.running_var,
            norm.num_batches_tracked,
            norm.momentum,
            norm.eps,
            geometry.pixels,
            C=geometry.outputs,
            SHORTCUT=shortcut is not None,
            RELU=relu,
            PARTS=triton.next_power_of_2(len(counts)),
            PIXELS=_block(geometry.outputs),
        )
        ctx.save_for_backward(x, weight, scale, y, out if relu else None, saved)
        ctx.geometry = geometry
        ctx.has_shortcut = shortcut is not None
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, scale, y, out, saved = ctx.saved_tensors
        geometry: _Geometry = ctx.geometry
        relu = out is not None
        pixels, channels = geometry.pixels, geometry.outputs
        gradient = gradient.to(y.dtype, memory_format=torch.channels_last)
        programs = _programs(pixels, channels)
        sums = torch.empty(programs, 2, channels, device=y.device)
        batch_norm.gradient_sums[(programs,)](
            gradient, out, y, saved, sums, pixels, C=channels, RELU=relu, PIXELS=_block(channels)
        )
        y_gradient = torch.empty_like(y)
        shortcut_gradient = gradient if ctx.has_shortcut else None
        if ctx.has_shortcut and relu:
            shortcut_gradient = torch.empty_like(y)
        scale_gradient, bias_gradient = torch.empty_like(scale), torch.empty_like(scale)
        batch_norm.normalise_back[(programs,)](
            gradient,
            out,
            y,
            saved,
            scale,
            sums,
            programs,
            y_gradient,
            shortcut_gradient,
            scale_gradient,
            bias_gradient,
            pixels,
            C=channels,
            SHORTCUT=ctx.has_shortcut and relu,
            RELU=relu,
            PARTS=triton.next_power_of_2(programs),
            PIXELS=_block(channels),
        )
        weight_gradient = geometry.weight_gradient(y_gradient, x, weight)
        x_gradient = None
        if ctx.needs_input_grad[0]:
            x_gradient = geometry.convolve_back(y_gradient, weight, x)
        return (
            x_gradient,
            weight_gradient,
            scale_gradient,
            bias_gradient,
            shortcut_gradient,
            None,
            None,
            None,
            None,
        )


class _Geometry:
    """The sizes of one convolution, and its kernels, called with them."""

    def __init__(self, x: Tensor, conv: nn.Conv2d, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.batch, self.inputs, *in_size = x.shape
        self.outputs = conv.out_channels
        self.kernel, self.stride, self.padding = (
            conv.kernel_size[0],
            conv.stride[0],
            conv.padding[0],
        )
        self.out_size = tuple(-(-size // self.stride) for size in in_size)
        self.in_pixels = self.batch * in_size[0] * in_size[1]
        self.pixels = self.batch * self.out_size[0] * self.out_size[1]
        self._sizes = (*in_size, *self.out_size)
        self._constants = {
            "IN": self.inputs,
            "OUT": self.outputs,
            "KERNEL": self.kernel,
            "STRIDE": self.stride,
            "PADDING": self.padding,
        }
        self._columns = triton.next_power_of_2(self.kernel)

    def new_output(self, x: Tensor) -> Tensor:
        return torch.empty(
            (self.batch, self.outputs, *self.out_size),
            dtype=self.dtype,
            device=x.device,
            memory_format=torch.channels_last,
        )

    def convolve(self, x: Tensor, weight: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Fill y; returns number, mean and squares of the parts, as ``normalise`` takes them."""
        block = 128
        programs = min(triton.cdiv(self.pixels, block), _programs(self.pixels, self.outputs))
        counts = torch.empty(programs, device=x.device)
        means, squares = torch.empty(2, programs, self.outputs, device=x.device)
        convolution.convolve[(programs,)](
            x,
            weight,
            y,
            counts,
            means,
            squares,
            self.pixels,
            *self._sizes,
            *weight.stride(),
            **self._constants,
            IN_BLOCK=max(16, self.inputs),
            PIXELS=block,
            num_stages=1,
        )
        return counts, means, squares

    def convolve_back(self, gradient: Tensor, weight: Tensor, x: Tensor) -> Tensor:
        result = torch.empty_like(x)
        block = 128
        convolution.convolve_back[(triton.cdiv(self.in_pixels, block),)](
            gradient,
            weight,
            result,
            self.in_pixels,
            *self._sizes,
            *weight.stride(),
            **self._constants,
            PIXELS=block,
            num_stages=1,
        )
        return result

    def weight_gradient(self, gradient: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        in_block = triton.next_power_of_2(self.inputs)
        columns = max(self._columns, 16 // in_block)
        block = 64
        count = min(triton.cdiv(self.pixels, 4 * block), 264 // self.kernel)
        shares = torch.empty(
            count, self.kernel, self.outputs, columns * in_block, device=weight.device
        )
        convolution.weight_gradient_shares[(count, self.kernel)](
            gradient,
            x,
            shares,
            self.pixels,
            *self._sizes,
            **self._constants,
            IN_BLOCK=in_block,
            COLUMNS=columns,
            PIXELS=block,
        )
        result = torch.empty_like(weight)
        convolution.add_shares[(self.outputs, self.kernel)](
            shares,
            result,
            count,
            *weight.stride(),
            IN=self.inputs,
            OUT=self.outputs,
            KERNEL=self.kernel,
            IN_BLOCK=in_block,
            COLUMNS=columns,
            SHARES=16,
        )
        return result


def _block(channels: int) -> int:
    """Pixels at a time, where nothing but memory is waited for."""
    return 4096 // channels


def _programs(pixels: int, channels: int) -> int:
    return min(264, 8192 // channels, triton.cdiv(pixels, _block(channels)))
