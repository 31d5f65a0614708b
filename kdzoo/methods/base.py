"""The interface of a method: from a batch and its labels to the terms of the loss."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from kdzoo import registry
from kdzoo.backbones.backbone import Backbone
from kdzoo.component import Component, ComponentConfig, by_name
from kdzoo.errors import ConfigError
from kdzoo.peers.group import BranchedPeers, IndependentPeers, PeerGroup
from kdzoo.peers.outputs import PeerOutputs

RegularizerChoice = Annotated[Component, by_name(registry.regularizers, "cd")]


class StepResult(NamedTuple):
    """What one step of a method gives.

    Attributes:
        terms: the named terms of the loss, scalars; their sum is the loss.
        predictions: detached logits: ``student`` [B, K], ``ensemble`` [B, K], ``peers`` [P, B, K].
    """

    terms: dict[str, Tensor]
    predictions: dict[str, Tensor]


class MethodConfig(ComponentConfig):
    """What every method can be told."""

    peers: Annotated[int, Field(ge=1)] = 3
    """P, how many copies of the backbone are trained together."""
    layout: Literal["branched", "independent"] = "branched"
    """How they share: one trunk with P branches, or P whole networks."""
    aggregator: Annotated[Component, by_name(registry.aggregators, "mean")] = Field("mean")
    """What turns the peers' outputs into target logits and the ensemble."""
    regularizers: tuple[RegularizerChoice, ...] = ()
    """Losses on the peers themselves, each times its weight."""


class DistillationConfig(MethodConfig):
    """What the methods with a temperature-softened target share."""

    temperature: Annotated[float, Field(gt=0)] = 3.0
    """T, which softens the distributions that are compared."""
    ramp_up: Annotated[float, Field(ge=0, le=1)] = 80 / 300
    """The fraction of the training over which the weight w of the distillation rises to 1; the
    papers take 80 of their 300 epochs."""


class Method(nn.Module, ABC):
    """Several peers of a backbone and the loss that trains them together.

    A subclass defines :meth:`loss`. One forward pass does a whole step's work, so the module as a
    whole can be compiled, captured in a CUDA graph or wrapped for distributed training.

    Args:
        config: the method's settings, an instance of the class's ``Config``.
        backbones: one backbone for all peers, or one for each peer.
        seed: fixes the initial weights; each peer draws from a seed of its own.

    Raises:
        ConfigError: the settings do not fit each other or the backbone.
    """

    Config: ClassVar[type[MethodConfig]] = MethodConfig
    paper: ClassVar[str] = ""
    """Authors, title, venue and year of the source."""
    views: ClassVar[int] = 1
    """How many augmented views of each sample the method asks for."""
    trains_aggregator: ClassVar[bool] = False
    """Whether the loss has a gradient for the aggregator's parameters."""
    mixes_backbones: ClassVar[bool] = False
    """Whether the peers may be of different architectures."""

    def __init__(self, config: Any, backbones: Sequence[Backbone], seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.peers = self.build_peers(self._one_each(backbones), seed)
        example = self.peers.example()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.build_heads(example)

    def build_peers(self, backbones: Sequence[Backbone], seed: int) -> PeerGroup:
        """The peers, in the layout of the config; ``backbones`` holds one a peer."""
        if self.config.layout == "branched":
            return BranchedPeers(backbones[0], len(backbones), seed)
        return IndependentPeers(backbones, seed)

    def build_heads(self, example: PeerOutputs) -> None:
        """Everything the method trains besides the peers.

        Args:
            example: outputs of the peers for a batch of two, to take shapes from.
        """
        self.aggregator = registry.aggregators.get(self.config.aggregator.name)(
            self.config.aggregator, example
        )
        if not self.trains_aggregator and any(True for _ in self.aggregator.parameters()):
            raise ConfigError(
                f"{self.config.name} has no loss that trains an aggregator, and "
                f"{self.config.aggregator.name} must be trained. Choose mean or leave_one_out.",
                ("method", "aggregator"),
            )
        self.regularizers = nn.ModuleDict(
            {
                part.name: registry.regularizers.get(part.name)(part, example)
                for part in self.config.regularizers
            }
        )

    @property
    def student_peer(self) -> int:
        """The index of the peer that is deployed."""
        return 0

    def forward(self, x: Tensor, y: Tensor, progress: Tensor) -> StepResult:
        """One training step's terms and predictions.

        Args:
            x: [B, C, H, W] samples, or [V, B, C, H, W] where the method asks for V views.
            y: [B] class indices or [B, K] class probabilities.
            progress: the fraction of the training that is done, a scalar tensor.
        """
        outputs = self.outputs(x)
        with torch.autocast(x.device.type, enabled=False):  # losses in full precision
            terms = self.loss(outputs, y, progress) | self.regularization(outputs)
        predictions = {name: z.detach() for name, z in self.predict(outputs).items()}
        return StepResult(terms, predictions)

    def outputs(self, x: Tensor) -> PeerOutputs:
        """The peers' outputs, with the aggregator's targets and ensemble filled in."""
        outputs = self.peers(x)
        aggregate = self.aggregator(outputs)
        return replace(outputs, targets=aggregate.targets, ensemble=aggregate.ensemble)

    @abstractmethod
    def loss(self, outputs: PeerOutputs, y: Tensor, progress: Tensor) -> dict[str, Tensor]:
        """The named terms of the method's own loss; regularizers are added to them."""

    def regularization(self, outputs: PeerOutputs) -> dict[str, Tensor]:
        """The weighted regularizers, by name."""
        classifiers = self.peers.classifier_weights()
        return {
            name: module.config.weight * module(outputs, classifiers)
            for name, module in self.regularizers.items()
        }

    def predict(self, outputs: PeerOutputs) -> dict[str, Tensor]:
        """The logits that are judged: ``student`` and ``ensemble`` [B, K], ``peers`` [P, B, K]."""
        return {
            "student": outputs.logits[self.student_peer],
            "ensemble": outputs.ensemble,
            "peers": outputs.logits,
        }

    def student(self) -> nn.Module:
        """The deployed network: a plain backbone with the student's weights."""
        return self.peers.network(self.student_peer)

    def after_step(self) -> None:
        """Called after each optimiser step; methods with averaged teachers update them here."""

    def _one_each(self, backbones: Sequence[Backbone]) -> list[Backbone]:
        if len(backbones) == 1:
            return list(backbones) * self.config.peers
        if not self.mixes_backbones:
            raise ConfigError(
                f"{self.config.name} trains copies of one backbone; give it one, not "
                f"{len(backbones)}. dml and kdcl take different ones.",
                ("backbone",),
            )
        if len(backbones) != self.config.peers:
            raise ConfigError(
                f"There are {len(backbones)} backbones for {self.config.peers} peers; give one for "
                f"each, or set method.peers={len(backbones)}.",
                ("backbone",),
            )
        return list(backbones)
