"""MBDE, multi-branch diversity enhancement: ONE with feature fusion and diverse classifiers."""

from kdzoo.methods.one import ONE
from kdzoo.methods.settings import MBDEConfig
from kdzoo.registry import methods


@methods.register("mbde")
class MBDE(ONE):
    """ONE with the Feature Fusion Module as its aggregator and the CD loss on its classifiers.

    ``sum_i CE(z_i, y) + CE(z_e, y) + w sum_i KL(e || i) + lambda CD``.
    """

    Config = MBDEConfig
    paper = (
        "Li, Huang, Chen, Luo, Cai, Pan. Online Knowledge Distillation via Multi-branch "
        "Diversity Enhancement. ACCV 2020. arXiv:2010.00795"
    )
