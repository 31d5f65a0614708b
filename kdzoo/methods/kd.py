"""KD, offline knowledge distillation: a teacher trained before teaches one student."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import AfterValidator, Field, InstanceOf, PlainSerializer, model_validator
from torch import Tensor, nn

from kdzoo.backbones.backbone import Backbone
from kdzoo.backbones.builders import OWN
from kdzoo.backbones.create import BackboneConfig
from kdzoo.component import has_home
from kdzoo.errors import ConfigError, UserError
from kdzoo.methods.base import Method, MethodConfig, MethodOutputs
from kdzoo.methods.losses import cross_entropy, kl
from kdzoo.methods.teachers import Teacher, TeacherLike, find_teacher, teacher_content
from kdzoo.peers.group import PeerGroup
from kdzoo.peers.outputs import PeerOutputs
from kdzoo.registry import methods
from kdzoo.seeding import derive


def _as_text(teacher: TeacherLike) -> str:
    """In files, a network that was handed over is its kind and a digest of its weights."""
    if isinstance(teacher, str):
        return teacher
    digest = hashlib.sha256()
    for name, value in teacher.state_dict().items():
        digest.update(name.encode())
        digest.update(value.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return f"{OWN}{type(teacher).__name__}-{digest.hexdigest()[:8]}"


OneTeacher = Annotated[str | InstanceOf[nn.Module], PlainSerializer(_as_text)]


class KDConfig(MethodConfig):
    peers: Literal[1] = 1
    """P; there is one student."""
    layout: Literal["independent"] = "independent"
    """One whole network."""
    teacher: Annotated[OneTeacher | tuple[OneTeacher, ...] | None, AfterValidator(has_home)] = None
    """The teacher: the folder of a finished run, a file of weights, ``timm/NAME`` or, in Python, a
    network; or a list of several. Left out, a teacher is trained first, on the same data with the
    same seed."""
    teacher_backbone: BackboneConfig | None = None
    """The backbone of teachers that are files, or of one that is trained first; left out, that is
    the student's."""
    teacher_weights: tuple[Annotated[float, Field(ge=0)], ...] | None = None
    """The share of each of several teachers in their mean; left out, they are equal."""
    temperature: Annotated[float, Field(gt=0)] = 4.0
    """T, which softens the distributions that are compared."""
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.9
    """The share of the distillation in the loss; the labels have the rest."""

    @property
    def teachers(self) -> tuple[TeacherLike, ...]:
        """The teachers, one by one; none where one is trained first."""
        if self.teacher is None:
            return ()
        return self.teacher if isinstance(self.teacher, tuple) else (self.teacher,)

    @model_validator(mode="after")
    def _a_weight_each(self) -> "KDConfig":
        if self.teacher == ():
            raise ConfigError("The list of teachers is empty.", ("teacher",))
        weights, count = self.teacher_weights, max(len(self.teachers), 1)
        if weights is not None and (len(weights) != count or not sum(weights)):
            raise ConfigError(
                f"{list(weights)} are not the shares of {count} teachers: give a number for each, "
                "and not all 0.",
                ("teacher_weights",),
            )
        return self


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
                teacher_content(one) if isinstance(one, str) else _as_text(one)
                for one in config.teachers
            ]
        except UserError as error:
            raise ConfigError(str(error), ("method", "teacher")) from None
        return {"teacher": found if isinstance(config.teacher, tuple) else found[0]}

    def build_peers(self, backbones: Sequence[Backbone], seed: int) -> PeerGroup:
        """One student; it does not start from the weights that its teacher started from."""
        return super().build_peers(backbones, derive(seed, "student"))

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
            found = [find_teacher(one, self.config.teacher_backbone, student) for one in given]
            teachers = [Teacher(known, student) for known in found]
        except UserError as error:
            raise ConfigError(str(error), ("method", "teacher")) from None
        self.teachers = nn.ModuleList(teachers)
        self.notes += [note for teacher in teachers for note in teacher.notes]
        shares = torch.tensor(self.config.teacher_weights or [1.0] * len(teachers))
        self.register_buffer("shares", shares / shares.sum(), persistent=False)

    def outputs(self, x: Tensor) -> MethodOutputs:
        teachers = torch.stack([teacher(x) for teacher in self.teachers])
        return replace(super().outputs(x), teachers=teachers)

    def evaluate(self, x: Tensor) -> dict[str, Tensor]:
        return self.predict(super().outputs(x))

    def loss(self, outputs: MethodOutputs, y: Tensor, progress: Tensor) -> dict[str, Tensor]:
        z, alpha, T = outputs.logits, self.config.alpha, self.config.temperature
        teacher = mean_teacher(outputs.teachers, self.shares, T).unsqueeze(0)
        return {
            "ce": (1 - alpha) * cross_entropy(z, y),
            "kd": alpha * kl(teacher, z, T),
        }


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
