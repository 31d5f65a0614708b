"""CS-KD, class-wise self-distillation: what is said of another image of the class teaches."""

import torch
from torch import Tensor

from kdzoo.divergences.base import target_class
from kdzoo.methods.base import Batch, Method, MethodOutputs
from kdzoo.methods.losses import cross_entropy
from kdzoo.methods.settings import CSKDConfig
from kdzoo.registry import methods


@methods.register("cs_kd")
class CSKD(Method):
    """One network, taught for each image by what it says of another image of the same class.

    ``CE(z(x), y) + weight KL(x' || x)``, with x' the next image of its class in the batch, held
    constant.
    """

    Config = CSKDConfig
    paper = (
        "Yun, Park, Lee, Shin. Regularizing Class-wise Predictions via Self-knowledge "
        "Distillation. CVPR 2020. arXiv:2003.13964"
    )

    @classmethod
    def images_per_class(cls, config: CSKDConfig) -> int:
        return config.per_class

    def loss(self, outputs: MethodOutputs, batch: Batch) -> dict[str, Tensor]:
        z = outputs.logits
        teacher = z.detach().index_select(1, next_of_class(target_class(batch.y)))
        return {
            "ce": cross_entropy(z, batch.y),
            "kd": self.config.weight * self.divergence(teacher, z, batch.y),
        }


def next_of_class(labels: Tensor) -> Tensor:
    """For each sample the next of its class in the batch, from the last on to the first: [B].

    A sample that is alone in its class has itself.

    Args:
        labels: [B] class indices.
    """
    place = torch.arange(len(labels), device=labels.device)
    steps = (place - place[:, None] - 1) % len(labels)  # to itself it is the longest way
    alike = labels == labels[:, None]
    return steps.masked_fill(~alike, len(labels)).argmin(dim=1)
