"""The networks of each method in plain PyTorch: backbones cut by hand into trunk and branches."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

import kdzoo


@dataclass(frozen=True)
class Shape:
    """How many networks there are, and what they share.

    Attributes:
        peers: P.
        layout: whole networks, branches after the last but one stage, or exits along one network.
        views: how many augmentations of each sample they see.
        teachers: networks that are only evaluated: none, one, or one like each peer.
        hybrids: how many of the peers have the mean of the others' weights, and none of their own;
            here they are networks like the others, which cost the same but for the mean.
        extra_blocks: how many blocks each peer has more in its last stage than the one before it.
    """

    peers: int
    layout: Literal["independent", "branched", "exits"]
    views: int = 1
    teachers: Literal["none", "one", "peers"] = "none"
    hybrids: int = 0
    extra_blocks: int = 0


SHAPES = {
    "independent": Shape(1, "independent"),
    "dml": Shape(2, "independent"),
    "kdcl": Shape(2, "independent", views=2),
    "kd": Shape(1, "independent", teachers="one"),
    "shake": Shape(1, "independent", teachers="one"),
    "cl_ilr": Shape(3, "branched"),
    "one": Shape(3, "branched"),
    "okddip": Shape(4, "branched"),
    "ffl": Shape(2, "branched"),
    "mbde": Shape(3, "branched"),
    "pcl": Shape(3, "branched", views=3, teachers="peers"),
    "byot": Shape(3, "exits"),
    "mcl": Shape(2, "independent"),
    "lmcl": Shape(2, "independent"),
    "mcl_okd": Shape(4, "branched"),
    "afd": Shape(2, "independent"),
    "switokd": Shape(2, "independent"),
    "okdph": Shape(3, "independent", views=3, hybrids=1),
    "ffsd": Shape(3, "branched"),
    "ahbf": Shape(4, "branched", extra_blocks=4),
    "dkel": Shape(3, "branched", views=3, teachers="peers"),
    "tf_kd": Shape(1, "independent"),
    "uskd": Shape(1, "independent"),
    "cs_kd": Shape(1, "independent"),
    "ps_kd": Shape(1, "independent"),
    "dlb": Shape(1, "independent", views=2),
    "bake": Shape(1, "independent"),
    "ddgsd": Shape(1, "independent", views=2),
}
"""Each method's, with its default settings; what it has besides its networks, such as the exits of
``lmcl`` and the shadow head of ``shake``, is not in them."""


class Said(NamedTuple):
    """What one peer says of a batch: logits [B, K], embedding [B, D], features [B, C, h, w]."""

    logits: Tensor
    embedding: Tensor
    features: Tensor


class Branch(nn.Module):
    """The last stages of a network and its classifier."""

    def __init__(self, stages: nn.Sequential, classifier: nn.Linear) -> None:
        super().__init__()
        self.stages = stages
        self.fc = classifier

    def forward(self, x: Tensor) -> Said:
        features = self.stages(x)
        embedding = torch.flatten(nn.functional.adaptive_avg_pool2d(features, 1), 1)
        return Said(self.fc(embedding), embedding, features)


class Peers(nn.Module):
    """Whole networks, or branches of one trunk.

    Args:
        shape: the method's.
        backbone: the name of a ResNet or VGG.
        classes: K.
    """

    def __init__(self, shape: Shape, backbone: str, classes: int) -> None:
        super().__init__()
        shared = shape.layout == "branched"
        extra = [shape.extra_blocks * peer for peer in range(shape.peers)]
        cut = [_halves(backbone, classes, shared, blocks) for blocks in extra]
        self.trunk = cut[0][0]
        self.branches = nn.ModuleList(branch for _, branch in cut)

    def forward(self, views: Sequence[Tensor]) -> tuple[Tensor, list[Said]]:
        """The trunk's features and what each peer says of its view; of the only one, all peers.

        One peer says what it does of all views, one after the other.
        """
        if len(views) == 1 or len(self.branches) == 1:
            trunk = self.trunk(torch.cat(list(views)))
            return trunk, [branch(trunk) for branch in self.branches]
        trunk = self.trunk(torch.cat(list(views)))
        own = trunk.chunk(len(views))
        return trunk, [branch(x) for branch, x in zip(self.branches, own, strict=True)]


class Exits(nn.Module):
    """One network with classifiers after the stages before its last; as the last peer, its own."""

    def __init__(self, shape: Shape, backbone: str, classes: int) -> None:
        super().__init__()
        stages, classifier = _stages(kdzoo.create_backbone(backbone, classes))
        early = len(stages) - shape.peers
        self.trunk = nn.Sequential(*stages[: early + 1])
        self.rest = nn.ModuleList(stages[early + 1 :])
        x = torch.zeros(2, 3, 32, 32)
        maps = []
        for stage in stages:
            maps.append(x := stage(x))
        self.exits = nn.ModuleList(
            Branch(_bottleneck(before, maps[-1]), nn.Linear(maps[-1].shape[1], classes))
            for before in maps[early:-1]
        )
        self.own = Branch(nn.Sequential(), classifier)

    def forward(self, views: Sequence[Tensor]) -> tuple[Tensor, list[Said]]:
        x = trunk = self.trunk(views[0])
        said = []
        for leave, stage in zip(self.exits, self.rest, strict=True):
            said.append(leave(x))
            x = stage(x)
        return trunk, [*said, self.own(x)]


def build(shape: Shape, backbone: str, classes: int) -> nn.Module:
    """The networks that are trained."""
    return (Exits if shape.layout == "exits" else Peers)(shape, backbone, classes)


def build_teachers(shape: Shape, backbone: str, classes: int) -> nn.Module | None:
    """The networks that are only evaluated, if any."""
    if shape.teachers == "none":
        return None
    if shape.teachers == "one":
        shape = Shape(1, "independent")
    return build(shape, backbone, classes).requires_grad_(False)


def _halves(
    backbone: str, classes: int, shared: bool, extra_blocks: int
) -> tuple[nn.Module, Branch]:
    network: Any = kdzoo.create_backbone(backbone, classes)
    if extra_blocks:
        network.deepen(extra_blocks)
    stages, classifier = _stages(network)
    cut = len(stages) - 1 if shared else 0
    return nn.Sequential(*stages[:cut]), Branch(nn.Sequential(*stages[cut:]), classifier)


def _stages(network: nn.Module) -> tuple[list[nn.Module], nn.Module]:
    """A network's stages, the stem with the first, and its classifier."""
    children = dict(network.named_children())
    names = [name for name in children if name.startswith("layer")]
    if not names or list(children)[-2:] != ["avgpool", "fc"]:
        raise SystemExit("The benchmark cuts ResNets and VGGs by hand, and this is neither.")
    stem = [child for name, child in children.items() if name not in (*names, "avgpool", "fc")]
    stages: list[nn.Module] = [children[name] for name in names]
    stages[0] = nn.Sequential(*stem, stages[0])
    return stages, children["fc"]


def _bottleneck(before: Tensor, last: Tensor) -> nn.Sequential:
    """From early features to the shape of the last ones, as BYOT's exits have it."""
    width, stride = last.shape[1], before.shape[-1] // last.shape[-1]
    layers: list[nn.Module] = []
    sizes = [(before.shape[1], width // 4, 1), (width // 4, width // 4, stride)]
    for inputs, outputs, kernel in (*sizes, (width // 4, width, 1)):
        conv = nn.Conv2d(inputs, outputs, kernel, stride=kernel, bias=False)
        layers += [conv, nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)
