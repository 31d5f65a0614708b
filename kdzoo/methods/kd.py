"""KD, offline knowledge distillation: a teacher trained before teaches one student."""

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdzoo import registry
from kdzoo.feature_terms.settings import FeatureTermConfig
from kdzoo.methods.base import Batch, MethodOutputs
from kdzoo.methods.losses import cross_entropy
from kdzoo.methods.offline import OfflineMethod
from kdzoo.methods.settings import KDConfig
from kdzoo.peers.calls import probe_batch
from kdzoo.peers.outputs import PeerOutputs
from kdzoo.peers.watched import StageKey
from kdzoo.registry import methods


@methods.register("kd")
class KD(OfflineMethod):
    """Offline distillation: a teacher trained before teaches one student.

    ``(1 - alpha) CE(z, y) + alpha KL(teacher || student)``. Of several teachers, it is the mean of
    their softened probabilities that teaches.
    """

    Config = KDConfig
    paper = (
        "Hinton, Vinyals, Dean. Distilling the Knowledge in a Neural Network. 2015. "
        "arXiv:1503.02531"
    )
    shares: Tensor

    @property
    def stages(self) -> Sequence[StageKey]:
        """The student's, each with the teacher's beside it where the loss finds them."""
        return [key for term in self.config.feature_terms for key in term.stages]

    @property
    def teacher_stages(self) -> Sequence[StageKey]:
        return [key for term in self.config.feature_terms for key in _theirs(term)]

    def build_heads(self, example: PeerOutputs) -> None:
        super().build_heads(example)
        shares = torch.tensor(self.config.teacher_weights or [1.0] * len(self.teachers))
        self.register_buffer("shares", shares / shares.sum(), persistent=False)
        self.feature_terms = nn.ModuleDict()
        if self.config.feature_terms:
            size = self.peers.backbones[0].input_size
            _, maps = self.watched_teacher.see(probe_batch(self.peers, size, samples=2))
        for term in self.config.feature_terms:
            own = [example.stages[key][0] for key in term.stages]
            part = registry.feature_terms.get(term.name)
            self.feature_terms[term.name] = part(term, own, [maps[k] for k in _theirs(term)])

    def outputs(self, x: Tensor) -> MethodOutputs:
        if not self.feature_terms:
            teachers = torch.stack([teacher(x) for teacher in self.teachers])
            return replace(super().outputs(x), teachers=teachers)
        logits, maps = self.watched_teacher.see(x)
        said = super().outputs(x)
        stages = dict(said.stages)
        stages.update((_of_teacher(key), (seen,)) for key, seen in maps.items())
        return replace(said, teachers=logits.unsqueeze(0), stages=stages)

    def loss(self, outputs: MethodOutputs, batch: Batch) -> dict[str, Tensor]:
        z, alpha = outputs.logits, self.config.alpha
        teacher = mean_teacher(outputs.teachers, self.shares, self.config.temperature)
        terms = {
            "ce": (1 - alpha) * cross_entropy(z, batch.y),
            "kd": alpha * self.divergence(teacher.unsqueeze(0), z, batch.y),
        }
        for term in self.config.feature_terms:
            own = [outputs.stages[key][0].to(z.dtype) for key in term.stages]
            theirs = [outputs.stages[_of_teacher(key)][0].to(z.dtype) for key in _theirs(term)]
            terms[term.name] = term.weight * self.feature_terms[term.name](own, theirs)
        return terms


def _theirs(term: FeatureTermConfig) -> Sequence[StageKey]:
    return term.stages if term.teacher_stages is None else term.teacher_stages


def _of_teacher(key: StageKey) -> str:
    """What a stage of the teacher is called among the maps that the loss is given."""
    return f"teacher {key!r}"


def mean_teacher(logits: Tensor, shares: Tensor, temperature: float) -> Tensor:
    """Logits [B, K] whose softmax at T is the weighted mean of several teachers' softmax at T.

    The arithmetic mean of the predictions, one of the two that Hinton et al. (2015) name.

    Args:
        logits: of the teachers, [M, B, K].
        shares: of each in the mean, [M]; they add up to 1.
        temperature: T.
    """
    softened = F.log_softmax(logits / temperature, dim=-1)
    return temperature * (softened + shares.log()[:, None, None]).logsumexp(dim=0)
