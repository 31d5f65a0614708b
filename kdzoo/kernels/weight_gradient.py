"""The gradient of a convolution with respect to its weight."""

import torch
import triton
from torch import Tensor

from kdzoo.kernels import tuned
from kdzoo.kernels.device import image_convolution, weight_gradient
from kdzoo.kernels.geometry import Geometry


def gradient_of_weight(geometry: Geometry, gradient: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """In float32, in the memory format of the weight.

    Args:
        geometry: of the convolution.
        gradient: of y.
        x: what was convolved.
        weight: whose values are not read.
    """
    of_kind = _of_image if geometry.of_images else _of_map
    shares, columns = of_kind(geometry, gradient, x)
    result = torch.empty_like(weight)
    count, size = shares.shape
    weight_gradient.add_shares[(size // tuned.VALUES,)](
        shares,
        result,
        count,
        size,
        *result.stride(),
        IN=geometry.inputs,
        OUT=geometry.outputs,
        KERNEL=geometry.kernel,
        COLUMNS=columns,
        SHARES=tuned.ADDED,
        VALUES=tuned.VALUES,
    )
    return result


def _of_map(geometry: Geometry, gradient: Tensor, x: Tensor) -> tuple[Tensor, int]:
    """The shares of programs, and how many columns of taps they take at a time."""
    how = tuned.SHARES[max(geometry.inputs, geometry.outputs)]
    most = max(1, tuned.MOST_SUMS // (geometry.inputs * geometry.outputs))
    columns = min(triton.next_power_of_2(geometry.kernel), most)
    groups = triton.cdiv(geometry.kernel, columns)
    places = geometry.batch * geometry.in_size[0] * geometry.out_size[1]
    count = min(triton.cdiv(places, 2 * how.places), triton.cdiv(how.enough, groups))
    size = groups * geometry.kernel * columns * geometry.inputs * geometry.outputs
    shares = torch.empty(count, size, device=x.device)
    weight_gradient.weight_gradient_shares[(count, groups)](
        gradient,
        x,
        shares,
        places,
        *geometry.sizes,
        **geometry.constants,
        COLUMNS=columns,
        PLACES=how.places,
        num_warps=4,
        num_stages=how.stages,
    )
    return shares, columns


def _of_image(geometry: Geometry, gradient: Tensor, x: Tensor) -> tuple[Tensor, int]:
    how = tuned.IMAGE_SHARES
    count = min(triton.cdiv(geometry.out_pixels, 2 * how.places), how.enough)
    shares = torch.empty(count, geometry.seen * geometry.outputs, device=x.device)
    image_convolution.image_weight_gradient_shares[(count,)](
        gradient,
        x,
        shares,
        geometry.out_pixels,
        *geometry.sizes,
        **geometry.constants,
        BLOCK=geometry.seen,
        PIXELS=how.places,
        num_warps=4,
        num_stages=how.stages,
    )
    return shares, geometry.kernel
