"""Convolutions and their gradients with respect to x, each by the kernel that is fastest."""

import math
from functools import cache
from typing import NamedTuple

import torch
import triton
from torch import Tensor

from kdzoo.kernels import tuned
from kdzoo.kernels.device import convolution, convolution_by_rows, image_convolution
from kdzoo.kernels.geometry import Geometry

Parts = tuple[Tensor, Tensor, Tensor]
"""Of the values of y that each program has computed: their number [programs], and for each channel
their mean and their sum of squared deviations, [programs, O]."""

NOTHING = (None, None, None, None)


class Before(NamedTuple):
    """The step that x comes from, relu(norm(y) + shortcut).

    Attributes:
        out: what it returned, which is x.
        y: what it has normalised.
        saved: mean and inverse deviation of that, [2, I].
    """

    out: Tensor
    y: Tensor
    saved: Tensor


def convolve(geometry: Geometry, x: Tensor, weight: Tensor) -> tuple[Tensor, Parts]:
    """y, and what batch norm needs to know of it."""
    y = geometry.new_map(geometry.y_shape, x.device)
    by_rows = _by_rows(geometry, tuned.BY_ROWS, geometry.outputs, x.device)
    if by_rows is not None:
        grid, division = by_rows
        parts = _new_parts(grid[0] * grid[1], geometry.outputs, x.device)
        convolution_by_rows.convolve_by_rows[grid](
            x,
            weight,
            0,
            None,
            y,
            *parts,
            *NOTHING,
            *weight.stride(),
            IN=geometry.inputs,
            OUT=geometry.outputs,
            **division,
        )
        return y, parts
    blocks, kernel = tuned.CONVOLVE[geometry.outputs], convolution.convolve
    constants = geometry.constants
    if geometry.of_images:
        blocks, kernel = tuned.IMAGE, image_convolution.convolve_image
        constants = {**constants, "BLOCK": geometry.seen}
    programs = geometry.summing_programs(blocks.pixels)
    parts = _new_parts(programs, geometry.outputs, x.device)
    kernel[(programs,)](
        x,
        weight,
        y,
        *parts,
        geometry.out_pixels,
        *geometry.sizes,
        *weight.stride(),
        **constants,
        PIXELS=blocks.pixels,
        num_warps=blocks.warps,
        num_stages=1,
    )
    return y, parts


def convolve_back(
    geometry: Geometry,
    gradient: Tensor,
    weight: Tensor,
    other: Tensor | None = None,
    before: Before | None = None,
) -> tuple[Tensor, Tensor | None]:
    """The gradient of x.

    Args:
        geometry: of the convolution.
        gradient: of y.
        weight: of the convolution.
        other: another gradient of x, which is added.
        before: the step that x comes from, if it has a ReLU.

    Returns:
        the gradient, and the sums over it for :func:`normalise_back` of the step before, where they
        are wanted and cost less here than by themselves.
    """
    result = geometry.new_map(geometry.x_shape, gradient.device)
    by_rows = _by_rows(geometry, tuned.BY_ROWS_BACK, geometry.inputs, gradient.device)
    if by_rows is not None:
        grid, division = by_rows
        wanted, sums = _new_sums(before, grid[0] * grid[1])
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
            IN=geometry.outputs,
            OUT=geometry.inputs,
            **division,
        )
        return result, sums
    blocks = tuned.CONVOLVE_BACK[geometry.inputs]
    programs = triton.cdiv(geometry.in_pixels, blocks.pixels)
    few = programs <= tuned.PARTS // geometry.inputs
    wanted, sums = _new_sums(before if few else None, programs)
    convolution.convolve_back[(programs,)](
        gradient,
        weight,
        other,
        result,
        *wanted,
        geometry.in_pixels,
        *geometry.sizes,
        *weight.stride(),
        **geometry.constants,
        PIXELS=blocks.pixels,
        num_warps=blocks.warps,
        num_stages=1,
    )
    return result, sums


def _by_rows(
    geometry: Geometry, table: dict[int, tuned.Rows], channels: int, device: torch.device
) -> tuple[tuple[int, int, int], dict[str, int]] | None:
    """Grid and division of the kernel that goes down the rows; None where another one is faster."""
    of_its_kind = (geometry.kernel, geometry.stride) == (3, 1) and (
        geometry.inputs == geometry.outputs
    )
    if not of_its_kind or channels not in table or _shared_memory(device) < tuned.SHARED:
        return None
    how = table[channels]
    height, width = geometry.out_size
    columns = geometry.batch * width
    across, deep = triton.cdiv(columns, how.columns), channels // how.channels
    rows = min(height, across * height * deep // how.enough)
    if rows < tuned.FEWEST_ROWS:
        return None
    division = {
        "columns": columns,
        "height": height,
        "width": width,
        "rows": rows,
        "COLUMNS": how.columns,
        "OUT_BLOCK": how.channels,
        "STAGES": how.stages,
        "num_warps": how.warps,
    }
    return (across, triton.cdiv(height, rows), deep), division


@cache
def _shared_memory(device: torch.device) -> float:
    """Of a program, in bytes."""
    if device.type != "cuda":
        return math.inf
    memory: int = torch.cuda.get_device_properties(device).shared_memory_per_block_optin
    return memory


def _new_parts(programs: int, channels: int, device: torch.device) -> Parts:
    means, squares = torch.empty(2, programs, channels, device=device)
    return torch.empty(programs, device=device), means, squares


def _new_sums(
    before: Before | None, programs: int
) -> tuple[tuple[Tensor | None, ...], Tensor | None]:
    """What a kernel is given to add up the sums for the step before, and those."""
    if before is None:
        return NOTHING, None
    sums = torch.empty(programs, *before.saved.shape, device=before.saved.device)
    return (*before, sums), sums
