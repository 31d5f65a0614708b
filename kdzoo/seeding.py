"""Seeds: every random draw of a run has one of its own, so none depends on what came before."""

import hashlib
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor, device


def derive(seed: int, purpose: str, *parts: object) -> int:
    """A seed for one purpose, e.g. ``derive(seed, "flip", epoch)``: 63 bits, well mixed."""
    text = "/".join(map(str, (seed, purpose, *parts)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def stream(seed: int, purpose: str, *parts: object) -> np.random.Generator:
    """Numpy's generator for one purpose; drawing from one stream moves no other."""
    return np.random.default_rng(derive(seed, purpose, *parts))


# The rest of this module serves those who do without torch.


def seed_epoch(seed: int, epoch: int, rank: int, start: int = 0) -> None:
    """Seed what draws from torch's global state (dropout, drop-path) for one epoch.

    Args:
        seed: the run's.
        epoch: counted from 0.
        rank: of this process.
        start: steps of the epoch that were taken by other processes, whose state nobody has.
    """
    import torch

    torch.manual_seed(derive(seed, "epoch", epoch, rank, *([start] if start else [])))


def random_state(device: "device") -> dict[str, "Tensor"]:
    """Torch's global state: that of the CPU, and that of the device by its type."""
    import torch

    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        state["mps"] = torch.mps.get_rng_state()
    return state


def set_random_state(state: Mapping[str, "Tensor"], device: "device") -> None:
    """Take up torch's global state; a device of another type than it was saved on keeps its own."""
    import torch

    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
    elif device.type == "mps" and "mps" in state:
        torch.mps.set_rng_state(state["mps"])


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Let Python, numpy and torch (on the CPU) draw from a seed, and then from where they were."""
    import torch

    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])
