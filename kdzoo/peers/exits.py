"""One network with early exits, auxiliary classifiers along its way, seen as peers."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from kdzoo.backbones.backbone import Backbone
from kdzoo.backbones.layers import global_average, initialise
from kdzoo.backbones.logits import logits_of
from kdzoo.errors import ConfigError
from kdzoo.peers.anatomy import Stage
from kdzoo.peers.calls import Shape
from kdzoo.peers.group import PeerGroup
from kdzoo.peers.hooked import HookedNetwork
from kdzoo.peers.outputs import PeerOutputs
from kdzoo.peers.start import notes_on_start
from kdzoo.peers.watched import StageKey, anatomy_with
from kdzoo.seeding import derive


class ExitPeers(PeerGroup):
    """P classifiers on one network: an exit after each of P-1 stages, and the network's own, last.

    The exits stand after the stages just before the last one, the shallowest first.

    Args:
        backbone: of the network.
        num_peers: P.
        seed: fixes the initial weights of the network and the exits.
        watched: stages of the network, whose maps are asked for.

    Raises:
        ConfigError: the network has fewer than P stages.
        UserError: it has no stage that is asked for.
    """

    def __init__(
        self, backbone: Backbone, num_peers: int, seed: int, watched: Sequence[StageKey] = ()
    ) -> None:
        super().__init__()
        self.backbones = (backbone,) * num_peers
        network = backbone.build(seed)
        self.notes = notes_on_start([backbone], [network], [])
        anatomy = anatomy_with(backbone, network, watched)
        if num_peers > len(anatomy.stages):
            raise ConfigError(
                f"{backbone.name} has {len(anatomy.stages)} stages, too few for {num_peers} "
                f"classifiers. Set method.peers={len(anatomy.stages)} or less.",
                ("method", "peers"),
            )
        stages = anatomy.stages[-num_peers:]
        self.trunk = HookedNetwork(network, anatomy.classifier, stages, anatomy.watched)
        classes, width = self.trunk.classifier_weight().shape
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(seed, "exits"))
            self.exits = nn.ModuleList(
                Exit(_map_shape(stage), _map_shape(stages[-1]), width, classes)
                for stage in stages[:-1]
            )

    def forward(self, x: Tensor) -> PeerOutputs:
        whole = self.trunk(x)
        early = [leave(f) for leave, f in zip(self.exits, whole.features[:-1], strict=True)]
        logits = [logits_of(at_exit.logits, whole.logits.shape[1]) for at_exit in early]
        return PeerOutputs(
            logits=torch.stack([*logits, whole.logits]),
            embeddings=(*(at_exit.embedding for at_exit in early), whole.embedding),
            features=(*(at_exit.features for at_exit in early), whole.features[-1]),
            stages={key: (seen,) * self.num_peers for key, seen in whole.watched.items()},
        )

    def classifier_weights(self) -> tuple[Tensor, ...]:
        exits = [leave.get_parameter("classifier.weight") for leave in self.exits]
        return (*exits, self.trunk.classifier_weight())

    def state_of(self, peer: int) -> dict[str, Tensor]:
        if peer % self.num_peers != self.num_peers - 1:
            raise ValueError(f"Exit {peer} is a part of a network; the last peer is the whole one.")
        return self.trunk.network.state_dict()


class AtExit(NamedTuple):
    """What an exit makes of early features: [B, K], [B, D] and [B, D, h, w]."""

    logits: Tensor
    embedding: Tensor
    features: Tensor


class Exit(nn.Module):
    """A bottleneck that brings early features to the shape of the last ones, and a classifier.

    Args:
        early: (C, h, w) of the map that the exit stands on.
        last: that of the network's last map, whose resolution one strided convolution reaches.
        width: D, the width of the network's embedding.
        classes: K.
    """

    def __init__(self, early: Shape, last: Shape, width: int, classes: int) -> None:
        super().__init__()
        channels, height, breadth = early
        _, last_height, last_breadth = last
        stride = max(height // last_height, 1), max(breadth // last_breadth, 1)
        middle = max(width // 4, 1)
        self.reduce = nn.Sequential(
            *_conv(channels, middle, (1, 1)),
            *_conv(middle, middle, stride),
            *_conv(middle, width, (1, 1)),
        )
        self.classifier = nn.Linear(width, classes)
        initialise(self)

    def forward(self, early: Tensor) -> AtExit:
        """Features of the stage [B, C, h, w] -> the exit's own features, and what it says."""
        features = self.reduce(early)
        embedding = global_average(features)
        return AtExit(self.classifier(embedding), embedding, features)


def _conv(channels: int, width: int, stride: tuple[int, int]) -> tuple[nn.Module, ...]:
    conv = nn.Conv2d(channels, width, kernel_size=stride, stride=stride, bias=False)
    return conv, nn.BatchNorm2d(width), nn.ReLU()


def _map_shape(stage: Stage) -> Shape:
    """(C, h, w) of a stage's features as a map."""
    _, channels, height, width = stage.as_map(torch.empty(1, *stage.shape, device="meta")).shape
    return channels, height, width
