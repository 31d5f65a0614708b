"""Multi-branch diversity enhancement: ONE with feature fusion and diverse classifiers."""

from typing import Annotated

from kdzoo import registry
from kdzoo.component import Component, by_name, named
from kdzoo.methods.base import RegularizerChoice
from kdzoo.methods.one import ONE, ONEConfig


class MBDEConfig(ONEConfig):
    aggregator: Annotated[Component, by_name(registry.aggregators, "ffm")] = named("ffm")
    """What weighs the peers: the Feature Fusion Module on their last blocks."""
    regularizers: tuple[RegularizerChoice, ...] = named(("cd",))
    """The Classifier Diversification loss."""


@registry.methods.register("mbde")
class MBDE(ONE):
    """ONE with the Feature Fusion Module as its aggregator and the CD loss on its classifiers.

    ``sum_i CE(z_i, y) + CE(z_e, y) + w sum_i KL(e || i) + lambda CD``.
    """

    Config = MBDEConfig
    paper = (
        "Li, Huang, Chen, Luo, Cai, Pan. Online Knowledge Distillation via Multi-branch "
        "Diversity Enhancement. ACCV 2020. arXiv:2010.00795"
    )
