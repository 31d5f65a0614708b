"""KD, offline knowledge distillation: a teacher trained before teaches one student."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from kdzoo.backbones.backbone import Backbone
from kdzoo.backbones.create import BackboneConfig
from kdzoo.errors import ConfigError
from kdzoo.methods.base import Method, MethodConfig, MethodOutputs
from kdzoo.methods.losses import cross_entropy, kl
from kdzoo.peers.group import PeerGroup
from kdzoo.peers.hooked import logits_of
from kdzoo.peers.outputs import PeerOutputs
from kdzoo.registry import methods
from kdzoo.seeding import derive
from kdzoo.student import load_student


class KDConfig(MethodConfig):
    peers: Literal[1] = 1
    """P; there is one student."""
    layout: Literal["independent"] = "independent"
    """One whole network."""
    teacher: str | None = None
    """The folder of the teacher: a finished run, or any folder with ``student.safetensors`` and
    ``student.json``. Left out, a teacher is trained first, on the same data with the same seed."""
    teacher_backbone: BackboneConfig | None = None
    """The backbone of a teacher that is trained first; left out, the student's."""
    temperature: Annotated[float, Field(gt=0)] = 4.0
    """T, which softens the distributions that are compared."""
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.9
    """The share of the distillation in the loss; the labels have the rest."""


@methods.register("kd")
class KD(Method):
    """Offline distillation: a teacher trained before teaches one student.

    ``(1 - alpha) CE(z, y) + alpha KL(teacher || student)``.
    """

    Config = KDConfig
    paper = (
        "Hinton, Vinyals, Dean. Distilling the Knowledge in a Neural Network. 2015. "
        "arXiv:1503.02531"
    )

    @classmethod
    def prerequisites(cls, config: KDConfig) -> dict[str, dict[str, Any]]:
        if config.teacher is not None:
            return {}
        settings: dict[str, Any] = {"method": {"name": "independent"}}
        if config.teacher_backbone is not None:
            settings["backbone"] = config.teacher_backbone.model_dump()
        return {"teacher": settings}

    def build_peers(self, backbones: Sequence[Backbone], seed: int) -> PeerGroup:
        """One student; it does not start from the weights that its teacher started from."""
        return super().build_peers(backbones, derive(seed, "student"))

    def build_heads(self, example: PeerOutputs) -> None:
        super().build_heads(example)
        own = {backbone.name for backbone in self.peers.backbones}
        if self.config.teacher_backbone is not None:
            own.add(self.config.teacher_backbone.name)
        self.teacher = Frozen(_load(self.config.teacher, trust=own))
        known = logits_of(self.teacher(torch.zeros(2, *self.peers.backbones[0].input_size)))
        if known.shape != example.logits[0].shape:
            raise ConfigError(
                f"The teacher in {self.config.teacher} gives {known.shape[-1]} outputs, and the "
                f"student {example.logits.shape[-1]}. Both must know the same classes.",
                ("method", "teacher"),
            )

    def outputs(self, x: Tensor) -> MethodOutputs:
        teacher = logits_of(self.teacher(x))
        return replace(super().outputs(x), teachers=teacher.unsqueeze(0))

    def loss(self, outputs: MethodOutputs, y: Tensor, progress: Tensor) -> dict[str, Tensor]:
        z, alpha = outputs.logits, self.config.alpha
        return {
            "ce": (1 - alpha) * cross_entropy(z, y),
            "kd": alpha * kl(outputs.teachers, z, self.config.temperature),
        }


class Frozen(nn.Module):
    """A network that is only asked: it has no gradients and stays in evaluation mode.

    Args:
        network: any network.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "Frozen":
        return super().train(False)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)


def _load(folder: str | None, trust: Collection[str]) -> nn.Module:
    if folder is None:
        raise ConfigError(
            "kd needs a trained teacher: set method.teacher to the folder of a finished run.",
            ("method", "teacher"),
        )
    return load_student(folder, trust)
