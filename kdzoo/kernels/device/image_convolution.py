"""Convolutions of images, of so few channels that all taps fit into one matrix product.

Maps and weights are as in :mod:`kdzoo.kernels.device.convolution`, and x may be float32. What an
output pixel sees is one row, of KERNEL * KERNEL * IN values and zeros up to BLOCK of them.
"""

import triton
import triton.language as tl


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
    ins = seen % IN
    real = i < KERNEL
    at = i * weight_row + j * weight_column + ins * weight_in
    at = at[:, None] + outs[None, :] * weight_out
    weights = tl.load(weight + at, mask=real[:, None], other=0.0).to(kind)
    count = 0.0
    mean = tl.zeros([OUT], tl.float32)
    square = tl.zeros([OUT], tl.float32)
    for block in range(program, tl.cdiv(pixels, PIXELS), tl.num_programs(0)):
        pixel = block * PIXELS + tl.arange(0, PIXELS)
        exists = pixel < pixels
        column = (pixel % out_width * STRIDE - PADDING)[:, None] + j[None, :]
        row = (pixel // out_width % out_height * STRIDE - PADDING)[:, None] + i[None, :]
        met = exists[:, None] & real[None, :] & (row >= 0) & (row < in_height)
        met = met & (column >= 0) & (column < in_width)
        image = pixel // (out_width * out_height)
        place = ((image * in_height)[:, None] + row) * in_width + column
        values = tl.load(x + place * IN + ins[None, :], mask=met, other=0.0)
        rounded = tl.dot(values.to(kind), weights).to(kind)
        tl.store(y + pixel[:, None] * OUT + outs[None, :], rounded, mask=exists[:, None])
        new = tl.minimum(pixels - block * PIXELS, PIXELS).to(tl.float32)
        of_block = rounded.to(tl.float32)  # zero where there is no pixel
        new_mean = tl.sum(of_block, axis=0) / new
        away = tl.where(exists[:, None], of_block - new_mean[None, :], 0.0)
        both = count + new
        apart = new_mean - mean
        square += tl.sum(away * away, axis=0) + apart * apart * (count * new / both)
        mean += apart * (new / both)
        count = both
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
    i = seen // (KERNEL * IN)
    j = seen // IN % KERNEL
    ins = seen % IN
    acc = tl.zeros([BLOCK, OUT], tl.float32)
    for block in range(tl.program_id(0), tl.cdiv(pixels, PIXELS), tl.num_programs(0)):
        pixel = block * PIXELS + tl.arange(0, PIXELS)
        exists = pixel < pixels
        column = (pixel % out_width * STRIDE - PADDING)[:, None] + j[None, :]
        row = (pixel // out_width % out_height * STRIDE - PADDING)[:, None] + i[None, :]
        met = exists[:, None] & (i < KERNEL)[None, :] & (row >= 0) & (row < in_height)
        met = met & (column >= 0) & (column < in_width)
        image = pixel // (out_width * out_height)
        place = ((image * in_height)[:, None] + row) * in_width + column
        values = tl.load(x + place * IN + ins[None, :], mask=met, other=0.0)
        at = pixel[:, None] * OUT + outs[None, :]
        slopes = tl.load(gradient + at, mask=exists[:, None], other=0.0)
        acc = tl.dot(tl.trans(values.to(kind)), slopes, acc)
    at = (tl.program_id(0) * BLOCK + seen)[:, None] * OUT + outs[None, :]
    tl.store(shares + at, acc)
