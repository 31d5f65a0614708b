"""DKEL, decoupled knowledge with ensemble learning: mean teachers together first, then apart."""

import torch
from torch import Tensor

from kdzoo.methods.base import Batch
from kdzoo.methods.pcl import PCL
from kdzoo.methods.settings import DKELConfig
from kdzoo.registry import methods

LEAST = 0.01
"""Below it, v is 0."""


@methods.register("dkel")
class DKEL(PCL):
    """Peer collaborative learning whose averaged peers teach by their mean first, then each alone.

    ``sum_i CE(z_i, y) + CE(z_e, y) + w sum_i [KL(e || i) + v KL(mean_{j != i} m_j || i)
    + (1 - v)/(P-1) sum_{j != i} KL(m_j || i)]`` with ``v = exp(-progress / fade)``: e is the
    ensemble, m_j the temporal mean model of peer j, and both are held constant.
    """

    Config = DKELConfig
    paper = (
        "Shao. Decoupled Knowledge with Ensemble Learning for Online Distillation. 2023. "
        "arXiv:2312.11218"
    )

    def by_means(self, m: Tensor, z: Tensor, batch: Batch) -> Tensor:
        of_others = (m.sum(dim=0) - m) / (len(m) - 1)
        v = self.early(batch.progress)
        together = self.divergence(of_others, z, batch.y)
        return v * together + (1 - v) * super().by_means(m, z, batch)

    def early(self, progress: Tensor) -> Tensor:
        """v, which falls from 1 and is 0 from where it would be below 0.01."""
        v = torch.exp(-progress / self.config.fade)
        return torch.where(v < LEAST, torch.zeros_like(v), v)
