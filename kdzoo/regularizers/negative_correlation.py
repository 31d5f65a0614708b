"""Negative correlation learning, which rewards peers whose errors differ."""

from torch import Tensor

from kdzoo.peers.outputs import PeerOutputs
from kdzoo.registry import regularizers
from kdzoo.regularizers.base import Regularizer
from kdzoo.regularizers.settings import NegativeCorrelationConfig


@regularizers.register("negative_correlation")
class NegativeCorrelation(Regularizer):
    """Pulls each peer's probabilities away from the peers' mean.

    ``-1/2 sum_i ||p_i - m||^2``, mean over the batch, with p_i [K] the probabilities of peer i and
    m their mean over the peers: the negative correlation penalty
    ``1/2 sum_i (p_i - m) . sum_{j != i} (p_j - m)``, written out.
    """

    Config = NegativeCorrelationConfig
    paper = (
        "Liu, Yao. Ensemble learning via negative correlation. Neural Networks 12(10), 1999, "
        "pp. 1399-1404"
    )
    min_peers = 2

    def forward(self, outputs: PeerOutputs, classifiers: tuple[Tensor, ...]) -> Tensor:
        probabilities = outputs.logits.softmax(dim=-1)
        away = probabilities - probabilities.mean(dim=0)
        return -0.5 * away.square().sum() / outputs.logits.shape[1]
