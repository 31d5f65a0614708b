"""Convolutions of images, of so few channels that all taps fit into one matrix product.

Maps and weights are as in :mod:`kdzoo.kernels.device.convolution`, and x may be float32. What an
output pixel sees is one row, of KERNEL * KERNEL * IN values and zeros up to BLOCK of them.
"""

import triton
import triton.language as tl

from kdzoo.kernels.device.blocks import gather, merge


@triton.jit
def convolve_image(
    x,
    weight,
    y,
    counts,
    means,
    squares,
    pixels,
    in_height,
    in_width,
    out_height,
    out_width,
    weight_out,
    weight_in,
    weight_row,
    weight_column,
    IN: tl.constexpr,
    OUT: tl.constexpr,
    KERNEL: tl.constexpr,
    STRIDE: tl.constexpr,
    PADDING: tl.constexpr,
    BLOCK: tl.constexpr,
    PIXELS: tl.constexpr,
):
    """y = x * weight, and what batch norm needs to know of y, as in ``convolve``."""
    program = tl.program_id(0)
    outs = tl.arange(0, OUT)
    kind = y.dtype.element_ty
    seen = tl.arange(0, BLOCK)
    i = seen // (KERNEL * IN)
    j = seen // IN % KERNEL
    at = i * weight_row + j * weight_column + seen % IN * weight_in
    at = at[:, None] + outs[None, :] * weight_out
    weights = tl.load(weight + at, mask=(i < KERNEL)[:, None], other=0.0).to(kind)
    count = 0.0
    mean = tl.zeros([OUT], tl.float32)
    square = tl.zeros([OUT], tl.float32)
    for block in range(program, tl.cdiv(pixels, PIXELS), tl.num_programs(0)):
        pixel = block * PIXELS + tl.arange(0, PIXELS)
        exists = pixel < pixels
        sizes = (in_height, in_width, out_height, out_width)
        values = gather(x, pixel, exists, seen, *sizes, IN, KERNEL, STRIDE, PADDING)
        rounded = tl.dot(values.to(kind), weights).to(kind)
        tl.store(y + pixel[:, None] * OUT + outs[None, :], rounded, mask=exists[:, None])
        new = tl.minimum(pixels - block * PIXELS, PIXELS).to(tl.float32)
        count, mean, square = merge(count, mean, square, rounded, exists, new)
    tl.store(counts + program, count)
    tl.store(means + program * OUT + outs, mean)
    tl.store(squares + program * OUT + outs, square)


@triton.jit
def image_weight_gradient_shares(
    gradient,
    x,
    shares,
    pixels,
    in_height,
    in_width,
    out_height,
    out_width,
    IN: tl.constexpr,
    OUT: tl.constexpr,
    KERNEL: tl.constexpr,
    STRIDE: tl.constexpr,
    PADDING: tl.constexpr,
    BLOCK: tl.constexpr,
    PIXELS: tl.constexpr,
):
    """What every so many blocks of output pixels add to the gradient of the weight.

    Program s leaves shares[s], [BLOCK, OUT] in float32.
    """
    outs = tl.arange(0, OUT)
    kind = gradient.dtype.element_ty
    seen = tl.arange(0, BLOCK)
    acc = tl.zeros([BLOCK, OUT], tl.float32)
    for block in range(tl.program_id(0), tl.cdiv(pixels, PIXELS), tl.num_programs(0)):
        pixel = block * PIXELS + tl.arange(0, PIXELS)
        exists = pixel < pixels
        sizes = (in_height, in_width, out_height, out_width)
        values = gather(x, pixel, exists, seen, *sizes, IN, KERNEL, STRIDE, PADDING)
        at = pixel[:, None] * OUT + outs[None, :]
        slopes = tl.load(gradient + at, mask=exists[:, None], other=0.0)
        acc = tl.dot(tl.trans(values.to(kind)), slopes, acc)
    at = (tl.program_id(0) * BLOCK + seen)[:, None] * OUT + outs[None, :]
    tl.store(shares + at, acc)
