"""A decoder, which rebuilds the maps of a network's earlier stages from its last one."""

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdzoo.errors import ConfigError
from kdzoo.peers.calls import Shape


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


def _size(sides: Sequence[int]) -> str:
    return "x".join(map(str, sides))
