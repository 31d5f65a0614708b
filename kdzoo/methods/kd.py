"""KD, offline knowledge distillation: a teacher trained before teaches one student."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from kdzoo.methods.base import Batch, MethodOutputs
from kdzoo.methods.feature_terms import FeatureTerms, with_teacher
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
        return [own for term in self.config.feature_terms for own, _ in term.compared]

    @property
    def teacher_stages(self) -> Sequence[StageKey] | None:
        terms = self.config.feature_terms
        return [theirs for term in terms for _, theirs in term.compared] if terms else None

    def build_heads(self, example: PeerOutputs) -> None:
        super().build_heads(example)
        shares = torch.tensor(self.config.teacher_weights or [1.0] * len(self.teachers))
        self.register_buffer("shares", shares / shares.sum(), persistent=False)
        self.known: Tensor | None = None  # no buffer: it is no part of the method's state
        if self.config.feature_terms:
            size = self.peers.backbones[0].input_size
            seen = self.watched_teacher.see(probe_batch(self.peers, size, samples=2))
            both = with_teacher(self.aggregate(example), seen)
            self.feature_terms = FeatureTerms(self.config.feature_terms, both)

    def begin(self, samples: int, epochs: float) -> None:
        if self.config.feature_terms:
            self.feature_terms.begin(samples)

    def check_one_sample(self, x: Tensor | None = None) -> None:
        if self.config.feature_terms:
            self.feature_terms.check_one_sample()
        super().check_one_sample(x)

    def outputs(self, x: Tensor) -> MethodOutputs:
        if self.config.feature_terms:
            return with_teacher(super().outputs(x), self.watched_teacher.see(x))
        if self.known is not None:
            return super().outputs(x)
        return replace(super().outputs(x), teachers=self.teach(x))

    def teach(self, x: Tensor) -> Tensor:
        """What the teachers say of a batch [B, C, H, W]: logits [M, B, K]."""
        return torch.stack([teacher(x) for teacher in self.teachers])

    def recall(self, samples: int, device: torch.device) -> Tensor:
        """From now on, look up what the teachers say, and do not run them.

        Args:
            samples: N, of the training set.
            device: of the method.

        Returns:
            where it is looked up, by each sample's index: float32 [M, N, K], not numbers yet, to be
            filled in place whenever the views of the samples are others.
        """
        shape = len(self.teachers), samples, self.peers.backbones[0].num_classes
        self.known = torch.full(shape, torch.nan, device=device)
        return self.known

    def loss(self, outputs: MethodOutputs, batch: Batch) -> dict[str, Tensor]:
        z, alpha = outputs.logits, self.config.alpha
        said = outputs.teachers
        if self.known is not None:
            said = self.known.index_select(1, batch.need_index()).to(z.dtype)
        terms = {
            "ce": (1 - alpha) * cross_entropy(z, batch.y),
            "kd": alpha * self.divergence.from_mean(said, self.shares, z, batch.y),
        }
        if self.config.feature_terms:
            terms |= self.feature_terms(outputs, batch)
        return terms
