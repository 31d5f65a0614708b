"""What a group of peers says about a batch: logits, embeddings, last-block features."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from torch import Tensor


@dataclass(frozen=True)
class PeerOutputs:
    """The outputs of P peers for B samples and K classes.

    Attributes:
        logits: [P, B, K], at least float32.
        embeddings: P tensors [B, D_p], what each peer's classifier is given.
        features: P tensors [B, C_p, h, w], each peer's last-block features. NHWC maps are
            transposed and token features [B, N, C] come as [B, C, N, 1].
        trunk: [B, C, h, w], the features that the peers share, at the cut; [P*B, C, h, w], peer
            after peer, where each peer has samples of its own; None where they share nothing
            (independent layout).
        stages: the maps of the stages that a method, or a part of it, asks for, by the number or
            name that it asks with: P tensors [B, C_p, h, w] each, as ``features``. Where a stage is
            shared, before the cut, or is that of a network with exits, all P are the same tensor.
    """

    logits: Tensor
    embeddings: tuple[Tensor, ...]
    features: tuple[Tensor, ...]
    trunk: Tensor | None = None
    stages: Mapping[int | str, tuple[Tensor, ...]] = field(default_factory=dict)

    def first(self, count: int) -> "PeerOutputs":
        """The outputs of the first ``count`` peers."""
        return replace(
            self,
            logits=self.logits[:count],
            embeddings=self.embeddings[:count],
            features=self.features[:count],
            stages={key: maps[:count] for key, maps in self.stages.items()},
        )
