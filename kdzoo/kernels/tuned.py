"""How the kernels divide their work, as measured fastest on an H100.

Most of it is a table for numbers of channels: of those that are computed.
"""

from typing import NamedTuple

MOST = 528
"""Programs of a kernel that runs over all pixels: four for each processor of a large GPU."""
VALUES_OF_MAPS = 4096
"""That a program of a kernel takes at a time which waits for nothing but memory."""
PARTS = 8192
"""Of sums, times channels: so many are added up at a time, by every program of the next kernel."""


class Blocks(NamedTuple):
    """Of the kernels that convolve blocks of pixels, and images.

    Attributes:
        pixels: that a program takes at a time.
        warps: of a program.
    """

    pixels: int
    warps: int


CONVOLVE = {16: Blocks(128, 4), 32: Blocks(128, 4), 64: Blocks(128, 8)}
CONVOLVE_BACK = {16: Blocks(128, 4), 32: Blocks(128, 4), 64: Blocks(128, 8)}
IMAGE = Blocks(128, 4)


class Rows(NamedTuple):
    """Of the kernel that convolves by rows.

    Attributes:
        columns: that a program goes down.
        channels: that it computes.
        warps: of a program.
        stages: rows that are read at a time, the ones to come included.
        enough: programs; with so many, each goes down as many rows as it can.
    """

    columns: int
    channels: int
    warps: int
    stages: int
    enough: int


BY_ROWS = {16: Rows(64, 16, 4, 3, 512), 32: Rows(64, 32, 4, 3, 256), 64: Rows(64, 32, 4, 2, 256)}
BY_ROWS_BACK = {16: Rows(64, 16, 4, 3, 512), 32: Rows(128, 32, 8, 3, 256)}
SHARED = 227 * 1024
"""Bytes of memory for a program of these, as an H100 has it; most GPUs for graphics have half."""
FEWEST_ROWS = 4
"""Where a program would go down fewer, the other kernels are faster."""


class Shares(NamedTuple):
    """Of the gradient of the weight, for input or output channels, the more of both.

    Attributes:
        places: that a program takes at a time.
        stages: such blocks that are read at a time, the ones to come included.
        enough: programs.
    """

    places: int
    stages: int
    enough: int


SHARES = {16: Shares(128, 3, 264), 32: Shares(64, 3, 132), 64: Shares(64, 3, 132)}
IMAGE_SHARES = Shares(128, 1, 264)
MOST_SUMS = 4096
"""That a program keeps for a row of taps."""
ADDED = 128
"""Shares that are added up at a time."""
VALUES = 32
"""That one program adds up."""
