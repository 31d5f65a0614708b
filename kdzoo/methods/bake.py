"""BAKE, batch knowledge ensembling: images that are alike pass on what is said of them."""

import torch
import torch.nn.functional as F
from torch import Tensor

from kdzoo.methods.base import Batch, Method, MethodOutputs
from kdzoo.methods.losses import cross_entropy
from kdzoo.methods.settings import BAKEConfig
from kdzoo.registry import methods

FAR = 1e9
"""What is taken off the cosine of an image with itself, so that it is no neighbour of its own."""


@methods.register("bake")
class BAKE(Method):
    """One network, taught by its own predictions, propagated among the alike images of a batch.

    ``CE(z, y) + weight KL(Q || z)``; ``Q = (1 - omega) (I - omega W)^-1 softmax(z / T)``, W the
    softmax of the cosines between the embeddings, each image's own left out. Q is held constant.
    """

    Config = BAKEConfig
    paper = (
        "Ge, Zhang, Choi, Zhang, Cheung, Luo, Hong, Chen, Li. Self-distillation with Batch "
        "Knowledge Ensembling Improves ImageNet Classification. 2021. arXiv:2104.13298"
    )

    @classmethod
    def images_per_class(cls, config: BAKEConfig) -> int:
        return config.per_class

    def loss(self, outputs: MethodOutputs, batch: Batch) -> dict[str, Tensor]:
        z, T = outputs.logits, self.config.temperature
        h = outputs.embeddings[0].detach().to(z.dtype)
        soft = ensembled(z[0].detach().div(T).softmax(dim=-1), h, self.config.omega)
        targets = T * soft.log().unsqueeze(0)  # logits of which the softmax at T is Q
        return {
            "ce": cross_entropy(z, batch.y),
            "kd": self.config.weight * self.divergence(targets, z, batch.y),
        }


def ensembled(predictions: Tensor, embeddings: Tensor, omega: float) -> Tensor:
    """Predictions after endless steps, each of which mixes in omega of what neighbours say.

    Args:
        predictions: [B, K], class probabilities.
        embeddings: [B, D].
        omega: in [0, 1), the part that neighbours have.

    Returns:
        [B, K], class probabilities again.
    """
    unit = F.normalize(embeddings, dim=1)
    eye = torch.eye(len(unit), dtype=unit.dtype, device=unit.device)
    alike = (unit @ unit.T - FAR * eye).softmax(dim=1)
    # without a look at whether it can be solved, which would wait for the device: it always can
    mixed, _ = torch.linalg.solve_ex(eye - omega * alike, (1 - omega) * predictions)
    return mixed.clamp(min=torch.finfo(mixed.dtype).tiny)
