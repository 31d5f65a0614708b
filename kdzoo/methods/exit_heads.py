"""What a network has besides itself where its exits are compared with those of others."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from kdzoo.methods.mutual_contrast import projection
from kdzoo.peers.calls import Shape
from kdzoo.peers.exits import Exit


class ExitHeads(nn.Module):
    """What one network has besides itself: exits, and heads on the embeddings of all its L exits.

    The network's own classifier is the last of the L.

    Args:
        early: (C, h, w) of the map of each exit but the last.
        last: that of the network's last map.
        width: D, of the network's embedding.
        classes: K.
        compared: the width of the embeddings that are compared.
    """

    def __init__(
        self, early: Sequence[Shape], last: Shape, width: int, classes: int, compared: int
    ) -> None:
        super().__init__()
        count = len(early) + 1
        self.exits = nn.ModuleList(Exit(shape, last, width, classes) for shape in early)
        self.gate = projection(count * width, width, count)
        self.projections = nn.ModuleList(
            projection(width, compared, compared) for _ in range(count)
        )

    def embeddings(self, early: Sequence[Tensor]) -> list[Tensor]:
        """The embedding [B, D] of each exit but the last, of the maps [B, C, h, w] it stands on."""
        return [leave(seen).embedding for leave, seen in zip(self.exits, early, strict=True)]

    def logits(self, h: Sequence[Tensor], z: Tensor) -> Tensor:
        """[L, B, K], of L embeddings [B, D] and the network's own logits z [B, K]."""
        classifiers = [leave.get_submodule("classifier") for leave in self.exits]
        said = [classify(e) for classify, e in zip(classifiers, h[:-1], strict=True)]
        return torch.stack([*said, z])

    def weights(self, h: Sequence[Tensor]) -> Tensor:
        """[B, L], how much each exit counts for each sample."""
        return cast(Tensor, self.gate(torch.cat(list(h), dim=1)).softmax(dim=1))

    def projected(self, h: Sequence[Tensor]) -> list[Tensor]:
        """The L embeddings as they are compared, [B, compared] each."""
        return [project(e) for project, e in zip(self.projections, h, strict=True)]
