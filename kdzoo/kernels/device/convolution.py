"""Convolutions of few channels, forward and backward, as Triton kernels.

Maps are in channels-last order: in memory a map [B, C, H, W] is a matrix [B*H*W, C] whose rows are
pixels. They are bfloat16; other formats of theirs work as well. A weight [O, I, K, K] is read as it
is, float32 of any strides, and rounded to the maps' format on the way, as autocast does. Products
are summed in float32.

A convolution is a matrix product for each of its K*K taps: of the pixels that the tap meets, zero
where it meets padding, with the tap's [I, O] weights.
"""

import triton
import triton.language as tl

from kdzoo.kernels.device.blocks import merge


@triton.jit
def convolve(
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
    PIXELS: tl.constexpr,
):
    """y = x * weight, and what batch norm needs to know of y.

    Each program computes every so many blocks of PIXELS output pixels, and leaves their number,
    their means and their sums of squared deviations, [programs], [programs, OUT] twice, of the
    values of y as they are rounded. They are merged as blocks come.
    """
    program = tl.program_id(0)
    outs = tl.arange(0, OUT)
    ins = tl.arange(0, IN)
    count = 0.0
    mean = tl.zeros([OUT], tl.float32)
    square = tl.zeros([OUT], tl.float32)
    for block in range(program, tl.cdiv(pixels, PIXELS), tl.num_programs(0)):
        pixel = block * PIXELS + tl.arange(0, PIXELS)
        exists = pixel < pixels
        column = pixel % out_width
        row = pixel // out_width % out_height
        image = pixel // (out_width * out_height)
        acc = tl.zeros([PIXELS, OUT], tl.float32)
        for i in tl.static_range(KERNEL):
            met_row = row * STRIDE - PADDING + i
            row_met = exists & (met_row >= 0) & (met_row < in_height)
            start = (image * in_height + met_row) * in_width
            for j in tl.static_range(KERNEL):
                met_column = column * STRIDE - PADDING + j
                met = row_met & (met_column >= 0) & (met_column < in_width)
                at = (start + met_column)[:, None] * IN + ins[None, :]
                values = tl.load(x + at, mask=met[:, None], other=0.0)
                tap = weight + i * weight_row + j * weight_column
                weights = tl.load(tap + ins[:, None] * weight_in + outs[None, :] * weight_out)
                acc = tl.dot(values, weights.to(y.dtype.element_ty), acc)
        rounded = acc.to(y.dtype.element_ty)
        tl.store(y + pixel[:, None] * OUT + outs[None, :], rounded, mask=exists[:, None])
        new = tl.minimum(pixels - block * PIXELS, PIXELS).to(tl.float32)
        count, mean, square = merge(count, mean, square, rounded, exists, new)
    tl.store(counts + program, count)
    tl.store(means + program * OUT + outs, mean)
    tl.store(squares + program * OUT + outs, square)


@triton.jit
def convolve_back(
    gradient,
    weight,
    other,
    result,
    out_before,
    y_before,
    saved_before,
    sums_before,
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
    PIXELS: tl.constexpr,
):
    """The gradient with respect to x from that of y, with another of its gradients added, if any.

    Each program computes PIXELS of its pixels. With ``sums_before`` it leaves there what
    ``gradient_sums`` would, of the batch norm and ReLU that x comes from.
    """
    pixel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    exists = pixel < pixels
    column = pixel % in_width
    row = pixel // in_width % in_height
    image = pixel // (in_width * in_height)
    ins = tl.arange(0, IN)
    outs = tl.arange(0, OUT)
    acc = tl.zeros([PIXELS, IN], tl.float32)
    for i in tl.static_range(KERNEL):
        from_row = row + PADDING - i
        row_met = exists & (from_row >= 0)
        if STRIDE > 1:
            row_met = row_met & (from_row % STRIDE == 0)
            from_row = from_row // STRIDE
        row_met = row_met & (from_row < out_height)
        start = (image * out_height + from_row) * out_width
        for j in tl.static_range(KERNEL):
            from_column = column + PADDING - j
            met = row_met & (from_column >= 0)
            if STRIDE > 1:
                met = met & (from_column % STRIDE == 0)
                from_column = from_column // STRIDE
            met = met & (from_column < out_width)
            at = (start + from_column)[:, None] * OUT + outs[None, :]
            values = tl.load(gradient + at, mask=met[:, None], other=0.0)
            tap = weight + i * weight_row + j * weight_column
            weights = tl.load(tap + outs[:, None] * weight_out + ins[None, :] * weight_in)
            acc = tl.dot(values, weights.to(result.dtype.element_ty), acc)
    at = pixel[:, None] * IN + ins[None, :]
    if other is not None:
        acc += tl.load(other + at, mask=exists[:, None], other=0.0).to(tl.float32)
    rounded = acc.to(result.dtype.element_ty)
    tl.store(result + at, rounded, mask=exists[:, None])
    if sums_before is not None:
        passed = tl.load(out_before + at, mask=exists[:, None], other=0.0)
        slope = tl.where(passed <= 0, 0.0, rounded.to(tl.float32))
        value = tl.load(y_before + at, mask=exists[:, None], other=0.0).to(tl.float32)
        product = tl.sum(slope * (value - tl.load(saved_before + ins)[None, :]), axis=0)
        sums = sums_before + tl.program_id(0) * 2 * IN + ins
        tl.store(sums, tl.sum(slope, axis=0))
        tl.store(sums + IN, product * tl.load(saved_before + IN + ins))
