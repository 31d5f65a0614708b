"""Methods and plain networks judged on a split: every figure in one pass, in full precision."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kdzoo.backbones.logits import logits_of
from kdzoo.methods.base import Method
from kdzoo.peers.calls import mode
from kdzoo.training.calibration import CalibrationError
from kdzoo.training.cuda_graph import GraphedWork, Inputs, Recorder
from kdzoo.training.folding import ConvBatchNorm, folded
from kdzoo.training.metrics import Accuracy, Diversity
from kdzoo.training.tally import JUDGED

Batches = Iterable[tuple[Tensor, Tensor]]
"""Samples and their labels."""


class Evaluator:
    """Judges a method's predictions, as often as it is called, as the method then is.

    Every time in the same memory: so where there is a recorder, the forward pass of a batch and
    what is added to the sums are recorded once for all evaluations, and replayed. Batches of
    another shape than the first, such as a short last one, are carried out as they are.

    Args:
        method: it is left as it was.
        foldable: the batch norms to do without, as :func:`find_foldable` finds them.
        recorder: of the method's device; None where nothing is to be recorded.
        say: told, in a line, why nothing could be.
    """

    def __init__(
        self,
        method: Method,
        foldable: Sequence[ConvBatchNorm] = (),
        recorder: Recorder | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._method = method
        self._foldable = foldable
        self._judges: _Judges | None = None
        self._inputs = Inputs()
        self._graphed: GraphedWork | None = None
        if recorder is not None:
            self._graphed = GraphedWork("evaluation", self._work, method, recorder, say)

    @torch.inference_mode()
    def __call__(self, batches: Batches) -> dict[str, Any]:
        """Judge the method on some batches.

        Returns:
            ``student`` and, where there is one, ``ensemble``: top1, top5 (percent, of more than 5
            classes), nll (nats) and ece (percent, 15 bins); ``peers``: a list of top1, top5, nll;
            ``diversity`` of the peers; both without leaders, as OKDDip reports them. With several
            processes, over what all were given.
        """
        if self._judges is not None:
            self._judges.reset()
        count = 0
        with mode(self._method, training=False), folded(self._foldable):
            if self._graphed is not None:
                self._graphed.look()
            for count, (x, y) in enumerate(batches, 1):  # noqa: B007
                if self._graphed is not None and self._inputs.take(x, y):
                    self._graphed()
                else:
                    self._judge(x, y)
        if count == 0 or self._judges is None:
            raise ValueError("There are no samples to evaluate on.")
        return self._judges.compute()

    def _work(self) -> None:
        self._judge(*self._inputs.batch)

    def _judge(self, x: Tensor, y: Tensor) -> None:
        predictions = self._method.evaluate(x)
        peers = predictions["peers"]  # a leader only learns: it is no peer to differ from
        predictions["peers"] = peers[: len(peers) - self._method.leaders]
        if self._judges is None:
            self._judges = _Judges(predictions)
        self._judges.update(predictions, y)


@torch.inference_mode()
def evaluate_network(
    network: nn.Module,
    batches: Batches,
    classes: int,
    foldable: Sequence[ConvBatchNorm] = (),
) -> dict[str, float]:
    """Judge a plain network in eval mode, as :class:`Evaluator` does a method's student.

    Args:
        network: returns logits [B, K], or what they are found in.
        batches: the samples and their labels.
        classes: K.
        foldable: as in :class:`Evaluator`.

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

    def reset(self) -> None:
        self.accuracy.reset()
        self.calibration.reset()
        if self.diversity is not None:
            self.diversity.reset()

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
