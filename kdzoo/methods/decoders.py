"""The decoders of several networks, and what is learnt from the maps that they rebuild."""

from collections.abc import Iterator, Mapping, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdzoo.errors import ConfigError
from kdzoo.methods.decoder import Decoder
from kdzoo.methods.settings import FFSDConfig
from kdzoo.peers.attention_maps import attention_map, distance, moved_away
from kdzoo.peers.outputs import PeerOutputs
from kdzoo.peers.watched import StageKey

Maps = tuple[Tensor, ...]


class Decoders(nn.Module):
    """A decoder for each peer but the first, and the distances of what they make.

    Self-distillation as in FFSD (Li et al., TNNLS 2022): the earlier stages learn from what is
    rebuilt of the map that teaches the last one.

    Args:
        example: outputs of the peers, to take shapes from.
        stages: those that are rebuilt, from the last but one backwards.
        fused: C of the fused map, which teaches the last peer.

    Raises:
        ConfigError: a map is not twice as large as the one after it, or the fused map is not as
            wide as the last peer's.
    """

    def __init__(self, example: PeerOutputs, stages: Sequence[StageKey], fused: int) -> None:
        super().__init__()
        own = example.features[-1].shape[1]
        if fused != own:
            raise ConfigError(
                "The leader's decoder goes from fused maps as well as from the leader's own, "
                f"which have {own} channels. Leave it out.",
                ("method", "aggregator", "channels"),
            )
        self.stages = tuple(stages)
        self.networks = nn.ModuleList()
        for peer, last in enumerate(example.features[1:], start=1):
            maps = [last, *(example.stages[key][peer] for key in stages)]
            self.networks.append(Decoder([tuple(one.shape[1:]) for one in maps]))

    def forward(self, last: Sequence[Tensor], fused: Tensor) -> dict[StageKey, Maps]:
        """What the decoders make of the last maps of their peers, and of those that teach them.

        Each peer is taught by the map of the one before, moved away, and the last by the fused one.

        Args:
            last: of all peers, held constant.
            fused: held constant, too.

        Returns:
            the maps for :meth:`from_taught` and :meth:`of_rebuilt`, by names of their own.
        """
        networks = cast(list[Decoder], list(self.networks))
        teaching = [*map(moved_away, last[:-2]), fused]
        # before the running statistics move
        taught = [net.settled(one) for net, one in zip(networks, teaching, strict=True)]
        rebuilt = [net(one) for net, one in zip(networks, last[1:], strict=True)]
        found: dict[StageKey, Maps] = {}
        for place, key in enumerate(self.stages):
            found[f"taught {key}"] = tuple(maps[place] for maps in taught)
            found[f"rebuilt {key}"] = tuple(maps[place] for maps in rebuilt)
        return found

    def terms(
        self, stages: Mapping[StageKey, Maps], config: FFSDConfig, w: Tensor
    ) -> dict[str, Tensor]:
        """What the earlier stages learn, and what the decoders do.

        Args:
            stages: with what :meth:`forward` returns among them.
            config: gives the weights.
            w: what all of it is multiplied by.
        """
        earlier = self.from_taught(stages)
        taught = config.diversity_weight * earlier[:-1].sum() + config.fusion_weight * earlier[-1]
        rebuilt = self.of_rebuilt(stages).sum()
        return {"self_distillation": w * taught, "decoders": w * config.decoder_weight * rebuilt}

    def from_taught(self, stages: Mapping[StageKey, Maps]) -> Tensor:
        """How far each peer's attention is from the taught one, summed over stages, [P - 1]."""
        return torch.stack(
            [
                torch.stack(
                    [distance(attention_map(own), attention_map(one)) for own, one in pairs]
                )
                for pairs in self._pairs(stages, "taught")
            ]
        ).sum(dim=0)

    def of_rebuilt(self, stages: Mapping[StageKey, Maps]) -> Tensor:
        """How far the rebuilt maps, and their attention, are from the peers' own, [P - 1]."""
        apart = [
            torch.stack([_apart(own.detach(), one) for own, one in pairs])
            for pairs in self._pairs(stages, "rebuilt")
        ]
        return torch.stack(apart).sum(dim=0)

    def _pairs(
        self, stages: Mapping[StageKey, Maps], kind: str
    ) -> Iterator[list[tuple[Tensor, Tensor]]]:
        """For each stage the maps of each peer but the first, with those of its decoder."""
        for key in self.stages:
            yield list(zip(stages[key][1:], stages[f"{kind} {key}"], strict=True))


def _apart(own: Tensor, rebuilt: Tensor) -> Tensor:
    maps = distance(F.normalize(rebuilt.flatten(1)), F.normalize(own.flatten(1)))
    return maps + distance(attention_map(rebuilt), attention_map(own))
