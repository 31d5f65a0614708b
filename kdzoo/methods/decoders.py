"""Decoders, which rebuild the maps of a network's earlier stages from its last one."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdzoo.errors import ConfigError
from kdzoo.peers.attention_maps import attention_map, distance
from kdzoo.peers.calls import Shape
from kdzoo.peers.outputs import PeerOutputs
from kdzoo.peers.watched import StageKey

Maps = tuple[Tensor, ...]


class Decoder(nn.Module):
    """From a last map [B, C, h, w] back to the maps of the stages before it, the latest first.

    For each a transposed convolution of stride 2, batch norm and ReLU.

    Args:
        shapes: (C, h, w) of the maps, from the last stage's backwards.

    Raises:
        ConfigError: a map is not twice as large as the one after it.
    """

    def __init__(self, shapes: Sequence[Shape]) -> None:
        super().__init__()
        for (_, *after), (_, *before) in pairwise(shapes):
            if any(-(-large // 2) != small for large, small in zip(before, after, strict=True)):
                raise ConfigError(
                    "Each of its decoders goes from a stage's maps to those of the stage before, "
                    f"of twice the size, and here {_size(after)} come after {_size(before)}. Name "
                    "fewer stages in method.rebuilt_stages, or leave it out.",
                    ("method", "self_distillation"),
                )
        self.sizes = [(height, width) for _, height, width in shapes[1:]]
        widths = [channels for channels, *_ in shapes]
        self.ups = nn.ModuleList(
            nn.ConvTranspose2d(own, before, 3, stride=2, padding=1, bias=False)
            for own, before in pairwise(widths)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(before) for before in widths[1:])

    def forward(self, last: Tensor) -> list[Tensor]:
        """The rebuilt maps."""
        maps = [last]
        for up, norm, size in zip(self.ups, self.norms, self.sizes, strict=True):
            maps.append(F.relu(norm(up(maps[-1], output_size=size))))
        return maps[1:]

    @torch.no_grad()
    def settled(self, last: Tensor) -> list[Tensor]:
        """The same as in evaluation: normalised by the running statistics, which stay."""
        maps = [last]
        norms = cast(list[nn.BatchNorm2d], list(self.norms))
        for up, norm, size in zip(self.ups, norms, self.sizes, strict=True):
            statistics = norm.running_mean, norm.running_var, norm.weight, norm.bias
            x = F.batch_norm(up(maps[-1], output_size=size), *statistics, eps=norm.eps)
            maps.append(F.relu(x))
        return maps[1:]


class Decoders(nn.Module):
    """A decoder for each peer but the first, and the distances of what they make.

    Self-distillation as in FFSD (Li et al., TNNLS 2022): the earlier stages learn from what is
    rebuilt of the map that teaches the last one.

    Args:
        example: outputs of the peers, to take shapes from.
        stages: those that are rebuilt, from the last but one backwards.

    Raises:
        ConfigError: a map is not twice as large as the one after it.
    """

    def __init__(self, example: PeerOutputs, stages: Sequence[StageKey]) -> None:
        super().__init__()
        self.stages = tuple(stages)
        self.networks = nn.ModuleList()
        for peer, last in enumerate(example.features[1:], start=1):
            maps = [last, *(example.stages[key][peer] for key in stages)]
            self.networks.append(Decoder([tuple(one.shape[1:]) for one in maps]))

    def forward(self, last: Sequence[Tensor], teaching: Sequence[Tensor]) -> dict[StageKey, Maps]:
        """What the decoders make of the last maps of their peers, and of those that teach them.

        Args:
            last: of all peers but the first, held constant.
            teaching: of the same shapes.

        Returns:
            the maps for :meth:`from_taught` and :meth:`of_rebuilt`, by names of their own.
        """
        networks = cast(list[Decoder], list(self.networks))
        # before the running statistics move
        taught = [net.settled(one) for net, one in zip(networks, teaching, strict=True)]
        rebuilt = [net(one) for net, one in zip(networks, last, strict=True)]
        found: dict[StageKey, Maps] = {}
        for place, key in enumerate(self.stages):
            found[f"taught {key}"] = tuple(maps[place] for maps in taught)
            found[f"rebuilt {key}"] = tuple(maps[place] for maps in rebuilt)
        return found

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


def _size(sides: Sequence[int]) -> str:
    return "x".join(map(str, sides))
