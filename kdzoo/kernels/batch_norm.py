"""Batch norm in training with what follows it, a sum and a ReLU, and their gradients."""

import torch
import triton
from torch import Tensor, nn

from kdzoo.kernels import tuned
from kdzoo.kernels.convolution import Parts
from kdzoo.kernels.device import batch_norm
from kdzoo.kernels.geometry import Geometry


def normalise(
    geometry: Geometry,
    y: Tensor,
    parts: Parts,
    shortcut: Tensor | None,
    norm: nn.BatchNorm2d,
    relu: bool,
) -> tuple[Tensor, Tensor]:
    """relu(norm(y) + shortcut), and the mean and inverse deviation of y, [2, O].

    The norm's running statistics move.
    """
    out = torch.empty_like(y)
    saved = torch.empty(2, geometry.outputs, device=y.device)
    pixels = tuned.VALUES_OF_MAPS // geometry.outputs
    batch_norm.normalise[(min(tuned.MOST, triton.cdiv(geometry.out_pixels, pixels)),)](
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
        geometry.out_pixels,
        int(shortcut is not None),
        int(relu),
        C=geometry.outputs,
        PARTS=tuned.PARTS // geometry.outputs,
        PIXELS=pixels,
    )
    return out, saved


def normalise_back(
    geometry: Geometry,
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
        geometry: of the convolution before it.
        gradient: of what :func:`normalise` returned.
        out: what it returned; None where there was no ReLU.
        y: what it was given.
        saved: mean and inverse deviation of that.
        weight: the norm's.
        with_shortcut: whether there was one.
        sums: those that :func:`convolve_back` has added up of that gradient, if it has.
    """
    pixels = tuned.VALUES_OF_MAPS // geometry.outputs
    relu = out is not None
    masked = with_shortcut and relu
    out = y if out is None else out
    if sums is None:
        programs = geometry.summing_programs(pixels)
        sums = torch.empty(programs, *saved.shape, device=y.device)
        batch_norm.gradient_sums[(programs,)](
            gradient,
            out,
            y,
            saved,
            sums,
            geometry.out_pixels,
            int(relu),
            C=geometry.outputs,
            PIXELS=pixels,
        )
    y_gradient = torch.empty_like(y)
    shortcut_gradient = torch.empty_like(y) if masked else gradient
    weight_gradient, bias_gradient = torch.empty_like(weight), torch.empty_like(weight)
    batch_norm.normalise_back[(min(tuned.MOST, triton.cdiv(geometry.out_pixels, pixels)),)](
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
        geometry.out_pixels,
        int(masked),
        int(relu),
        C=geometry.outputs,
        PARTS=tuned.PARTS // geometry.outputs,
        PIXELS=pixels,
    )
    if not with_shortcut:
        return y_gradient, None, weight_gradient, bias_gradient
    return y_gradient, shortcut_gradient, weight_gradient, bias_gradient
