"""DLB, self-distillation from the last mini-batch: each batch is seen again in the next one."""

import torch
from torch import Tensor

from kdzoo.errors import UserError
from kdzoo.methods.base import Batch, Method, MethodOutputs
from kdzoo.methods.losses import cross_entropy
from kdzoo.methods.settings import DLBConfig
from kdzoo.peers.outputs import PeerOutputs
from kdzoo.registry import methods
from kdzoo.samples.memory import Memory


@methods.register("dlb")
class DLB(Method):
    """One network that is taught by what it said of each image a step before, in another view.

    ``CE(z, y) + alpha KL(s || z_old)``: half of a batch, at the odd places, was new in the batch
    before, z_old are its logits now and s those it had then. In the first step there are none.
    """

    Config = DLBConfig
    paper = (
        "Shen, Xu, Yang, Li, Guo. Self-Distillation from the Last Mini-Batch for Consistency "
        "Regularization. CVPR 2022. arXiv:2203.16172"
    )

    @classmethod
    def repeats_last_batch(cls, config: DLBConfig) -> bool:
        return True

    def build_heads(self, example: PeerOutputs) -> None:
        super().build_heads(example)
        self.memory = Memory(example.logits.shape[-1])

    def begin(self, samples: int, epochs: float) -> None:
        self.memory.begin(samples)

    def loss(self, outputs: MethodOutputs, batch: Batch) -> dict[str, Tensor]:
        z, y, index = outputs.logits, batch.y, batch.need_index()
        if len(y) % 2:
            raise UserError(
                f"A batch of {len(y)} samples: of dlb's, every second sample was new in the batch "
                "before, at the place just before."
            )
        new, old = z[:, 0::2], z[:, 1::2]
        said = self.memory.read(index[1::2]).to(z.dtype)
        known = (said != 0).any(dim=1, keepdim=True)  # zeros: not seen yet
        targets = torch.where(known, said, old.detach())
        if self.training:
            self.memory.write(index[0::2], new[0])
        consistency = self.divergence(targets, old, y[1::2])
        return {
            "ce": cross_entropy(z, y),
            "kd": self.config.alpha * known.any() * consistency,
        }
