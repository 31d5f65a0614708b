"""The gradient of a convolution with respect to its weight, as Triton kernels.

Maps and weights are as in :mod:`kdzoo.kernels.device.convolution`. The gradient of a tap is a
matrix product: of the pixels of x that it meets, transposed, with those of the gradient of y. Each
program leaves its share of that, and a second kernel adds the shares up, always in the same order.
"""

import triton
import triton.language as tl


@triton.jit
def weight_gradient_shares(
    gradient,
    x,
    shares,
    places,
    in_height,
    in_width,
    out_height,
    out_width,
    IN: tl.constexpr,
    OUT: tl.constexpr,
    KERNEL: tl.constexpr,
    STRIDE: tl.constexpr,
    PADDING: tl.constexpr,
    COLUMNS: tl.constexpr,
    PLACES: tl.constexpr,
):
    """What every so many blocks of places add to the gradient of some columns of taps.

    A place is a row of x and a column of y. What columns of taps meet there is side by side in x,
    and is read once for the rows of y, up to three, that it belongs to.

    Program (s, g) leaves shares[s, g], [KERNEL, COLUMNS * IN, OUT] in float32: for each row
    of taps the input channels of COLUMNS taps side by side, from g * COLUMNS on.
    """
    group = tl.program_id(1)
    outs = tl.arange(0, OUT)
    side = tl.arange(0, COLUMNS * IN)
    j = group * COLUMNS + side // IN
    ins = side % IN
    row_0 = tl.zeros([COLUMNS * IN, OUT], tl.float32)
    row_1 = tl.zeros([COLUMNS * IN, OUT], tl.float32)
    row_2 = tl.zeros([COLUMNS * IN, OUT], tl.float32)
    for block in range(tl.program_id(0), tl.cdiv(places, PLACES), tl.num_programs(0)):
        place = block * PLACES + tl.arange(0, PLACES)
        exists = place < places
        column = place % out_width
        row = place // out_width % in_height
        image = place // (out_width * in_height)
        met_column = column[:, None] * STRIDE - PADDING + j[None, :]
        met = exists[:, None] & (j < KERNEL)[None, :] & (met_column >= 0) & (met_column < in_width)
        at = ((image * in_height + row) * in_width)[:, None] + met_column
        inputs = tl.trans(tl.load(x + at * IN + ins[None, :], mask=met, other=0.0))
        for i in tl.static_range(KERNEL):
            out_row = row + PADDING - i
            met_row = exists & (out_row >= 0)
            if STRIDE > 1:
                met_row = met_row & (out_row % STRIDE == 0)
                out_row = out_row // STRIDE
            met_row = met_row & (out_row < out_height)
            pixel = (image * out_height + out_row) * out_width + column
            at = pixel[:, None] * OUT + outs[None, :]
            values = tl.load(gradient + at, mask=met_row[:, None], other=0.0)
            if i == 0:
                row_0 = tl.dot(inputs, values, row_0)
            elif i == 1:
                row_1 = tl.dot(inputs, values, row_1)
            else:
                row_2 = tl.dot(inputs, values, row_2)
    SIZE: tl.constexpr = COLUMNS * IN * OUT
    share = (tl.program_id(0) * tl.num_programs(1) + group) * KERNEL * SIZE
    at = shares + share + side[:, None] * OUT + outs[None, :]
    tl.store(at, row_0)
    if KERNEL == 3:
        tl.store(at + SIZE, row_1)
        tl.store(at + 2 * SIZE, row_2)


@triton.jit
def add_shares(
    shares,
    result,
    count,
    size,
    weight_out,
    weight_in,
    weight_row,
    weight_column,
    IN: tl.constexpr,
    OUT: tl.constexpr,
    KERNEL: tl.constexpr,
    COLUMNS: tl.constexpr,
    SHARES: tl.constexpr,
    VALUES: tl.constexpr,
):
    """The gradient of the weight from the shares, [count, size].

    Each program adds up VALUES of them that are side by side.
    """
    value = tl.program_id(0) * VALUES + tl.arange(0, VALUES)
    total = tl.zeros([VALUES], tl.float32)
    for start in range(0, count, SHARES):
        share = start + tl.arange(0, SHARES)[:, None]
        at = share * size + value[None, :]
        total += tl.sum(tl.load(shares + at, mask=share < count, other=0.0), axis=0)
    out = value % OUT
    side = value // OUT % (COLUMNS * IN)
    i = value // (OUT * COLUMNS * IN) % KERNEL
    j = value // (OUT * COLUMNS * IN * KERNEL) * COLUMNS + side // IN
    ins = side % IN
    at = out * weight_out + ins * weight_in + i * weight_row + j * weight_column
    tl.store(result + at, total, mask=j < KERNEL)
