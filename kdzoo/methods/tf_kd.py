"""Tf-KD, teacher-free distillation: a teacher that is made of the labels alone."""

from torch import Tensor

from kdzoo.divergences.kl import kl
from kdzoo.methods.base import Batch, Method, MethodOutputs
from kdzoo.methods.losses import class_probabilities, cross_entropy
from kdzoo.methods.settings import TFKDConfig
from kdzoo.registry import methods


@methods.register("tf_kd")
class TFKD(Method):
    """A virtual teacher, nearly always right, in place of a network that teaches.

    ``(1 - alpha) CE(z, y) + alpha KL(softmax(d / T) || softmax(z))``: d gives the class of the
    label the probability ``correct`` and shares out the rest among the others. The regularisation
    of the paper, Tf-KD_reg.
    """

    Config = TFKDConfig
    paper = (
        "Yuan, Tay, Li, Wang, Feng. Revisiting Knowledge Distillation via Label Smoothing "
        "Regularization. CVPR 2020. arXiv:1909.11723"
    )

    def loss(self, outputs: MethodOutputs, batch: Batch) -> dict[str, Tensor]:
        z, alpha, correct = outputs.logits, self.config.alpha, self.config.correct
        y = class_probabilities(batch.y, z)
        teacher = correct * y + (1 - correct) * (1 - y) / (y.shape[1] - 1)
        return {
            "ce": (1 - alpha) * cross_entropy(z, batch.y),
            "kd": alpha * kl((teacher / self.config.temperature).unsqueeze(0), z, temperature=1.0),
        }
