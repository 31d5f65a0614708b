"""A backbone: one architecture, from which the peers and the student are built."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from kdzoo.backbones.task import Task
from kdzoo.backbones.weights import load_weights, match_weights
from kdzoo.errors import UserError


@runtime_checkable
class Deepening(Protocol):
    """A network that can be given more blocks."""

    def deepen(self, blocks: int) -> None:
        """Add freshly drawn blocks at the end of the last stage, which keep the shape there."""


@dataclass(frozen=True)
class Backbone:
    """How to build networks of one architecture for one task.

    Attributes:
        name: what the user called it, e.g. ``resnet20`` or ``timm/convnext_atto``.
        network: builds one network; called again for every peer and for the student.
        num_classes: K, the classifier's outputs.
        input_size: (C, H, W) of one sample.
        kwargs: the keyword arguments the user passed through to the network.
        split_at: where to cut it into trunk and branch: a stage's name, its number, a fraction of
            the stages, or None for before the last stage, as the papers do.
        classifier: the name of its classifier module; None to find it.
        weights: a state dict that networks start from; None to leave them as ``network`` returns
            them.
        origin: what the user calls the weights that networks start from, a file or a module; ""
            where each network draws its own.
        task: the data that it is to be trained on.
        extra_blocks: how many blocks the last stage has beyond what ``network`` builds, see
            :meth:`deeper`.
    """

    name: str
    network: Callable[[], nn.Module]
    num_classes: int
    input_size: tuple[int, int, int]
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    split_at: str | int | float | None = None
    classifier: str | None = None
    weights: Mapping[str, Tensor] | None = None
    origin: str = ""
    task: Task = field(default_factory=Task)
    extra_blocks: int = 0

    def deeper(self, blocks: int) -> "Backbone":
        """The same backbone with so many blocks more in its last stage; itself for none.

        Weights to start from are those of the network without them; the blocks are drawn.
        """
        if not blocks:
            return self
        name = f"{self.name} with {blocks} more blocks"
        return replace(self, name=name, extra_blocks=self.extra_blocks + blocks)

    def build(self, seed: int) -> nn.Module:
        """A network as training starts from it; what is drawn in it depends on ``seed`` alone.

        Raises:
            UserError: the weights that it is to start from are not this network's, or it is to be
                deeper and cannot be.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = self._shaped(self.network())
            if self.weights is not None:
                load_weights(network, self.weights, self.num_classes, self.origin)
            if self.extra_blocks:
                self._deepen(network)
        return network

    def start_of(self, network: nn.Module) -> str:
        """What a network that :meth:`build` returned starts from, in a sentence; or ""."""
        if self.extra_blocks:
            return ""  # what it starts from is what the network without them starts from
        if self.weights is not None:
            found = match_weights(network, self.weights, self.num_classes, self.origin)
            return f"{self.name} starts from {self.origin}: {found}."
        if self.origin:
            return f"{self.name} starts from {self.origin}: {len(network.state_dict())} tensors."
        return ""

    def _deepen(self, network: nn.Module) -> None:
        if not isinstance(network, Deepening):
            raise UserError(
                f"{self.name} are asked for, and this network cannot be made deeper. kdzoo's "
                "ResNets and WRNs can; a network of your own can with a method deepen(blocks) that "
                "adds so many to its last stage."
            )
        network.deepen(self.extra_blocks)

    def _shaped(self, network: nn.Module) -> nn.Module:
        """A network whose lazy modules have met an image, and so have weights."""
        tensors = [*network.parameters(), *network.buffers()]
        if any(is_lazy(tensor) for tensor in tensors):
            was_training = network.training
            with torch.no_grad():
                network.eval()(torch.zeros(2, *self.input_size))
            network.train(was_training)
        return network
