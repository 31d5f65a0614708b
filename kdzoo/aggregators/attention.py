"""OKDDip's attention between embeddings, which gives each peer targets of its own."""

import torch
from torch import nn

from kdzoo.aggregators.base import Aggregate, Aggregator
from kdzoo.aggregators.settings import AttentionConfig
from kdzoo.errors import ConfigError
from kdzoo.peers.outputs import PeerOutputs
from kdzoo.registry import aggregators


@aggregators.register("attention")
class Attention(Aggregator):
    """For each peer a sum of all peers' logits, weighted by attention between their embeddings.

    ``a_ij = softmax_j(L(h_i) . E(h_j))``, ``t_i = sum_j a_ij z_j``, with bias-free maps L and E
    that all peers share. The ensemble is the plain mean of the logits.
    """

    Config = AttentionConfig
    paper = (
        "Chen, Mei, Wang, Feng, Chen. Online Knowledge Distillation with Diverse Peers. AAAI 2020. "
        "arXiv:1912.00350"
    )

    def __init__(self, config: AttentionConfig, example: PeerOutputs) -> None:
        super().__init__(config, example)
        widths = {embedding.shape[1] for embedding in example.embeddings}
        if len(widths) > 1:
            raise ConfigError(
                f"attention compares embeddings of one width, and these have {sorted(widths)}. "
                "Use one backbone, or choose leave_one_out.",
                ("method", "aggregator"),
            )
        width = widths.pop()
        reduced = max(width // config.reduction, 1)
        self.query = nn.Linear(width, reduced, bias=False)
        self.key = nn.Linear(width, reduced, bias=False)

    def forward(self, outputs: PeerOutputs) -> Aggregate:
        h, z = torch.stack(outputs.embeddings), outputs.logits
        scores = torch.einsum("ibd,jbd->bij", self.query(h), self.key(h))
        weights = scores.to(z.dtype).softmax(dim=-1)
        with torch.autocast(z.device.type, enabled=False):  # logits stay in full precision
            targets = torch.einsum("bij,jbk->ibk", weights, z)
        return Aggregate(targets, z.mean(dim=0))
