"""Batch norm in training with what follows it, a sum and a ReLU, as Triton kernels.

Maps are bfloat16 or another format in channels-last order, matrices [pixels, C]; all else is
float32. The programs of
a kernel each leave their part of a sum over pixels, and those of the next kernel each add the parts
up, always in the same order.

Whether there is a shortcut and a ReLU are numbers, 0 or 1, and no constants of the compiler, so
that there are fewer kernels to compile: a load that is masked out costs next to nothing. What is
not there may be any pointer.
"""

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["with_shortcut", "relu"])
def normalise(
    y,
    shortcut,
    out,
    counts,
    means,
    squares,
    parts,
    weight,
    bias,
    saved,
    running_mean,
    running_var,
    batches,
    momentum,
    eps,
    pixels,
    with_shortcut,
    relu,
    C: tl.constexpr,
    PARTS: tl.constexpr,
    PIXELS: tl.constexpr,
):
    """out = relu(batch_norm(y) + shortcut), from the parts that ``convolve`` has left.

    The first program leaves mean and inverse deviation, saved [2, C], and moves the layer's running
    statistics.
    """
    program = tl.program_id(0)
    channels = tl.arange(0, C)
    near = tl.load(means + channels)  # any value near the mean: no digits are lost
    first = tl.zeros([C], tl.float32)
    second = tl.zeros([C], tl.float32)
    for start in range(0, parts, PARTS):
        part = start + tl.arange(0, PARTS)
        there = part < parts
        count = tl.load(counts + part, mask=there, other=0.0)[:, None]
        place = part[:, None] * C + channels[None, :]
        apart = tl.load(means + place, mask=there[:, None], other=0.0) - near[None, :]
        square = tl.load(squares + place, mask=there[:, None], other=0.0)
        first += tl.sum(count * apart, axis=0)
        second += tl.sum(square + count * apart * apart, axis=0)
    first = first / pixels
    mean = near + first
    variance = second / pixels - first * first
    inverse = 1.0 / tl.sqrt(variance + eps)
    if program == 0:
        tl.store(saved + channels, mean)
        tl.store(saved + C + channels, inverse)
        was = tl.load(running_mean + channels)
        tl.store(running_mean + channels, was + momentum * (mean - was))
        was = tl.load(running_var + channels)
        unbiased = variance * (pixels / (pixels - 1.0))
        tl.store(running_var + channels, was + momentum * (unbiased - was))
        tl.store(batches, tl.load(batches) + 1)
    scale = tl.load(weight + channels) * inverse
    shift = tl.load(bias + channels) - mean * scale
    floor = tl.where(relu == 1, 0.0, float("-inf"))
    for block in range(program, tl.cdiv(pixels, PIXELS), tl.num_programs(0)):
        pixel = block * PIXELS + tl.arange(0, PIXELS)
        exists = (pixel < pixels)[:, None]
        at = pixel[:, None] * C + channels[None, :]
        value = tl.load(y + at, mask=exists, other=0.0).to(tl.float32)
        value = value * scale[None, :] + shift[None, :]
        added = tl.load(shortcut + at, mask=pixel[:, None] < pixels * with_shortcut, other=0.0)
        value += added.to(tl.float32)
        value = tl.where(value <= floor, floor, value)  # what is no number stays
        tl.store(out + at, value.to(out.dtype.element_ty), mask=exists)


@triton.jit(do_not_specialize=["relu"])
def gradient_sums(
    gradient,
    out,
    y,
    saved,
    sums,
    pixels,
    relu,
    C: tl.constexpr,
    PIXELS: tl.constexpr,
):
    """Sums over pixels of the gradient of batch norm's output, and of that times its input.

    That input is counted normalised. Each program leaves sums[program], [2, C].
    """
    program = tl.program_id(0)
    channels = tl.arange(0, C)
    mean = tl.load(saved + channels)
    inverse = tl.load(saved + C + channels)
    plain = tl.zeros([C], tl.float32)
    product = tl.zeros([C], tl.float32)
    for block in range(program, tl.cdiv(pixels, PIXELS), tl.num_programs(0)):
        pixel = block * PIXELS + tl.arange(0, PIXELS)
        exists = (pixel < pixels)[:, None]
        at = pixel[:, None] * C + channels[None, :]
        slope = tl.load(gradient + at, mask=exists, other=0.0).to(tl.float32)
        passed = tl.load(out + at, mask=pixel[:, None] < pixels * relu, other=1.0)
        slope = tl.where(passed <= 0, 0.0, slope)
        value = tl.load(y + at, mask=exists, other=0.0).to(tl.float32)
        plain += tl.sum(slope, axis=0)
        product += tl.sum(slope * (value - mean[None, :]), axis=0)
    tl.store(sums + program * 2 * C + channels, plain)
    tl.store(sums + program * 2 * C + C + channels, product * inverse)


@triton.jit(do_not_specialize=["with_shortcut", "relu"])
def normalise_back(
    gradient,
    out,
    y,
    saved,
    weight,
    sums,
    parts,
    y_gradient,
    shortcut_gradient,
    weight_gradient,
    bias_gradient,
    pixels,
    with_shortcut,
    relu,
    C: tl.constexpr,
    PARTS: tl.constexpr,
    PIXELS: tl.constexpr,
):
    """The gradients of y, of the shortcut and, by the first program, of batch norm's weights."""
    program = tl.program_id(0)
    channels = tl.arange(0, C)
    plain = tl.zeros([C], tl.float32)
    product = tl.zeros([C], tl.float32)
    for start in range(0, parts, PARTS):
        part = start + tl.arange(0, PARTS)[:, None]
        place = part * 2 * C + channels[None, :]
        plain += tl.sum(tl.load(sums + place, mask=part < parts, other=0.0), axis=0)
        product += tl.sum(tl.load(sums + C + place, mask=part < parts, other=0.0), axis=0)
    if program == 0:
        tl.store(weight_gradient + channels, product)
        tl.store(bias_gradient + channels, plain)
    mean = tl.load(saved + channels)
    inverse = tl.load(saved + C + channels)
    scale = tl.load(weight + channels) * inverse
    plain = plain / pixels
    product = product / pixels * inverse
    for block in range(program, tl.cdiv(pixels, PIXELS), tl.num_programs(0)):
        pixel = block * PIXELS + tl.arange(0, PIXELS)
        exists = (pixel < pixels)[:, None]
        at = pixel[:, None] * C + channels[None, :]
        slope = tl.load(gradient + at, mask=exists, other=0.0)
        passed = tl.load(out + at, mask=pixel[:, None] < pixels * relu, other=1.0)
        slope = tl.where(passed <= 0, 0.0, slope)
        tl.store(shortcut_gradient + at, slope, mask=pixel[:, None] < pixels * with_shortcut)
        value = tl.load(y + at, mask=exists, other=0.0).to(tl.float32)
        centred = slope.to(tl.float32) - plain[None, :]
        change = centred - (value - mean[None, :]) * product[None, :]
        change = (change * scale[None, :]).to(y_gradient.dtype.element_ty)
        tl.store(y_gradient + at, change, mask=exists)
