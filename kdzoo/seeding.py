"""Seeds: every random draw of a run has one of its own, so none depends on what came before."""

import hashlib
import zlib

import numpy as np
import torch


def derive(seed: int, *parts: object) -> int:
    """A seed for one purpose, e.g. ``derive(seed, "dropout", epoch)``: 63 bits, well mixed."""
    text = "/".join(map(str, (seed, *parts)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def seed_epoch(seed: int, epoch: int, rank: int) -> None:
    """Seed what draws from torch's global state (dropout, drop-path) for one epoch."""
    torch.manual_seed(derive(seed, "epoch", epoch, rank))


def stream(seed: int, purpose: str, epoch: int = 0) -> np.random.Generator:
    """The generator for one purpose; drawing from one stream moves no other."""
    return np.random.default_rng([seed, zlib.crc32(purpose.encode()), epoch])
