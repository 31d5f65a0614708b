"""How far a network's confidence is from its accuracy."""

from dataclasses import dataclass

import torch
from accelerate.utils import reduce
from torch import Tensor

BINS = 15


@dataclass(frozen=True)
class Bin:
    """The samples of which a network is about as sure: a point of the reliability diagram.

    Attributes:
        low: the least confidence of the bin, in [0, 1]; that of the last one is 1.
        high: where the next bin begins.
        images: how many there are.
        accuracy: the share of them that is right, in [0, 1]; None where there are none.
        confidence: their mean confidence, likewise.
    """

    low: float
    high: float
    images: int
    accuracy: float | None
    confidence: float | None


class CalibrationError:
    """The expected calibration error (Guo et al., ICML 2017) of M networks.

    Samples are put into bins of equal width by their confidence, the highest probability; the error
    is the mean over all samples of the distance between their bin's accuracy and mean confidence. A
    confidence on an edge belongs to the bin above, so that of 1 has a bin of its own.

    ``compute`` adds up what all processes of a distributed run have seen.

    Args:
        networks: M, how many networks are judged at once.
        device: where the sums live.
    """

    def __init__(self, networks: int, device: torch.device) -> None:
        precise = torch.float32 if device.type == "mps" else torch.float64
        self.edges = torch.linspace(0, 1, BINS + 1, device=device)
        self.counts = torch.zeros(networks, BINS + 1, device=device, dtype=precise)
        self.hits = torch.zeros_like(self.counts)
        self.confidences = torch.zeros_like(self.counts)

    def reset(self) -> None:
        """Begin anew, in place."""
        for sums in (self.counts, self.hits, self.confidences):
            sums.zero_()

    def update(self, logits: Tensor, y: Tensor) -> None:
        """Add a batch: logits [M, B, K] and labels [B]."""
        confidence, guess = logits.float().softmax(dim=-1).max(dim=-1)
        bins = torch.bucketize(confidence, self.edges, right=True) - 1
        hits = (guess == y).to(self.counts.dtype)
        self.counts.scatter_add_(1, bins, torch.ones_like(hits))
        self.hits.scatter_add_(1, bins, hits)
        self.confidences.scatter_add_(1, bins, confidence.to(self.counts.dtype))

    def compute(self) -> list[float]:
        """For each network, in percent."""
        counts, hits, confidences = self._sums()
        return (100 * (hits - confidences).abs().sum(dim=1) / counts.sum(dim=1)).tolist()

    def bins(self) -> list[tuple[Bin, ...]]:
        """The reliability diagram of each network, from the least sure bin to that of 1."""
        edges = [*(at / BINS for at in range(BINS + 1)), 1.0]
        return [
            tuple(
                Bin(
                    edges[at],
                    edges[at + 1],
                    int(count),
                    hit / count if count else None,
                    confidence / count if count else None,
                )
                for at, (count, hit, confidence) in enumerate(row)
            )
            for row in torch.stack(self._sums(), dim=-1).tolist()
        ]

    def _sums(self) -> tuple[Tensor, Tensor, Tensor]:
        """Over all processes: of each network and bin, samples, right ones and confidence."""
        counts, hits, confidences = (
            reduce(sums, reduction="sum").cpu().double()
            for sums in (self.counts, self.hits, self.confidences)
        )
        return counts, hits, confidences
