"""P peers of one task, trained together: independent networks, or branches of one trunk."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from kdzoo.backbones.backbone import Backbone
from kdzoo.backbones.logits import logits_of
from kdzoo.errors import UserError
from kdzoo.peers.anatomy import Anatomy
from kdzoo.peers.calls import mode, probe_batch
from kdzoo.peers.crossing import joined, scale_gradient
from kdzoo.peers.hooked import HookedNetwork, pooled, weight_of
from kdzoo.peers.outputs import PeerOutputs
from kdzoo.peers.split import NetworkSplit, split_network
from kdzoo.peers.start import notes_on_start, separate, set_apart
from kdzoo.peers.streams import CallEach, in_turn
from kdzoo.peers.subnetwork import Subnetwork
from kdzoo.peers.watched import StageKey, anatomy_with
from kdzoo.seeding import derive


class PeerGroup(nn.Module, ABC):
    """P networks that see a batch together.

    Attributes:
        backbones: of each peer.
        notes: what a person should know about the weights that the peers start from.
        call_each: calls the networks that do not wait for each other, as
            :func:`~kdzoo.peers.streams.in_turn` does. A trainer may set another way.
    """

    backbones: tuple[Backbone, ...]
    notes: tuple[str, ...] = ()
    call_each: CallEach = staticmethod(in_turn)

    @property
    def num_peers(self) -> int:
        """P."""
        return len(self.backbones)

    @abstractmethod
    def forward(self, x: Tensor) -> PeerOutputs:
        """What every peer says about a batch.

        Args:
            x: [B, C, H, W], the same samples for every peer; or [P, B, C, H, W], each its own.
        """

    @abstractmethod
    def classifier_weights(self) -> tuple[Tensor, ...]:
        """P tensors [K, D_p], through which gradients flow to the classifiers."""

    @abstractmethod
    def state_of(self, peer: int) -> dict[str, Tensor]:
        """The state dict of one peer as a whole network, under the backbone's own names."""

    @torch.no_grad()
    def example(self) -> PeerOutputs:
        """The outputs for a batch of two, in evaluation mode, to take shapes from."""
        x = probe_batch(self, self.backbones[0].input_size, samples=2)
        with mode(self, training=False):
            return self(x)

    def network(self, peer: int) -> nn.Module:
        """A plain network with one peer's weights, in the peers' mode and on their device.

        It is what the backbone builds, with nothing of kdzoo in it, and shares no memory.
        """
        state = self.state_of(peer)
        network = self.backbones[peer].build(seed=0)
        tensors = [value for value in state.values() if isinstance(value, Tensor)]
        floating = next((value for value in tensors if value.is_floating_point()), None)
        if floating is not None:
            network.to(device=floating.device, dtype=floating.dtype)
        network.load_state_dict(state, strict=True)
        return network.train(self.training)


class IndependentPeers(PeerGroup):
    """P whole networks, which may differ in architecture. Works for every network.

    Args:
        backbones: one a peer.
        seed: the first peer is what its backbone builds under this very seed; the others' seeds
            follow from it.
        stages: whose maps are asked for, besides the last one's.

    Raises:
        UserError: a network has no such stage.
    """

    def __init__(
        self, backbones: Sequence[Backbone], seed: int, stages: Sequence[StageKey] = ()
    ) -> None:
        super().__init__()
        self.backbones = tuple(backbones)
        seeds = peer_seeds(seed, len(self.backbones))
        networks = separate(map(Backbone.build, self.backbones, seeds))
        found: dict[int, Anatomy] = {}
        for backbone, network in zip(self.backbones, networks, strict=True):
            if id(backbone) not in found:
                found[id(backbone)] = anatomy_with(backbone, network, stages)
        anatomies = [found[id(backbone)] for backbone in self.backbones]
        new = set_apart(networks, [anatomy.classifier for anatomy in anatomies], seed)
        self.notes = notes_on_start(self.backbones, networks, new)
        self.peers = nn.ModuleList(
            HookedNetwork(network, anatomy.classifier, anatomy.stages[-1:], anatomy.watched)
            for network, anatomy in zip(networks, anatomies, strict=True)
        )

    def forward(self, x: Tensor) -> PeerOutputs:
        batches = x if x.ndim == 5 else [x] * self.num_peers
        said = self.call_each(self._hooked(), [(batch,) for batch in batches])
        return PeerOutputs(
            logits=torch.stack([one.logits for one in said]),
            embeddings=tuple(one.embedding for one in said),
            features=tuple(one.features[-1] for one in said),
            stages={key: tuple(one.watched[key] for one in said) for key in said[0].watched},
        )

    def classifier_weights(self) -> tuple[Tensor, ...]:
        return tuple(peer.classifier_weight() for peer in self._hooked())

    def state_of(self, peer: int) -> dict[str, Tensor]:
        return self._hooked()[peer].network.state_dict()

    def _hooked(self) -> list[HookedNetwork]:
        return cast(list[HookedNetwork], list(self.peers))


