"""Seeds: every random draw of a run has one of its own, so none depends on what came before."""

import hashlib

import numpy as np


def derive(seed: int, purpose: str, *parts: object) -> int:
    """A seed for one purpose, e.g. ``derive(seed, "flip", epoch)``: 63 bits, well mixed."""
    text = "/".join(map(str, (seed, purpose, *parts)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def stream(seed: int, purpose: str, *parts: object) -> np.random.Generator:
    """Numpy's generator for one purpose; drawing from one stream moves no other."""
    return np.random.default_rng(derive(seed, purpose, *parts))


def seed_epoch(seed: int, epoch: int, rank: int) -> None:
    """Seed what draws from torch's global state (dropout, drop-path) for one epoch."""
    import torch  # the rest of this module serves those who do without it

    torch.manual_seed(derive(seed, "epoch", epoch, rank))
