"""What several kernels do with a block of output pixels."""

import triton
import triton.language as tl


@triton.jit
def merge(count, mean, square, values, exists, new):
    """Number, means and sums of squared deviations of what was there before and of a block.

    Chan et al., "Algorithms for computing the sample variance", 1983, which loses no digits where a
    mean is large.

    Returns:
        count, mean [OUT] and square [OUT] of both.
    """
    values = values.to(tl.float32)  # zero where there is no pixel
    new_mean = tl.sum(values, axis=0) / new
    away = tl.where(exists[:, None], values - new_mean[None, :], 0.0)
    both = count + new
    apart = new_mean - mean
    square += tl.sum(away * away, axis=0) + apart * apart * (count * new / both)
    mean += apart * (new / both)
    return both, mean, square


@triton.jit
def gather(
    x,
    pixel,
    exists,
    seen,
    in_height,
    in_width,
    out_height,
    out_width,
    IN: tl.constexpr,
    KERNEL: tl.constexpr,
    STRIDE: tl.constexpr,
    PADDING: tl.constexpr,
):
    """What output pixels see of x: for each the values ``seen``, by tap and channel, else zero."""
    i = seen // (KERNEL * IN)
    j = seen // IN % KERNEL
    column = (pixel % out_width * STRIDE - PADDING)[:, None] + j[None, :]
    row = (pixel // out_width % out_height * STRIDE - PADDING)[:, None] + i[None, :]
    met = exists[:, None] & (i < KERNEL)[None, :] & (row >= 0) & (row < in_height)
    met = met & (column >= 0) & (column < in_width)
    image = pixel // (out_width * out_height)
    place = ((image * in_height)[:, None] + row) * in_width + column
    return tl.load(x + place * IN + (seen % IN)[None, :], mask=met, other=0.0)
