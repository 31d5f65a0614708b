"""PCL's peer ensemble teacher, a classifier on the concatenated embeddings of all peers."""

from typing import Any

import torch
from torch import Tensor, nn

from kdzoo.aggregators.base import SharedTarget
from kdzoo.peers.outputs import PeerOutputs
from kdzoo.registry import aggregators


@aggregators.register("concat")
class Concat(SharedTarget):
    """One classifier on the concatenated embeddings of all peers."""

    paper = (
        "Wu, Gong. Peer Collaborative Learning for Online Knowledge Distillation. AAAI 2021. "
        "arXiv:2006.04147"
    )

    def __init__(self, config: Any, example: PeerOutputs) -> None:
        super().__init__(config, example)
        width = sum(embedding.shape[1] for embedding in example.embeddings)
        self.classifier = nn.Linear(width, example.logits.shape[-1])

    def ensemble(self, outputs: PeerOutputs) -> Tensor:
        return self.classifier(torch.cat(outputs.embeddings, dim=-1))
