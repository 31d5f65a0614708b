"""Convolution, batch norm, sum and ReLU as one step of autograd, from the Triton kernels.

Forward it is two kernels and backward four or five, where PyTorch and cuDNN have about fifteen. It
pays where kernels are short and follow each other without the host, as in a captured step of a
network of few channels.
"""

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.weak import TensorWeakRef

from kdzoo.kernels.batch_norm import normalise, normalise_back
from kdzoo.kernels.convolution import Before, convolve, convolve_back
from kdzoo.kernels.fits import computed_in, fits
from kdzoo.kernels.geometry import Geometry
from kdzoo.kernels.weight_gradient import gradient_of_weight


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
    x = _as_matrix(x)
    if shortcut is not None:
        shortcut = _as_matrix(shortcut)
    geometry = Geometry(x, conv, dtype)
    # stands for what y owes to the weight; its values are never read
    owed = x.new_empty(1, dtype=dtype).expand(geometry.y_shape)
    if conv.weight.requires_grad:
        with _beside(x.device):
            owed = _WeightPath.apply(conv.weight, x.detach(), owed, geometry)
    before: _Link | None = getattr(x.grad_fn, "link", None) if x.output_nr == 0 else None
    if before is not None:
        before.users += 1
    return _ConvNormAct.apply(
        x, owed, norm.weight, norm.bias, shortcut, geometry, conv, norm, act is not None, before
    )


def _in_turn(
    x: Tensor, conv: nn.Module, norm: nn.Module, act: nn.Module | None, shortcut: Tensor | None
) -> Tensor:
    out = norm(conv(x))
    if shortcut is not None:
        out = out + shortcut
    return out if act is None else act(out)


def _as_matrix(x: Tensor) -> Tensor:
    """A map that lies in memory as a matrix [pixels, channels], with nothing between its rows."""
    return x.contiguous(memory_format=torch.channels_last)


class _Link:
    """Between a step with a ReLU and the one after it, which knows the gradient between them.

    The backward pass of a batch norm begins with sums over that gradient. So the step after it adds
    them up while it computes it. They hold for that very tensor, as it was made: where there are
    other gradients, or someone has changed it, they are added up anew. (What changes a gradient
    that it was given by :func:`torch.autograd.grad` through ``.data``, and then gives it back, is
    not seen.)

    Args:
        y: what the first one has normalised. It is not kept for this.
        saved: mean and inverse deviation of that, likewise.

    Attributes:
        users: how many steps are given what it returned.
    """

    def __init__(self, y: Tensor, saved: Tensor) -> None:
        self.users = 0
        self._y, self._saved = TensorWeakRef(y), TensorWeakRef(saved)
        self._gradient: Tensor | None = None
        self._sums: Tensor | None = None
        self._stream: torch.cuda.Stream | None = None

    def before(self, out: Tensor) -> Before | None:
        """For the kernels; None where the gradient of ``out`` may become another one."""
        y, saved = self._y(), self._saved()
        if self.users != 1 or out._backward_hooks or y is None or saved is None:
            return None
        return Before(out, y, saved)

    def leave(self, gradient: Tensor, sums: Tensor) -> None:
        """Leave the sums over a gradient."""
        self._gradient, self._sums, self._stream = gradient, sums, _stream_of(gradient)

    def take(self, gradient: Tensor) -> Tensor | None:
        """The sums over this gradient, if they are there."""
        same = gradient is self._gradient and self._stream == _stream_of(gradient)
        unchanged = same and not gradient.is_inference() and gradient._version == 0
        sums = self._sums if unchanged else None
        self._gradient = self._sums = None
        return sums


def _stream_of(x: Tensor) -> torch.cuda.Stream | None:
    return torch.cuda.current_stream(x.device) if x.is_cuda else None


class _WeightPath(torch.autograd.Function):
    """Takes the gradient of y, and makes that of the weight of it.

    It is a node of its own so that autograd runs it on the stream that it was made on: what comes
    before in the network does not wait for it.
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor, x: Tensor, owed: Tensor, geometry: Geometry) -> Tensor:
        ctx.save_for_backward(weight, x)
        ctx.geometry = geometry
        ctx.set_materialize_grads(False)
        return owed.view_as(owed)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor | None) -> tuple[Tensor | None, ...]:
        if gradient is None:  # y was not used
            return None, None, None, None
        weight, x = ctx.saved_tensors
        if x.is_cuda:  # their memory is another stream's
            x.record_stream(torch.cuda.current_stream())
            gradient.record_stream(torch.cuda.current_stream())
        return gradient_of_weight(ctx.geometry, gradient, x, weight), None, None, None


class _ConvNormAct(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        owed: Tensor,
        scale: Tensor,
        bias: Tensor,
        shortcut: Tensor | None,
        geometry: Geometry,
        conv: nn.Conv2d,
        norm: nn.BatchNorm2d,
        relu: bool,
        before: _Link | None,
    ) -> tuple[Tensor, Tensor]:
        y, parts = convolve(geometry, x, conv.weight)
        out, saved = normalise(geometry, y, parts, shortcut, norm, relu)
        ctx.save_for_backward(
            conv.weight, scale, y, out if relu else None, saved, None if before is None else x
        )
        ctx.geometry = geometry
        ctx.before, ctx.link = before, _Link(y, saved) if relu else None
        ctx.has_shortcut = shortcut is not None
        ctx.set_materialize_grads(False)  # x is rarely needed elsewhere
        return out, x

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, gradient: Tensor | None, other: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        if gradient is None:  # what was computed was not used
            return other, *[None] * 9
        weight, scale, y, out, saved, x = ctx.saved_tensors
        geometry: Geometry = ctx.geometry
        sums = None if ctx.link is None else ctx.link.take(gradient)
        gradient = _as_matrix(gradient)
        y_gradient, shortcut_gradient, scale_gradient, bias_gradient = normalise_back(
            geometry, gradient, out, y, saved, scale, ctx.has_shortcut, sums
        )
        x_gradient = None
        if ctx.needs_input_grad[0]:
            other = None if other is None else _as_matrix(other)
            before = None if ctx.before is None else ctx.before.before(x)
            x_gradient, sums = convolve_back(geometry, y_gradient, weight, other, before)
            if sums is not None:
                ctx.before.leave(x_gradient, sums)
        given = (x_gradient, y_gradient, scale_gradient, bias_gradient, shortcut_gradient)
        return *given, *[None] * 5


def _beside(device: torch.device) -> AbstractContextManager[Any]:
    """A stream beside the current one, where that is not the default one."""
    if device.type != "cuda" or torch.cuda.current_stream() == torch.cuda.default_stream():
        return nullcontext()
    return torch.cuda.stream(_stream_beside(torch.cuda.current_stream()))


@cache
def _stream_beside(current: torch.cuda.Stream) -> torch.cuda.Stream:
    # a priority below that of the streams that wait for each other, where the GPU has so many
    return torch.cuda.Stream(current.device, priority=-1)
