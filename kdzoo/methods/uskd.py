"""USKD, universal self-knowledge distillation: customised soft labels from the student itself."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kdzoo.backbones.layers import global_average
from kdzoo.divergences.base import target_class
from kdzoo.divergences.others import others
from kdzoo.methods.base import Batch, Method, MethodOutputs
from kdzoo.methods.losses import class_probabilities, cross_entropy
from kdzoo.methods.settings import USKDConfig
from kdzoo.peers.outputs import PeerOutputs
from kdzoo.peers.watched import StageKey
from kdzoo.registry import methods


@methods.register("uskd")
class USKD(Method):
    """Soft labels that the network makes for itself, of target and other classes apart.

    ``CE(z, y) - alpha p_y log s_y - beta sum_{k != y} q_k log S_k + mu CE(w, 0.9 y + 0.1/K)`` with
    s = softmax(z), S the same among the classes that are not y, and w a weak classifier on a stage
    before the last; p and q are held constant.
    """

    Config = USKDConfig
    paper = (
        "Yang, Zeng, Li, Zhang, Yuan, Li. From Knowledge Distillation to Self-Knowledge "
        "Distillation: A Unified Approach with Normalized Loss and Customized Soft Labels. "
        "ICCV 2023. arXiv:2303.13005"
    )

    @property
    def stages(self) -> Sequence[StageKey]:
        return (self.config.weak_stage,)

    def build_heads(self, example: PeerOutputs) -> None:
        super().build_heads(example)
        width = example.stages[self.config.weak_stage][0].shape[1]
        self.weak = nn.Linear(width, example.logits.shape[-1])

    def loss(self, outputs: MethodOutputs, batch: Batch) -> dict[str, Tensor]:
        z, y, config = outputs.logits[0], batch.y, self.config
        middle = outputs.stages[config.weak_stage][0]
        weak = self.weak(global_average(middle.to(z.dtype)))
        target = target_class(y)
        log_s = z.log_softmax(dim=-1)
        own = log_s.gather(1, target.unsqueeze(1)).squeeze(1)
        rest = others(z, target)
        smooth = 0.9 * class_probabilities(y, z) + 0.1 / z.shape[-1]
        return {
            "ce": cross_entropy(z, y),
            "target": -config.alpha * (target_label(own.detach()) * own).mean(),
            "others": -config.beta
            * (other_labels(log_s.detach(), weak.detach(), target) * rest.log_softmax(dim=-1))
            .sum(dim=-1)
            .mean(),
            "weak_ce": config.mu * cross_entropy(weak, smooth),
        }


def target_label(log_s: Tensor) -> Tensor:
    """The soft label of each sample's target, ``s^2 + 1 - mean over the batch of s^2``, [B].

    Args:
        log_s: [B], the logarithm of the probability s that the network gives the target.
    """
    squared = (2 * log_s).exp()
    return squared + 1 - squared.mean()


def other_labels(log_s: Tensor, weak: Tensor, target: Tensor) -> Tensor:
    """The soft labels of the other classes [B, K-1], by Zipf's law: 1 / rank, 1 in sum.

    The rank is that of ``w_k / (1 - w_y) + log s_k / (1 - log s_y)``, the largest first.

    Args:
        log_s: [B, K] log-probabilities of the network.
        weak: [B, K] logits of the weak classifier, whose probabilities w are.
        target: [B] class indices.
    """
    chosen = target.unsqueeze(1)
    of_weak = others(weak, target).softmax(dim=-1)  # w_k / (1 - w_y), also where w_y is near 1
    score = of_weak + others(log_s, target) / (1 - log_s.gather(1, chosen))
    order = score.argsort(dim=-1, descending=True)
    zipf = 1 / torch.arange(1, score.shape[-1] + 1, device=score.device, dtype=score.dtype)
    zipf = (zipf / zipf.sum()).expand_as(score)
    return torch.zeros_like(score).scatter(1, order, zipf)
