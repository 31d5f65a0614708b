"""L-MCL, layer-wise mutual contrastive learning: networks compare images at exits along the way."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from kdzoo.divergences.base import target_class
from kdzoo.methods.base import Batch, Method, MethodOutputs
from kdzoo.methods.losses import cross_entropy
from kdzoo.methods.mutual_contrast import MutualContrast, projection
from kdzoo.methods.settings import LMCLConfig
from kdzoo.peers.exits import Exit
from kdzoo.peers.outputs import PeerOutputs
from kdzoo.peers.watched import StageKey
from kdzoo.registry import methods


@methods.register("lmcl")
class LMCL(Method):
    """Networks with exits, whose embeddings are contrasted in pairs across the networks.

    ``sum_i [sum_k CE(z_ik, y) + CE(a_i, y)] + sum_ij KL(a_j || z_i) + alpha (VCL + ICL) + gamma
    (softVCL + softICL)`` with z_ik the logits of exit k of network i, its own classifier the last,
    and a_i their sum, weighted for each sample. The contrastive terms are those of every pair of an
    exit of one network and one of another. They weigh the same: the paper's meta step, which learns
    weights for them, is not in it.
    """

    Config = LMCLConfig
    paper = (
        "Yang, An, Zhou, Zhuang, Xu, Zhang. Online Knowledge Distillation via Mutual Contrastive "
        "Learning for Visual Recognition. TPAMI 2023. arXiv:2207.11518"
    )
    heads_of_peers = ("exits", "gates", "projections")
    mixes_backbones = True

    @classmethod
    def images_per_class(cls, config: LMCLConfig) -> int:
        return config.per_class

    @property
    def stages(self) -> Sequence[StageKey]:
        return range(-1 - self.config.exits, -1)

    def build_heads(self, example: PeerOutputs) -> None:
        super().build_heads(example)
        classes, out, count = example.logits.shape[-1], self.config.width, self.config.exits + 1
        self.exits, self.gates, self.projections = (nn.ModuleList() for _ in range(3))
        for peer, (last, h) in enumerate(zip(example.features, example.embeddings, strict=True)):
            width = h.shape[1]
            early = [example.stages[key][peer].shape[1:] for key in self.stages]
            self.exits.append(
                nn.ModuleList(Exit(shape, last.shape[1:], width, classes) for shape in early)
            )
            self.gates.append(projection(count * width, width, count))
            self.projections.append(
                nn.ModuleList(projection(width, out, out) for _ in range(count))
            )
        networks = [peer for peer in range(len(example.logits)) for _ in range(count)]
        self.mutual_contrast = MutualContrast(networks, self.config.tau, self.config.temperature)

    def aggregate(self, outputs: PeerOutputs) -> MethodOutputs:
        """As every method's, with the embeddings [B, D] of the exits beside their stages' maps."""
        at_exits = {
            at_exit(key): tuple(
                leave[place](early).embedding
                for leave, early in zip(self.exits, outputs.stages[key], strict=True)
            )
            for place, key in enumerate(self.stages)
        }
        return super().aggregate(replace(outputs, stages={**outputs.stages, **at_exits}))

    def evaluate(self, x: Tensor) -> dict[str, Tensor]:
        return self.predict(super().aggregate(self.peers(x)))  # nothing that is judged has exits

    def loss(self, outputs: MethodOutputs, batch: Batch) -> dict[str, Tensor]:
        z, y, peers = outputs.logits, batch.y, len(outputs.logits)
        alpha, gamma = self.config.alpha, self.config.gamma
        exits, aggregated, projected = [], [], []
        for peer, (leaves, gate, project) in enumerate(
            zip(self.exits, self.gates, self.projections, strict=True)
        ):
            early = [outputs.stages[at_exit(key)][peer].to(z.dtype) for key in self.stages]
            h = [*early, outputs.embeddings[peer].to(z.dtype)]
            said = [leave.classifier(e) for leave, e in zip(leaves, early, strict=True)]
            said = torch.stack([*said, z[peer]])
            weights = gate(torch.cat(h, dim=1)).softmax(dim=1)
            exits.append(said)
            aggregated.append(torch.einsum("bl,lbk->bk", weights, said))
            projected += [head(e) for head, e in zip(project, h, strict=True)]
        ensembles = torch.stack(aggregated)
        found = self.mutual_contrast(projected, target_class(y))
        opposite = len(projected) - len(exits[0])  # how many pairs each embedding is the first of
        return {
            "ce": cross_entropy(torch.cat(exits), y),
            "ensemble_ce": cross_entropy(ensembles, y),
            "kd": self.divergence(
                ensembles.detach().repeat(peers, 1, 1), z.repeat_interleave(peers, dim=0), y
            ),
            "vcl": alpha * opposite * found["vcl"],
            "icl": alpha * found["icl"],
            "soft_vcl": gamma * found["soft_vcl"],
            "soft_icl": gamma * found["soft_icl"],
        }


def at_exit(key: StageKey) -> str:
    """What the embeddings of the exit after a stage are called among the outputs' stages."""
    return f"exit {key}"
