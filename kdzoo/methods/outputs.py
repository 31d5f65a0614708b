"""What a method makes of a batch: the outputs its loss is made from, and the result of a step."""

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from kdzoo.peers.outputs import PeerOutputs


@dataclass(frozen=True, kw_only=True)
class MethodOutputs(PeerOutputs):
    """What a method makes of its peers' outputs: losses and predictions come from these alone.

    Attributes:
        targets: [P, B, K], the target logits of each peer.
        ensemble: [B, K], the peers' combined prediction.
        teachers: [M, B, K], logits of M networks that teach and are not trained: a teacher trained
            before, or averaged peers. M is 0 where there are none.
        teacher_embeddings: [B, D] of each of those, what its classifier is given, where the loss
            looks at them; else none.
    """

    targets: Tensor
    ensemble: Tensor
    teachers: Tensor
    teacher_embeddings: tuple[Tensor, ...] = ()

    @classmethod
    def of(cls, outputs: PeerOutputs, targets: Tensor, ensemble: Tensor) -> "MethodOutputs":
        """The peers' outputs with the targets and the ensemble made of them, and no teachers."""
        return cls(
            outputs.logits,
            outputs.embeddings,
            outputs.features,
            outputs.trunk,
            outputs.stages,
            targets=targets,
            ensemble=ensemble,
            teachers=outputs.logits[:0],
        )


class StepResult(NamedTuple):
    """What one step of a method gives.

    Attributes:
        terms: the named terms of the loss, scalars; their sum is the loss.
        predictions: detached logits, as :meth:`Method.predict` names them.
    """

    terms: dict[str, Tensor]
    predictions: dict[str, Tensor]
