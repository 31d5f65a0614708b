"""How far a network's confidence is from its accuracy."""

import torch
from accelerate.utils import reduce
from torch import Tensor

BINS = 15


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
        self.gaps = torch.zeros_like(self.counts)

    def update(self, logits: Tensor, y: Tensor) -> None:
        """Add a batch: logits [M, B, K] and labels [B]."""
        confidence, guess = logits.float().softmax(dim=-1).max(dim=-1)
        bins = torch.bucketize(confidence, self.edges, right=True) - 1
        gap = (guess == y).to(self.gaps.dtype) - confidence
        self.counts.scatter_add_(1, bins, torch.ones_like(gap))
        self.gaps.scatter_add_(1, bins, gap)

    def compute(self) -> list[float]:
        """For each network, in percent."""
        counts, gaps = (reduce(sums).cpu().double() for sums in (self.counts, self.gaps))
        return (100 * gaps.abs().sum(dim=1) / counts.sum(dim=1)).tolist()
