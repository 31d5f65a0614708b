"""The interface of a method: from a batch and its labels to the terms of the loss."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from kdzoo import registry
from kdzoo.aggregators.base import AggregatorChoice
from kdzoo.backbones.backbone import Backbone
from kdzoo.component import ComponentConfig, named
from kdzoo.errors import ConfigError
from kdzoo.peers.group import BranchedPeers, IndependentPeers, PeerGroup
from kdzoo.peers.outputs import PeerOutputs
from kdzoo.regularizers.base import RegularizerChoice
from kdzoo.seeding import derive


@dataclass(frozen=True, kw_only=True)
class MethodOutputs(PeerOutputs):
    """What a method makes of its peers' outputs: losses and predictions come from these alone.

    Attributes:
        targets: [P, B, K], the target logits of each peer.
        ensemble: [B, K], the peers' combined prediction.
        teachers: [M, B, K], logits of M networks that teach and are not trained: a teacher trained
            before, or averaged peers. M is 0 where there are none.
    """

    targets: Tensor
    ensemble: Tensor
    teachers: Tensor


class StepResult(NamedTuple):
    """What one step of a method gives.

    Attributes:
        terms: the named terms of the loss, scalars; their sum is the loss.
        predictions: detached logits, as :meth:`Method.predict` names them.
    """

    terms: dict[str, Tensor]
    predictions: dict[str, Tensor]


class MethodConfig(ComponentConfig):
    """What every method can be told."""

    peers: Annotated[int, Field(ge=1)] = 3
    """P, how many copies of the backbone are trained together."""
    layout: Literal["branched", "independent"] = "branched"
    """How they share: one trunk with P branches, or P whole networks."""
    aggregator: AggregatorChoice = named("mean")
    """What turns the peers' outputs into target logits and the ensemble."""
    regularizers: tuple[RegularizerChoice, ...] = ()
    """Losses on the peers themselves, each times its weight."""

    @field_validator("regularizers")
    @classmethod
    def _each_once(cls, chosen: tuple[ComponentConfig, ...]) -> tuple[ComponentConfig, ...]:
        names = [part.name for part in chosen]
        if len(set(names)) < len(names):
            raise ConfigError("The same regularizer is there twice.", ("regularizers",))
        return chosen


