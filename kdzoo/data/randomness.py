"""Random numbers of the data: a stream for each purpose, fixed by the seed and the epoch alone.

numpy draws them, on the host and away from every global state, so that they are the same on every
device, on any number of processes, and after a resume.
"""

import zlib

import numpy as np


def stream(seed: int, purpose: str, epoch: int = 0) -> np.random.Generator:
    """The generator for one purpose; drawing from one stream moves no other."""
    return np.random.default_rng([seed, zlib.crc32(purpose.encode()), epoch])
