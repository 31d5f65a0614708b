"""MBDE, multi-branch diversity enhancement: ONE with feature fusion and diverse classifiers."""

from kdzoo.aggregators.base import AggregatorChoice
from kdzoo.component import named
from kdzoo.methods.one import ONE, ONEConfig
from kdzoo.registry import methods
from kdzoo.regularizers.base import RegularizerChoice


class MBDEConfig(ONEConfig):
    aggregator: AggregatorChoice = named("ffm")
    """What weighs the peers: the Feature Fusion Module on their last blocks."""
    regularizers: tuple[RegularizerChoice, ...] = named(("cd",))
    """The Classifier Diversification loss."""


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