class DistillationConfig(MethodConfig):
    """What the methods share whose peers are taught by softened distributions."""

    peers: Annotated[int, Field(ge=2)] = 3
    """P, how many copies of the backbone are trained together."""
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
    leaders: ClassVar[int] = 0
    """How many peers, the last ones, only learn: the ensemble teaches them, and neither the
    aggregator nor the regularizers see them."""
    trains_aggregator_through: ClassVar[frozenset[Literal["targets", "ensemble"]]] = frozenset()
    """Which of the aggregator's results the loss has a gradient through."""
    mixes_backbones: ClassVar[bool] = False
    """Whether peers in the independent layout may be of different architectures."""

    def __init__(self, config: Any, backbones: Sequence[Backbone], seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.peers = self.build_peers(self._one_each(backbones), seed)
        example = self.peers.example()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(seed, "heads"))
            self.build_heads(example)

    @classmethod
    def prerequisites(cls, config: Any) -> dict[str, dict[str, Any]]:
        """The runs that have to be finished before the method can be built.

        Returns:
            For each field of ``config`` that is to hold the folder of such a run: that run's
            settings, laid over the present run's (``method`` and ``backbone`` whole, not merged).
        """
        return {}

    def build_peers(self, backbones: Sequence[Backbone], seed: int) -> PeerGroup:
        """The peers, in the layout of the config; ``backbones`` holds one a peer."""
        if self.config.layout == "branched":
            return BranchedPeers(backbones[0], len(backbones), seed)
        return IndependentPeers(backbones, seed)

    def build_heads(self, example: PeerOutputs) -> None:
        """Everything the method has besides the peers.

        Args:
            example: outputs of the peers for a batch of two, to take shapes from.
        """
        teaching = self._teaching(example)
        self.aggregator = registry.aggregators.get(self.config.aggregator.name)(
            self.config.aggregator, teaching
        )
        self._check_aggregator_learns(teaching)
        self.regularizers = nn.ModuleDict(
            {
                part.name: registry.regularizers.get(part.name)(part, teaching)
                for part in self.config.regularizers
            }
        )

    @property
    def student_peer(self) -> int:
        """The index of the peer that is deployed."""
        return 0

    @property
    def views(self) -> int:
        """V, how many augmented views of each sample the method asks for in training."""
        return 1

    def forward(self, x: Tensor, y: Tensor, progress: Tensor) -> StepResult:
        """One training step's terms and predictions.

        Args:
            x: [B, C, H, W] samples, or [V, B, C, H, W] where the method asks for V > 1 views.
            y: [B] class indices or [B, K] class probabilities.
            progress: the fraction of the training that is done, a scalar tensor.
        """
        outputs = self.outputs(x)
        with torch.autocast(x.device.type, enabled=False):  # losses in full precision
            terms = self.loss(outputs, y, progress) | self.regularization(outputs)
        predictions = {name: z.detach() for name, z in self.predict(outputs).items()}
        return StepResult(terms, predictions)

    def outputs(self, x: Tensor) -> MethodOutputs:
        """Everything that the losses and the predictions are made from, for one batch."""
        return self.aggregate(self.peers(x))

    def aggregate(self, outputs: PeerOutputs) -> MethodOutputs:
        """The peers' outputs with what the aggregator makes of them."""
        targets, ensemble = self.aggregator(self._teaching(outputs))
        for_leaders = ensemble.expand(self.leaders, *ensemble.shape)
        return MethodOutputs(
            outputs.logits,
            outputs.embeddings,
            outputs.features,
            outputs.trunk,
            targets=torch.cat([targets, for_leaders]),
            ensemble=ensemble,
            teachers=outputs.logits[:0],
        )

    @abstractmethod
    def loss(self, outputs: MethodOutputs, y: Tensor, progress: Tensor) -> dict[str, Tensor]:
        """The named terms of the method's own loss; regularizers are added to them."""

    def regularization(self, outputs: PeerOutputs) -> dict[str, Tensor]:
        """The weighted regularizers, by name."""
        teaching = self._teaching(outputs)
        classifiers = self.peers.classifier_weights()[: len(teaching.logits)]
        return {
            part.name: part.weight * self.regularizers[part.name](teaching, classifiers)
            for part in self.config.regularizers
        }

    def predict(self, outputs: MethodOutputs) -> dict[str, Tensor]:
        """The logits that are judged.

        Returns:
            ``student`` [B, K], ``peers`` [P, B, K] and, where there are several peers,
            ``ensemble`` [B, K].
        """
        predictions = {"student": outputs.logits[self.student_peer], "peers": outputs.logits}
        if len(outputs.logits) > 1:
            predictions["ensemble"] = outputs.ensemble
        return predictions

    def student(self) -> nn.Module:
        """The deployed network: a plain backbone with the student's weights."""
        return self.peers.network(self.student_peer)

    def after_step(self) -> None:
        """Called after each optimiser step; methods with averaged teachers update them here."""

    def _teaching(self, outputs: PeerOutputs) -> PeerOutputs:
        return outputs.first(len(outputs.logits) - self.leaders)

    def _check_aggregator_learns(self, example: PeerOutputs) -> None:
        if not any(True for _ in self.aggregator.parameters()):
            return
        targets, ensemble = self.aggregator.eval()(example)
        self.aggregator.train()
        learns_through = {"targets"} if targets.requires_grad else set()
        learns_through |= {"ensemble"} if ensemble.requires_grad else set()
        if not learns_through & self.trains_aggregator_through:
            raise ConfigError(
                f"{self.config.name} would never train the aggregator "
                f"{self.config.aggregator.name}: its loss has no gradient through the aggregator's "
                f"{' or '.join(sorted(learns_through))}. mean and leave_one_out need no training.",
                ("method", "aggregator"),
            )

    def _one_each(self, backbones: Sequence[Backbone]) -> list[Backbone]:
        if len(backbones) == 1:
            return list(backbones) * self.config.peers
        if not self.mixes_backbones:
            raise ConfigError(
                f"{self.config.name} trains copies of one backbone; give it one, not "
                f"{len(backbones)}. dml and kdcl take different ones.",
                ("backbone",),
            )
        if self.config.layout != "independent":
            raise ConfigError(
                "Different backbones share no trunk. Set method.layout=independent.", ("backbone",)
            )
        if len(backbones) != self.config.peers:
            raise ConfigError(
                f"There are {len(backbones)} backbones for {self.config.peers} peers; give one for "
                f"each, or set method.peers={len(backbones)}.",
                ("backbone",),
            )
        return list(backbones)
