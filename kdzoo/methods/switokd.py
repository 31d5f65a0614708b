"""SwitOKD, switchable online distillation: the teacher waits while the student is far behind."""

import torch
from torch import Tensor

from kdzoo.methods.base import Batch, Method, MethodOutputs
from kdzoo.methods.losses import class_probabilities, cross_entropy
from kdzoo.methods.settings import SwitOKDConfig
from kdzoo.methods.snapshot import Snapshot
from kdzoo.peers.group import IndependentPeers
from kdzoo.peers.outputs import PeerOutputs
from kdzoo.registry import methods

TEACHER, STUDENT = 0, 1
TINY = 1e-12


@methods.register("switokd")
class SwitOKD(Method):
    """A teacher and a student that learn from each other, but for a teacher too far ahead.

    ``CE(z_s, y) + KL(t || s) + learning [CE(z_t, y) + KL(s || t)]``, who teaches held constant. In
    the steps where the gap between both is above a threshold and the teacher is the better one,
    ``learning`` is 0 and the teacher's weights stay as they are (expert mode).
    """

    Config = SwitOKDConfig
    paper = "Qian, Wang, Yin, Hong, Wang. Switchable Online Knowledge Distillation. ECCV 2022"
    sees_targets = False
    mixes_backbones = True
    peers: IndependentPeers
    expert: Tensor

    def build_heads(self, example: PeerOutputs) -> None:
        super().build_heads(example)
        self.register_buffer("expert", torch.zeros((), dtype=torch.bool), persistent=False)
        self.snapshot = Snapshot(self.peers.peers[TEACHER])

    @property
    def student_peer(self) -> int:
        return STUDENT

    def loss(self, outputs: MethodOutputs, batch: Batch) -> dict[str, Tensor]:
        t, s = outputs.logits[TEACHER], outputs.logits[STUDENT]
        expert = too_far_ahead(t.detach(), s.detach(), batch.y)
        if self.training:
            self.expert.copy_(expert)
        learning = (~expert).to(t.dtype)
        return {
            "ce": cross_entropy(s, batch.y),
            "kd": self.divergence(t.detach(), s, batch.y),
            "teacher_ce": learning * cross_entropy(t, batch.y),
            "teacher_kd": learning * self.divergence(s.detach(), t, batch.y),
        }

    def before_step(self) -> None:
        self.snapshot.take(self.peers.peers[TEACHER])

    def after_step(self) -> None:
        """Take the step of the teacher back where it waits: momentum and decay make one as well."""
        self.snapshot.restore(self.peers.peers[TEACHER], where=self.expert)


def too_far_ahead(teacher: Tensor, student: Tensor, y: Tensor) -> Tensor:
    """Whether the teacher has to wait (expert mode), a boolean scalar.

    It has to where it is nearer to the labels than the student, and the gap between both,
    ``|p_s - p_t|``, is above ``delta = a - exp(-b / (a + b)) b`` with ``a = |p_s - y|`` and
    ``b = |p_t - y|``; all three are L1 norms, means over the batch.

    Args:
        teacher: logits [B, K].
        student: logits [B, K].
        y: [B] class indices, or [B, K] class probabilities.
    """
    p_t, p_s = teacher.softmax(dim=1), student.softmax(dim=1)
    labels = class_probabilities(y, teacher)
    gap, a, b = (distance(*pair) for pair in ((p_s, p_t), (p_s, labels), (p_t, labels)))
    delta = a - torch.exp(-b / (a + b).clamp(min=TINY)) * b
    return (gap > delta) & (b < a)


def distance(p: Tensor, q: Tensor) -> Tensor:
    """The L1 norm of the difference, mean over the batch."""
    return (p - q).abs().sum(dim=1).mean()
