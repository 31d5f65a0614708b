"""Convolutions of 3x3 with stride 1 that read each row of x once for the three rows of y it meets.

Maps and weights are as in :mod:`kdzoo.kernels.device.convolution`. A program goes down the rows of
some columns; those of a batch are counted through all its images, so that any width fills a
program. It keeps the sums of three rows of y: the one above the row of x that is read is complete
then, is stored, and the others move up. That is a third of the reads, and the weights stay where
they are; what it costs is two more rows of x for each stretch of rows.
"""

import triton
import triton.language as tl


@triton.jit
def convolve_by_rows(
    x,
    weight,
    first_tap,
    other,
    y,
    counts,
    means,
    squares,
    out_before,
    y_before,
    saved_before,
    sums_before,
    weight_out,
    weight_in,
    weight_row,
    weight_column,
    columns,
    height,
    width,
    rows,
    IN: tl.constexpr,
    OUT: tl.constexpr,
    OUT_BLOCK: tl.constexpr,
    COLUMNS: tl.constexpr,
    STAGES: tl.constexpr,
):
    """y = x * weight + other, and what batch norm needs to know of y.

    Program (c, r, o) computes COLUMNS columns of ``rows`` rows of OUT_BLOCK output channels. It
    leaves the number of its values for a channel, their means and their sums of squared deviations,
    [programs (c, r)] and [programs (c, r), OUT] twice. Each column has its own at first (Welford,
    "Note on a method for calculating corrected sums of squares and products", 1962), and they are
    merged in the end (as :func:`blocks.merge` does). Without ``means`` there is none of this,
    and without ``other`` nothing to add.

    The tap (0, 0) of the weight is where ``first_tap`` says. With (2, 2) there, with strides of
    taps below 0, and with inputs and outputs exchanged, this is the gradient with respect to x.
    With ``sums_before`` it leaves there what ``gradient_sums`` would, of the batch norm and ReLU
    that x comes from.
    """
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    exists = column < columns
    image = column // width
    column = column % width
    top = tl.program_id(1) * rows
    end = tl.minimum(top + rows, height)
    ins = tl.arange(0, IN)
    outs = tl.program_id(2) * OUT_BLOCK + tl.arange(0, OUT_BLOCK)
    kind = y.dtype.element_ty
    tap = weight + first_tap + ins[:, None] * weight_in + outs[None, :] * weight_out
    taps = ()
    for k in tl.static_range(9):
        taps += (tl.load(tap + k // 3 * weight_row + k % 3 * weight_column).to(kind),)
    above = tl.zeros([COLUMNS, OUT_BLOCK], tl.float32)
    here = tl.zeros([COLUMNS, OUT_BLOCK], tl.float32)
    mean = tl.zeros([COLUMNS, OUT_BLOCK], tl.float32)
    square = tl.zeros([COLUMNS, OUT_BLOCK], tl.float32)
    plain = tl.zeros([COLUMNS, OUT_BLOCK], tl.float32)
    product = tl.zeros([COLUMNS, OUT_BLOCK], tl.float32)
    for step in tl.range(0, end - top + 2, num_stages=STAGES):
        row = top - 1 + step + tl.zeros_like(column)  # a scalar mask is none in the interpreter
        met_row = exists & (row >= 0) & (row < height)
        pixel = (image * height + row) * width + column
        below = tl.zeros([COLUMNS, OUT_BLOCK], tl.float32)
        for j in tl.static_range(3):
            met = met_row & (column + j >= 1) & (column + j <= width)
            at = (pixel + j - 1)[:, None] * IN + ins[None, :]
            values = tl.load(x + at, mask=met[:, None], other=0.0)
            above = tl.dot(values, taps[6 + j], above)
            here = tl.dot(values, taps[3 + j], here)
            below = tl.dot(values, taps[j], below)
        complete = (exists & (row > top))[:, None]
        at = (pixel - width)[:, None] * OUT + outs[None, :]
        if other is not None:
            above += tl.load(other + at, mask=complete, other=0.0).to(tl.float32)
        rounded = above.to(kind)
        tl.store(y + at, rounded, mask=complete)
        if means is not None:
            value = rounded.to(tl.float32)
            apart = tl.where(complete, value - mean, 0.0)
            mean += apart / tl.maximum(step - 1, 1)
            square += apart * (value - mean)
        if sums_before is not None:
            passed = tl.load(out_before + at, mask=complete, other=0.0)
            slope = tl.where(passed <= 0, 0.0, rounded.to(tl.float32))
            value = tl.load(y_before + at, mask=complete, other=0.0).to(tl.float32)
            plain += slope
            product += slope * (value - tl.load(saved_before + outs)[None, :])
        above = here
        here = below
    program = tl.program_id(0) * tl.num_programs(1) + tl.program_id(1)
    if means is not None:
        wide = tl.minimum(columns - tl.program_id(0) * COLUMNS, COLUMNS).to(tl.float32)
        high = (end - top).to(tl.float32)
        of_all = tl.sum(mean, axis=0) / wide  # zero where there is no column
        away = tl.where(exists[:, None], mean - of_all[None, :], 0.0)
        tl.store(counts + program, wide * high)
        tl.store(means + program * OUT + outs, of_all)
        tl.store(squares + program * OUT + outs, tl.sum(square + high * away * away, axis=0))
    if sums_before is not None:
        at = program * 2 * OUT + outs
        tl.store(sums_before + at, tl.sum(plain, axis=0))
        inverse = tl.load(saved_before + OUT + outs)
        tl.store(sums_before + OUT + at, tl.sum(product, axis=0) * inverse)
