"""KD, offline knowledge distillation: a teacher trained before teaches one student."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdzoo.backbones.backbone import Backbone
from kdzoo.errors import ConfigError, UserError
from kdzoo.methods.base import Batch, Method, MethodOutputs
from kdzoo.methods.feature_terms import FeatureTerms, with_teacher
from kdzoo.methods.losses import cross_entropy
from kdzoo.methods.settings import KDConfig
from kdzoo.methods.teachers import (
    Known,
    Teacher,
    check_backbone_is_for_one,
    find_teacher,
    network_text,
    teacher_content,
)
from kdzoo.methods.watched_teacher import WatchedTeacher
from kdzoo.peers.calls import probe_batch
from kdzoo.peers.group import PeerGroup
from kdzoo.peers.outputs import PeerOutputs
from kdzoo.peers.watched import StageKey
from kdzoo.registry import methods
from kdzoo.seeding import derive


@methods.register("kd")
class KD(Method):
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

    @classmethod
    def prerequisites(cls, config: KDConfig) -> dict[str, dict[str, Any]]:
        if config.teacher is not None:
            return {}
        settings: dict[str, Any] = {"method": {"name": "independent"}}
        if config.teacher_backbone is not None:
            settings["backbone"] = config.teacher_backbone.model_dump()
        return {"teacher": settings}

    @classmethod
    def contents(cls, config: KDConfig) -> dict[str, Any]:
        if config.teacher is None:
            return {}
        try:
            found = [
                teacher_content(one) if isinstance(one, str) else network_text(one)
                for one in config.teachers
            ]
        except UserError as error:
            raise ConfigError(str(error), ("method", "teacher")) from None
        return {"teacher": found if isinstance(config.teacher, tuple) else found[0]}

    def build_peers(self, backbones: Sequence[Backbone], seed: int) -> PeerGroup:
        """One student; it does not start from the weights that its teacher started from."""
        return super().build_peers(backbones, derive(seed, "student"))

    @property
    def stages(self) -> Sequence[StageKey]:
        """The student's, each with the teacher's beside it where the loss finds them."""
        return [own for term in self.config.feature_terms for own, _ in term.compared]

    def build_heads(self, example: PeerOutputs) -> None:
        super().build_heads(example)
        given = self.config.teachers
        if not given:
            raise ConfigError(
                "kd needs a trained teacher: set method.teacher to the folder of a finished run.",
                ("method", "teacher"),
            )
        student = self.peers.backbones[0]
        try:
            if self.config.teacher_backbone is not None:
                check_backbone_is_for_one(given, self.config.teacher_backbone)
            found = [find_teacher(one, self.config.teacher_backbone, student) for one in given]
            teachers = [self._teacher(known, student) for known in found]
        except UserError as error:
            raise ConfigError(str(error), ("method", "teacher")) from None
        self.teachers = nn.ModuleList(teachers)
        self.notes += [note for teacher in teachers for note in teacher.notes]
        shares = torch.tensor(self.config.teacher_weights or [1.0] * len(teachers))
        self.register_buffer("shares", shares / shares.sum(), persistent=False)
        if self.config.feature_terms:
            seen = self._watched.see(probe_batch(self.peers, student.input_size, samples=2))
            both = with_teacher(self.aggregate(example), seen)
            self.feature_terms = FeatureTerms(self.config.feature_terms, both)

    def _teacher(self, known: Known, student: Backbone) -> Teacher:
        terms = self.config.feature_terms
        if not terms:
            return Teacher(known, student)
        asked = dict.fromkeys(theirs for term in terms for _, theirs in term.compared)
        return WatchedTeacher(known, student, list(asked))

    @property
    def _watched(self) -> WatchedTeacher:
        """The teacher whose features the terms look at."""
        teacher = self.teachers[0]
        assert isinstance(teacher, WatchedTeacher)
        return teacher

    def begin(self, samples: int, epochs: float) -> None:
        if self.config.feature_terms:
            self.feature_terms.begin(samples)

    def check_one_sample(self, x: Tensor | None = None) -> None:
        if self.config.feature_terms:
            self.feature_terms.check_one_sample()
        super().check_one_sample(x)

    def outputs(self, x: Tensor) -> MethodOutputs:
        if self.config.feature_terms:
            return with_teacher(super().outputs(x), self._watched.see(x))
        teachers = torch.stack([teacher(x) for teacher in self.teachers])
        return replace(super().outputs(x), teachers=teachers)

    def evaluate(self, x: Tensor) -> dict[str, Tensor]:
        return self.predict(super().outputs(x))

    def loss(self, outputs: MethodOutputs, batch: Batch) -> dict[str, Tensor]:
        z, alpha = outputs.logits, self.config.alpha
        teacher = mean_teacher(outputs.teachers, self.shares, self.config.temperature)
        terms = {
            "ce": (1 - alpha) * cross_entropy(z, batch.y),
            "kd": alpha * self.divergence(teacher.unsqueeze(0), z, batch.y),
        }
        if self.config.feature_terms:
            terms |= self.feature_terms(outputs, batch)
        return terms


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