class BranchedPeers(PeerGroup):
    """One trunk that P branches share, each with its own initial weights.

    Args:
        backbones: one a peer, which may differ behind the trunk; where it ends, their ``split_at``
            says.
        seed: trunk and first branch together are what the first backbone builds under this very
            seed; the seeds of the other branches follow from it.
        trunk_gradient: what the gradient from the branches into the trunk is multiplied by; 1/P in
            CL-ILR.
        stages: whose maps are asked for, besides the last one's.

    Raises:
        UserError: a network cannot be cut there or has no such stage, or the networks have no trunk
            in common.
    """

    def __init__(
        self,
        backbones: Sequence[Backbone],
        seed: int,
        trunk_gradient: float = 1.0,
        stages: Sequence[StageKey] = (),
    ) -> None:
        super().__init__()
        self.backbones = tuple(backbones)
        self.trunk_gradient = trunk_gradient
        distinct = {id(backbone): backbone for backbone in backbones}
        seeds = peer_seeds(seed, len(self.backbones))
        patterns = [backbone.build(seed) for backbone in distinct.values()]
        networks = separate([*patterns, *map(Backbone.build, self.backbones, seeds)])
        found = {}
        for (key, backbone), pattern in zip(distinct.items(), networks, strict=False):
            anatomy = anatomy_with(backbone, pattern, stages)
            found[key] = _Plan(anatomy, split_network(backbone, pattern, anatomy))
        networks = networks[len(distinct) :]
        self._plans = [found[id(backbone)] for backbone in self.backbones]
        new = set_apart(networks, [plan.anatomy.classifier for plan in self._plans], seed)
        self.notes = notes_on_start(self.backbones, networks, new)
        trunks = [
            Subnetwork(network, plan.split.trunk)
            for network, plan in zip(networks, self._plans, strict=True)
        ]
        for backbone, trunk in zip(self.backbones, trunks, strict=True):
            if _shapes(trunk) != _shapes(trunks[0]):
                raise UserError(
                    f"{self.backbones[0].name} and {backbone.name} differ before the place where "
                    "they are cut, so they have no trunk in common. Choose another split_at."
                )
        self._crossings = {
            training: joined([plan.split.crossing(training) for plan in found.values()])
            for training in (True, False)
        }
        self.trunk = trunks[0]
        self.branches = nn.ModuleList(
            Subnetwork(network, plan.split.branch)
            for network, plan in zip(networks, self._plans, strict=True)
        )

    def forward(self, x: Tensor) -> PeerOutputs:
        own_samples = x.ndim == 5
        values = self.trunk(x.flatten(0, 1) if own_samples else x)
        trunk = self._plans[0].split.stage.map_of(values[0])
        values = scale_gradient(values, self.trunk_gradient)
        crossing = self._crossings[self.training]
        if own_samples:
            inputs = crossing.chunk(values, self.num_peers)
        else:
            inputs = crossing.repeat(values, self.num_peers)
        classes = self.backbones[0].num_classes
        said = self.call_each(list(self.branches), inputs)
        anatomies = [plan.anatomy for plan in self._plans]
        return PeerOutputs(
            logits=torch.stack([logits_of(output, classes) for output, *_ in said]),
            embeddings=tuple(
                pooled(embedding, head)
                for (_, embedding, *_), head in zip(said, self._classifiers(), strict=True)
            ),
            features=tuple(
                anatomy.stages[-1].map_of(features)
                for (_, _, features, _), anatomy in zip(said, anatomies, strict=True)
            ),
            trunk=trunk,
            stages={
                key: tuple(
                    anatomy.watched[key].map_of(watched[place])
                    for (*_, watched), anatomy in zip(said, anatomies, strict=True)
                )
                for place, key in enumerate(anatomies[0].watched)
            },
        )

    def classifier_weights(self) -> tuple[Tensor, ...]:
        return tuple(weight_of(classifier) for classifier in self._classifiers())

    def state_of(self, peer: int) -> dict[str, Tensor]:
        return {**self.trunk.state_dict(), **self.branches[peer].state_dict()}

    def _classifiers(self) -> list[nn.Module]:
        return [
            branch.get_submodule(plan.anatomy.classifier)
            for branch, plan in zip(self.branches, self._plans, strict=True)
        ]


class _Plan(NamedTuple):
    """What is known of all networks of a backbone: what is seen in them, and where they are cut."""

    anatomy: Anatomy
    split: NetworkSplit


def _shapes(trunk: nn.Module) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in trunk.state_dict().items()}


def peer_seeds(seed: int, peers: int) -> list[int]:
    """A seed for each peer; the first is ``seed`` itself."""
    return [seed, *(derive(seed, "peer", peer) for peer in range(1, peers))]
