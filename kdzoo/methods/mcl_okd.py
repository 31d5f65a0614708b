"""MCL-OKD: branches that tell the images of a batch apart from a memory of the training set."""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdzoo.backbones.layers import initialise
from kdzoo.divergences.base import target_class
from kdzoo.methods.base import Batch, Method, MethodOutputs
from kdzoo.methods.losses import cross_entropy
from kdzoo.methods.settings import MCLOKDConfig
from kdzoo.peers.outputs import PeerOutputs
from kdzoo.registry import methods
from kdzoo.samples.contrast import log_mean_exp, nce
from kdzoo.samples.memory import Memory
from kdzoo.samples.negatives import Negatives


@methods.register("mcl_okd")
class MCLOKD(Method):
    """Peers that find an image among others in each other's memories; their mean teaches the last.

    ``sum_i CE(z_i, y) + KL(mean z || P) + beta sum_{i != j} NCE(e_i, v_j)``: e_i are the normalised
    embeddings of peer i, v_j what is remembered of peer j's for each sample. The mean is held
    constant, the memories take no gradient, and the last peer is deployed.
    """

    Config = MCLOKDConfig
    paper = (
        "Yang, An, Xu. Multi-View Contrastive Learning for Online Knowledge Distillation. "
        "ICASSP 2021. arXiv:2006.04093"
    )
    heads_of_peers = ("projections", "memories")

    def build_heads(self, example: PeerOutputs) -> None:
        super().build_heads(example)
        width = self.config.width
        self.projections = nn.ModuleList(nn.Linear(h.shape[1], width) for h in example.embeddings)
        initialise(self.projections)
        self.memories = nn.ModuleList(Memory(width) for _ in example.embeddings)
        self.classes = Memory()
        self.negatives = Negatives(self.config.negatives)

    @property
    def student_peer(self) -> int:
        return self.config.peers - 1

    def begin(self, samples: int, epochs: float) -> None:
        for memory in (*cast(list[Memory], self.memories), self.classes):
            memory.begin(samples)

    def loss(self, outputs: MethodOutputs, batch: Batch) -> dict[str, Tensor]:
        z, student = outputs.logits, self.student_peer
        return {
            "ce": cross_entropy(z, batch.y),
            "kd": self.divergence(outputs.targets[student].detach(), z[student], batch.y),
            "contrast": self.config.beta * self.contrast(self.embeddings(outputs), batch),
        }

    def embeddings(self, outputs: MethodOutputs) -> Tensor:
        """[P, B, width]: what is compared, of length 1."""
        pairs = zip(self.projections, outputs.embeddings, strict=True)
        return torch.stack(
            [F.normalize(project(h.to(outputs.logits.dtype)), dim=1) for project, h in pairs]
        )

    def contrast(self, e: Tensor, batch: Batch) -> Tensor:
        """The noise-contrastive loss of each peer's embeddings in the memory of each other's.

        In training, the memories take in the embeddings afterwards.

        Args:
            e: [P, B, width], of length 1.
            batch: that they are of.
        """
        index, labels = batch.need_index(), target_class(batch.y) + 1  # 0: not seen yet
        seen = self.classes.read(index) > 0
        drawn, found = self.negatives.draw(index, labels, self.classes.rows.long())
        loss = e.new_zeros(())
        for j, memory in enumerate(cast(list[Memory], self.memories)):
            rows = memory.rows.to(e.dtype, copy=True)  # the memory changes before the gradient
            own = rows.index_select(0, index)
            positive = torch.where(seen[:, None], own, e[j].detach())
            others = torch.cat([e[:j], e[j + 1 :]])
            match = (others * positive).sum(dim=-1, keepdim=True)
            rest = (others @ rows.T).gather(-1, drawn.expand(len(others), -1, -1))
            match, rest = match / self.config.tau, rest / self.config.tau
            loss = loss + nce(match, rest, found, log_mean_exp(match, rest, found))
            if self.training:
                memory.write(index, F.normalize(own.lerp(e[j].detach(), self.share), dim=1))
        if self.training:
            self.classes.write(index, labels)
            self.negatives.advance()
        return loss

    @property
    def share(self) -> float:
        """Of an embedding, in what is remembered of the sample from then on."""
        return 1 - self.config.momentum
