"""Draws of samples of other classes, to contrast a batch with."""

import torch
from torch import Tensor, nn


class Negatives(nn.Module):
    """Draws among the samples of other classes, the same wherever and whenever a step is done.

    Each draw is a hash of a seed, the number of the step, the sample's place in the training set
    and the number of the draw, all of which are in every checkpoint or in the batch: no generator
    has a state that processes or a resumed run would have to share, and nothing waits for the
    device.

    Args:
        count: M, how many samples are drawn for each of a batch, with replacement.
    """

    seed: Tensor
    step: Tensor

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count
        self.register_buffer("seed", torch.randint(2**31, ()))
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def draw(self, index: Tensor, labels: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Samples of other classes, for each of a batch.

        Args:
            index: [B], the place of each in the training set.
            labels: [B], of each, counted from 1.
            classes: [N], those of the training set, counted from 1; 0 where it is not known yet.
                These are not drawn.

        Returns:
            The places [B, M] of what was drawn in the training set, and whether there was anything
            to draw [B]; where there was not, the places mean nothing.
        """
        ordered, places = classes.sort(stable=True)
        unknown = (classes == 0).sum()
        first = torch.searchsorted(ordered, labels)
        own = torch.searchsorted(ordered, labels, right=True) - first
        others = len(classes) - unknown - own
        drawn = torch.arange(self.count, device=index.device)
        h = mixed(mixed(mixed(self.seed + self.step) ^ index)[:, None] ^ drawn)
        rank = unknown + (h * others[:, None] >> 32)  # below the number of others
        rank = rank + (rank >= first[:, None]) * own[:, None]
        return places[rank.clamp(max=len(classes) - 1)], others > 0

    def advance(self) -> None:
        """The step is done: the next one draws others."""
        self.step.add_(1)


def mixed(x: Tensor) -> Tensor:
    """A hash in [0, 2^32) of each of ``x``, int64: two rounds of shift and multiplication.

    The factor is below 2^31, so that no product needs more than 63 bits.
    """
    x = x & 0xFFFFFFFF
    for _ in range(2):
        x = ((x >> 16) ^ x) * 0x45D9F3B & 0xFFFFFFFF
    return (x >> 16) ^ x
