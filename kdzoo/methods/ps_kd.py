"""PS-KD, progressive self-distillation: last epoch's predictions soften this epoch's labels."""

import torch
from torch import Tensor

from kdzoo.methods.base import Batch, Method, MethodOutputs
from kdzoo.methods.losses import class_probabilities, cross_entropy
from kdzoo.methods.settings import PSKDConfig
from kdzoo.peers.outputs import PeerOutputs
from kdzoo.registry import methods
from kdzoo.samples.memory import Memory

ROUNDING = 1e-4
"""Of an epoch, by which the progress at its first step may seem to be before it."""


@methods.register("ps_kd")
class PSKD(Method):
    """One network whose labels are mixed with what it said of each image an epoch before.

    ``CE(z, (1 - a) y + a p)``: p are the probabilities of the last epoch, and a rises from epoch to
    epoch, ``a = alpha e / E`` in epoch e of E, counted from 1. In the first epoch p is y.
    """

    Config = PSKDConfig
    paper = (
        "Kim, Ji, Yoon, Hwang. Self-Knowledge Distillation with Progressive Refinement of "
        "Targets. ICCV 2021. arXiv:2006.12000"
    )
    epochs: Tensor

    def build_heads(self, example: PeerOutputs) -> None:
        super().build_heads(example)
        self.memory = Memory(example.logits.shape[-1])
        self.register_buffer("epochs", torch.ones(()), persistent=False)

    def begin(self, samples: int, epochs: float) -> None:
        self.memory.begin(samples)
        self.epochs.fill_(epochs)

    def loss(self, outputs: MethodOutputs, batch: Batch) -> dict[str, Tensor]:
        z, index = outputs.logits, batch.need_index()
        y = class_probabilities(batch.y, z)
        said = self.memory.read(index).to(z.dtype)
        said = torch.where(said.sum(dim=1, keepdim=True) > 0, said, y)  # zeros: not seen yet
        epoch = (batch.progress * self.epochs + ROUNDING).floor() + 1
        share = (self.config.alpha * epoch / self.epochs).clamp(max=self.config.alpha).to(z.dtype)
        if self.training:
            self.memory.write(index, z[0].softmax(dim=-1))
        return {"ce": cross_entropy(z, torch.lerp(y, said, share))}
