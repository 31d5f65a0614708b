"""What is measured: accuracy, calibration, and how much the peers differ."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from accelerate.utils import reduce
from torch import Tensor, nn

from kdzoo.backbones.logits import logits_of
from kdzoo.methods.base import Method
from kdzoo.peers.calls import mode
from kdzoo.training.calibration import CalibrationError
from kdzoo.training.folding import ConvBatchNorm, folded
from kdzoo.training.tally import JUDGED

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


@torch.inference_mode()
def evaluate(
    method: Method,
    batches: Iterable[tuple[Tensor, Tensor]],
    foldable: Sequence[ConvBatchNorm] = (),
) -> dict[str, Any]:
    """Judge a method's predictions, in full precision.

    Args:
        method: it is left as it was.
        batches: the samples and their labels.
        foldable: the batch norms to do without, as :func:`find_foldable` finds them.

    Returns:
        ``student`` and, where there is one, ``ensemble``: top1, top5 (percent, of more than 5
        classes), nll (nats) and ece (percent, 15 bins); ``peers``: a list of top1, top5, nll;
        ``diversity`` of the peers; both without leaders, as OKDDip reports them. With several
        processes, over what all were given.
    """
    judges: _Judges | None = None
    with mode(method, training=False), folded(foldable):
        for x, y in batches:
            predictions = method.evaluate(x)
            peers = predictions["peers"]  # a leader only learns: it is no peer to differ from
            predictions["peers"] = peers[: len(peers) - method.leaders]
            if judges is None:
                judges = _Judges(predictions)
            judges.update(predictions, y)
    if judges is None:
        raise ValueError("There are no samples to evaluate on.")
    return judges.compute()


@torch.inference_mode()
def evaluate_network(
    network: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    classes: int,
    foldable: Sequence[ConvBatchNorm] = (),
) -> dict[str, float]:
    """Judge a plain network in eval mode, as :func:`evaluate` does a method's student.

    Args:
        network: returns logits [B, K], or what they are found in.
        batches: the samples and their labels.
        classes: K.
        foldable: as in :func:`evaluate`.

    Returns:
        top1, top5 (percent, of more than 5 classes), nll (nats) and ece (percent).
    """
    judges: _Judges | None = None
    with folded(foldable):
        for x, y in batches:
            logits = logits_of(network(x), classes)
            predictions = {"student": logits, "peers": logits[None][:0]}
            if judges is None:
                judges = _Judges(predictions)
            judges.update(predictions, y)
    if judges is None:
        raise ValueError("There are no samples to evaluate on.")
    score: dict[str, float] = judges.compute()["student"]
    return score


class _Judges:
    """The metrics for one set of predictions."""

    def __init__(self, predictions: dict[str, Tensor]) -> None:
        peers = len(predictions["peers"])
        device = predictions["peers"].device
        self.single = [name for name in JUDGED if name in predictions]
        self.accuracy = Accuracy(len(self.single) + peers, device)
        self.calibration = CalibrationError(len(self.single), device)
        self.diversity = Diversity(peers, device) if peers > 1 else None

    def update(self, predictions: dict[str, Tensor], y: Tensor) -> None:
        single = torch.stack([predictions[name] for name in self.single])
        self.accuracy.update(torch.cat([single, predictions["peers"]]), y)
        self.calibration.update(single, y)
        if self.diversity is not None:
            self.diversity.update(predictions["peers"])

    def compute(self) -> dict[str, Any]:
        rows = self.accuracy.compute()
        eces = self.calibration.compute()
        report: dict[str, Any] = {
            name: row | {"ece": ece}
            for name, row, ece in zip(self.single, rows, eces, strict=False)
        }
        report["peers"] = rows[len(self.single) :]
        if self.diversity is not None:
            report["diversity"] = self.diversity.compute()
        return report
