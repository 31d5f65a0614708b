"""OKDPH, parameter hybridization: the mean of the students' weights is a network that learns."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.func import functional_call

from kdzoo.backbones.backbone import Backbone
from kdzoo.methods.base import Batch, Method, MethodOutputs
from kdzoo.methods.losses import cross_entropy
from kdzoo.methods.settings import OKDPHConfig
from kdzoo.peers.group import IndependentPeers
from kdzoo.peers.outputs import PeerOutputs
from kdzoo.registry import methods

PREFIX = "network."
"""Of the names of a peer's parameters, what is not the backbone's."""


@methods.register("okdph")
class OKDPH(Method):
    """Students around a hybrid network with the mean of their weights, which is deployed.

    ``sum_i [omega CE(z_i, y) + beta KL(t || i)] + (1 - omega) CE(z_h, y)``: z_h are the logits of
    the network with the weights ``h = 1/P sum_i theta_i``, through which gradients flow to every
    student, and t is the mean of all P + 1 logits, held constant. Now and then the students move
    towards the hybrid network: ``theta_i <- gamma h + (1 - gamma) theta_i``.
    """

    Config = OKDPHConfig
    paper = (
        "Zhang, Lin, Hu, Li, Chen, Zhang. Generalization Matters: Loss Minima Flattening via "
        "Parameter Hybridization for Efficient Online Knowledge Distillation. CVPR 2023. "
        "arXiv:2303.14666"
    )
    sees_targets = False
    peers: IndependentPeers
    steps: Tensor

    def build_peers(self, backbones: Sequence[Backbone], seed: int) -> IndependentPeers:
        """Students that all start from the first one's weights."""
        peers = IndependentPeers(backbones, seed)
        first = peers.state_of(0)
        for peer in range(1, peers.num_peers):
            for name, value in peers.state_of(peer).items():
                value.copy_(first[name])
        return peers

    def build_heads(self, example: PeerOutputs) -> None:
        super().build_heads(example)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    @property
    def views(self) -> int:
        return self.config.peers + 1

    def outputs(self, x: Tensor) -> MethodOutputs:
        own, hybrids = (x[:-1], x[-1]) if x.ndim == 5 else (x, x)
        hybrid = functional_call(self.peers.peers[0], self.hybrid_state(), (hybrids,))
        return replace(super().outputs(own), teachers=hybrid.logits.unsqueeze(0))

    def loss(self, outputs: MethodOutputs, batch: Batch) -> dict[str, Tensor]:
        z, z_h, omega = outputs.logits, outputs.teachers, self.config.omega
        target = torch.cat([z, z_h]).mean(dim=0).detach()
        return {
            "ce": omega * cross_entropy(z, batch.y),
            "hybrid_ce": (1 - omega) * cross_entropy(z_h, batch.y),
            "kd": self.config.beta * self.divergence(target.expand_as(z), z, batch.y),
        }

    def predict(self, outputs: MethodOutputs) -> dict[str, Tensor]:
        return {**super().predict(outputs), "student": outputs.teachers[0]}

    def student(self) -> nn.Module:
        network, hybrid = self.peers.network(0), self.hybrid_state()
        state = {name: hybrid[PREFIX + name] for name in network.state_dict()}
        network.load_state_dict(state, strict=True)
        return network

    def hybrid_state(self) -> dict[str, Tensor]:
        """Parameters and buffers of the hybrid network, under the names of a peer's.

        Gradients flow through the parameters; of buffers that are no floating-point numbers they
        are the first student's.
        """
        peers = [_tensors(peer) for peer in self.peers.peers]
        return {
            name: torch.stack([peer[name] for peer in peers]).mean(dim=0)
            if value.is_floating_point()
            else value.clone()
            for name, value in peers[0].items()
        }

    def after_step(self) -> None:
        if self.config.interval != "epoch":
            self.steps += 1
            self.fuse(self.config.gamma * (self.steps % self.config.interval == 0))

    def after_epoch(self) -> None:
        if self.config.interval == "epoch":
            self.fuse(self.config.gamma)

    @torch.no_grad()
    def fuse(self, rate: Tensor | float) -> None:
        """Move all students towards the hybrid network, by a share of the way."""
        hybrid = self.hybrid_state()
        for peer in self.peers.peers:
            own = {name: t for name, t in _tensors(peer).items() if t.is_floating_point()}
            present = list(own.values())
            change = torch._foreach_sub([hybrid[name] for name in own], present)
            torch._foreach_mul_(change, rate)
            torch._foreach_add_(present, change)


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    named = [module.named_parameters(remove_duplicate=False), module.named_buffers()]
    return {name: tensor for each in named for name, tensor in each}
