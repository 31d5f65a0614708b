"""Convolution, batch norm, sum and ReLU as one step of autograd, from the Triton kernels.

Forward it is two kernels and backward five, where PyTorch and cuDNN have about fifteen. It pays
where kernels are short and follow each other without the host, as in a captured step of a network
of few channels.
"""

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from kdzoo.kernels.fits import computed_in, fits
from kdzoo.kernels.geometry import Geometry


def conv_norm_act(
    x: Tensor,
    conv: nn.Conv2d,
    norm: nn.BatchNorm2d,
    act: nn.ReLU | None = None,
    shortcut: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """relu(norm(conv(x)) + shortcut), [B, I, H, W] -> [B, O, h, w], in training.

    Where the kernels are not made for it, as in evaluation or with other sizes, the modules are
    called as usual.

    Args:
        x: what is convolved.
        conv: the convolution.
        norm: its batch norm, whose running statistics move.
        act: the activation, if any.
        shortcut: [B, O, h, w], added before the activation.

    Returns:
        that, and x for whatever else needs it: its gradients are added up on the way.
    """
    dtype = computed_in(x)
    if not fits(x, conv, norm, act, shortcut, dtype):
        return _in_turn(x, conv, norm, act, shortcut), x
    x = x.contiguous(memory_format=torch.channels_last)
    if shortcut is not None:
        shortcut = shortcut.to(dtype, memory_format=torch.channels_last)
    geometry = Geometry(x, conv, dtype)
    owed = x.new_empty(1, dtype=dtype).expand(geometry.y_shape)
    with _beside(x.device):
        weight_path = _WeightPath.apply(conv.weight, x, owed, geometry)
    return _ConvNormAct.apply(
        x, weight_path, norm.weight, norm.bias, shortcut, geometry, conv, norm, act is not None
    )


def _in_turn(
    x: Tensor, conv: nn.Module, norm: nn.Module, act: nn.Module | None, shortcut: Tensor | None
) -> Tensor:
    out = norm(conv(x))
    if shortcut is not None:
        out = out + shortcut
    return out if act is None else act(out)


class _WeightPath(torch.autograd.Function):
    """Takes the gradient of y, and makes that of the weight of it.

    It is a node of its own so that autograd runs it on the stream that it was made on: what comes
    before in the network does not wait for it.
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor, x: Tensor, owed: Tensor, geometry: Geometry) -> Tensor:
        ctx.save_for_backward(weight, x)
        ctx.geometry = geometry
        return owed.view_as(owed)  # stands for what y owes to the weight: its values are never read

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        weight, x = ctx.saved_tensors
        if x.is_cuda:  # their memory is another stream's
            x.record_stream(torch.cuda.current_stream())
            gradient.record_stream(torch.cuda.current_stream())
        return ctx.geometry.weight_gradient(gradient, x, weight), None, None, None


class _ConvNormAct(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight_path: Tensor,
        scale: Tensor,
        bias: Tensor,
        shortcut: Tensor | None,
        geometry: Geometry,
        conv: nn.Conv2d,
        norm: nn.BatchNorm2d,
        relu: bool,
    ) -> tuple[Tensor, Tensor]:
        y, parts = geometry.convolve(x, conv.weight)
        out, saved = geometry.normalise(y, parts, shortcut, norm, relu)
        ctx.save_for_backward(conv.weight, scale, y, out if relu else None, saved)
        ctx.geometry = geometry
        ctx.has_shortcut = shortcut is not None
        ctx.set_materialize_grads(False)  # x is rarely needed elsewhere
        return out, x

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, gradient: Tensor | None, other: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        if gradient is None:  # what was computed was not used
            return other, *[None] * 8
        weight, scale, y, out, saved = ctx.saved_tensors
        geometry: Geometry = ctx.geometry
        gradient = gradient.to(y.dtype, memory_format=torch.channels_last)
        y_gradient, shortcut_gradient, scale_gradient, bias_gradient = geometry.normalise_back(
            gradient, out, y, saved, scale, ctx.has_shortcut
        )
        x_gradient = None
        if ctx.needs_input_grad[0]:
            if other is not None:
                other = other.to(y.dtype, memory_format=torch.channels_last)
            x_gradient = geometry.convolve_back(y_gradient, weight, other)
        given = (x_gradient, y_gradient, scale_gradient, bias_gradient, shortcut_gradient)
        return *given, None, None, None, None


def _beside(device: torch.device) -> AbstractContextManager[Any]:
    """A stream beside the current one, where that is not the default one."""
    if device.type != "cuda" or torch.cuda.current_stream() == torch.cuda.default_stream():
        return nullcontext()
    return torch.cuda.stream(_stream_beside(torch.cuda.current_stream()))


@cache
def _stream_beside(current: torch.cuda.Stream) -> torch.cuda.Stream:
    # of a priority that nothing else has: below that of the streams that wait for each other
    return torch.cuda.Stream(current.device, priority=-1)
