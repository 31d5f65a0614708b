"""What is measured, besides calibration: accuracy, and how much the peers differ."""

import torch
import torch.nn.functional as F
from accelerate.utils import reduce
from torch import Tensor

GRAIN = 2.0**-32
"""What each sample's nll is rounded to. Sums of multiples of it, up to two million nats, are exact
in double precision, and so do not depend on how the samples are shared out."""


class Accuracy:
    """Sums of top-1 and top-5 hits and of the negative log-likelihood, kept on the device.

    ``compute`` adds up what all processes of a distributed run have seen.

    Args:
        networks: M, how many networks are judged at once.
        device: where the sums live.
    """

    def __init__(self, networks: int, device: torch.device) -> None:
        self.sums = torch.zeros(3, networks, device=device, dtype=_precise(device))
        self.count = torch.zeros((), device=device)
        self.classes = 0

    def reset(self) -> None:
        """Begin anew, in place."""
        self.sums.zero_()
        self.count.zero_()

    def update(self, logits: Tensor, y: Tensor) -> None:
        """Add a batch: logits [M, B, K] and labels [B]."""
        logits = logits.float()
        M, B, K = logits.shape
        self.classes = K
        ranked = logits.topk(min(5, K), dim=-1).indices == y[None, :, None]
        nll = F.cross_entropy(logits.flatten(0, 1), y.repeat(M), reduction="none")
        self.sums += torch.stack(
            [
                ranked[..., 0].sum(dim=1),
                ranked.sum(dim=(1, 2)),
                GRAIN * (nll.view(M, B).to(self.sums.dtype) / GRAIN).round().sum(dim=1),
            ]
        )
        self.count += B

    def compute(self) -> list[dict[str, float]]:
        """For each network: ``top1`` and ``top5`` in percent, ``nll`` in nats.

        There is no ``top5`` where there are no more than 5 classes: it would be 100 % always.
        """
        means = _means(self.sums, self.count).T.tolist()
        return [
            {
                "top1": 100 * top1,
                **({"top5": 100 * top5} if self.classes > 5 else {}),
                "nll": nll,
            }
            for top1, top5, nll in means
        ]


class Diversity:
    """How much P peers differ, as means over pairs of peers and samples.

    ``disagreement``: the share of samples that two peers classify differently, in percent.
    ``l2``: the L2 distance of their probabilities, as OKDDip reports it (Chen et al., AAAI 2020).
    """

    def __init__(self, peers: int, device: torch.device) -> None:
        self.first, self.second = torch.triu_indices(peers, peers, offset=1, device=device)
        self.sums = torch.zeros(2, device=device, dtype=_precise(device))
        self.count = torch.zeros((), device=device)

    def reset(self) -> None:
        """Begin anew, in place."""
        self.sums.zero_()
        self.count.zero_()

    def update(self, logits: Tensor) -> None:
        """Add a batch of the peers' logits [P, B, K]."""
        probabilities = logits.float().softmax(dim=-1)
        guesses = logits.argmax(dim=-1)
        differ = guesses[self.first] != guesses[self.second]
        distance = (probabilities[self.first] - probabilities[self.second]).norm(dim=-1)
        self.sums += torch.stack([differ.float().sum(), distance.sum(dtype=self.sums.dtype)])
        self.count += differ.numel()

    def compute(self) -> dict[str, float]:
        disagreement, l2 = _means(self.sums, self.count).tolist()
        return {"disagreement": 100 * disagreement, "l2": l2}


def _precise(device: torch.device) -> torch.dtype:
    """Of sums that are to come out the same however the samples are shared out."""
    return torch.float32 if device.type == "mps" else torch.float64


def _means(sums: Tensor, count: Tensor) -> Tensor:
    """Over all processes, in double precision: 97.5 % is to read as 97.5."""
    sums, count = (reduce(one, reduction="sum").cpu().double() for one in (sums, count))
    return sums / count
