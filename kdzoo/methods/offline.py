"""Offline distillation: what the methods share whose student is taught by trained teachers."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kdzoo.backbones.backbone import Backbone
from kdzoo.errors import ConfigError, UserError
from kdzoo.methods.base import Method
from kdzoo.methods.settings import OfflineConfig
from kdzoo.methods.teachers import (
    Teacher,
    check_backbone_is_for_one,
    find_teacher,
    network_text,
    teacher_content,
)
from kdzoo.methods.watched_teacher import WatchedTeacher
from kdzoo.peers.group import PeerGroup
from kdzoo.peers.outputs import PeerOutputs
from kdzoo.peers.watched import StageKey
from kdzoo.seeding import derive


class OfflineMethod(Method):
    """One student and the teachers that the config names, which never change.

    A teacher that is not named is a run that has to be finished first. After :meth:`build_heads`,
    ``teachers`` holds them.
    """

    @classmethod
    def prerequisites(cls, config: OfflineConfig) -> dict[str, dict[str, Any]]:
        if config.teacher is not None:
            return {}
        settings: dict[str, Any] = {"method": {"name": "independent"}}
        if config.teacher_backbone is not None:
            settings["backbone"] = config.teacher_backbone.model_dump()
        return {"teacher": settings}

    @classmethod
    def contents(cls, config: OfflineConfig) -> dict[str, Any]:
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
    def teacher_stages(self) -> Sequence[StageKey] | None:
        """The stages of the teachers whose maps the loss looks at; None where it looks at nothing
        but their logits.
        """
        return None

    def build_heads(self, example: PeerOutputs) -> None:
        super().build_heads(example)
        given = self.config.teachers
        if not given:
            raise ConfigError(
                f"{self.config.name} needs a trained teacher: set method.teacher to the folder of "
                "a finished run.",
                ("method", "teacher"),
            )
        student, stages = self.peers.backbones[0], self.teacher_stages
        try:
            if self.config.teacher_backbone is not None:
                check_backbone_is_for_one(given, self.config.teacher_backbone)
            with torch.random.fork_rng(devices=[]):  # the heads do not depend on how they are found
                found = [find_teacher(one, self.config.teacher_backbone, student) for one in given]
            teachers = [
                Teacher(known, student)
                if stages is None
                else WatchedTeacher(known, student, list(dict.fromkeys(stages)))
                for known in found
            ]
        except UserError as error:
            raise ConfigError(str(error), ("method", "teacher")) from None
        self.teachers = nn.ModuleList(teachers)
        self.notes += [note for teacher in teachers for note in teacher.notes]

    @property
    def watched_teacher(self) -> WatchedTeacher:
        """The teacher whose maps and embeddings the loss looks at."""
        teacher = self.teachers[0]
        assert isinstance(teacher, WatchedTeacher)
        return teacher

    def evaluate(self, x: Tensor) -> dict[str, Tensor]:
        return self.predict(super().outputs(x))
