"""The Classifier Diversification loss, which drives the peers' classifiers apart."""

from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Tensor

from kdzoo.errors import ConfigError
from kdzoo.peers.outputs import PeerOutputs
from kdzoo.registry import regularizers
from kdzoo.regularizers.base import Regularizer
from kdzoo.regularizers.settings import CDConfig


@regularizers.register("cd")
class CD(Regularizer):
    """Penalises classifiers that are alike.

    ``gram``: ``sum_{i<j} ||W_i^T W_j||_F`` with W_i [K, D_i] the classifier weight of peer i.
    ``cosine``: the mean over pairs i<j and classes k of ``|cos(W_i[k], W_j[k])|``.
    """

    Config = CDConfig
    paper = (
        "Li, Huang, Chen, Luo, Cai, Pan. Online Knowledge Distillation via Multi-branch "
        "Diversity Enhancement. ACCV 2020. arXiv:2010.00795"
    )
    min_peers = 2

    def __init__(self, config: CDConfig, example: PeerOutputs) -> None:
        super().__init__(config, example)
        widths = {embedding.shape[1] for embedding in example.embeddings}
        if config.form == "cosine" and len(widths) > 1:
            raise ConfigError(
                f"The cosine form needs classifiers of one width, not {sorted(widths)}. "
                "Use form=gram.",
                ("method", "regularizers", "cd", "form"),
            )
        pairs = torch.tensor(list(combinations(range(len(example.embeddings)), 2)))
        self.register_buffer("first", pairs[:, 0], persistent=False)
        self.register_buffer("second", pairs[:, 1], persistent=False)
        self.first: Tensor
        self.second: Tensor

    def forward(self, outputs: PeerOutputs, classifiers: tuple[Tensor, ...]) -> Tensor:
        if self.config.form == "gram":
            return self._gram(classifiers)
        return self._cosine(classifiers)

    def _gram(self, classifiers: tuple[Tensor, ...]) -> Tensor:
        # ||W_i^T W_j||_F^2 = <W_i W_i^T, W_j W_j^T>: K x K products, whatever the widths D_i.
        grams = torch.stack([(weight @ weight.T).flatten() for weight in classifiers])
        squares = (grams @ grams.T)[self.first, self.second]
        smallest = torch.finfo(squares.dtype).tiny  # all-zero weights have a zero gradient
        return squares.clamp(min=smallest).sqrt().sum()

    def _cosine(self, classifiers: tuple[Tensor, ...]) -> Tensor:
        rows = F.normalize(torch.stack(classifiers), dim=-1)
        return (rows[self.first] * rows[self.second]).sum(dim=-1).abs().mean()
