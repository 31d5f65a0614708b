"""The interface of a method: from a batch and its labels to the terms of the distillation loss."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from kdzoo.backbones.backbone import Backbone
from kdzoo.methods import parts
from kdzoo.methods.checks import (
    check_aggregator_learns,
    check_aggregator_matters,
    check_stages,
    one_backbone_a_peer,
)
from kdzoo.methods.config import DistillationConfig, MethodConfig, SoftenedConfig
from kdzoo.methods.hooks import ParameterGroup, TrainingHooks
from kdzoo.methods.needs import Needs
from kdzoo.methods.outputs import MethodOutputs, StepResult
from kdzoo.peers.calls import probe_batch
from kdzoo.peers.group import BranchedPeers, IndependentPeers, PeerGroup
from kdzoo.peers.one_sample import check_one_sample
from kdzoo.peers.outputs import PeerOutputs
from kdzoo.peers.watched import StageKey
from kdzoo.samples.batch import Batch, as_labels, as_progress, check_samples
from kdzoo.seeding import derive

__all__ = [
    "Batch",
    "DistillationConfig",
    "Method",
    "MethodConfig",
    "MethodOutputs",
    "ParameterGroup",
    "SoftenedConfig",
    "StepResult",
]


class Method(Needs, TrainingHooks, ABC):
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
    sees_targets: ClassVar[bool] = True
    """Whether the loss looks at the aggregator's targets or ensemble (``outputs.targets``,
    ``outputs.ensemble``). Where it does not, an aggregator that would change nothing is refused."""
    sees_maps: ClassVar[bool] = False
    """Whether the loss looks at feature maps (``outputs.features``, ``outputs.trunk``). Where
    several processes share a batch, they are gathered for a loss that does, as for one that names
    :attr:`stages`, and for no other."""
    heads_of_peers: ClassVar[tuple[str, ...]] = ()
    """The attributes that are lists of modules, one for each peer, in the order of the peers."""
    mixes_backbones: ClassVar[bool] = False
    """Whether peers in the independent layout may be of different architectures."""
    tells_peers_apart: ClassVar[bool] = False
    """Whether a peer has a place or a part of its own in the loss, so that their order matters."""

    def __init__(self, config: Any, backbones: Sequence[Backbone], seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.takes_one_sample = False
        """Whether every batch norm is known to have more than a value in a batch of one sample."""
        self.whole_batch: Callable[[MethodOutputs, Batch], tuple[MethodOutputs, Batch]] = _as_is
        """What makes of the outputs of a share of a batch those of the batch. A trainer sets it
        where several processes share a batch."""
        self.notes: list[str] = []
        """What a person should know about the method as it was built, a sentence each."""
        self.watched = parts.asked_stages(config, self.stages)
        self.peers = self.build_peers(
            one_backbone_a_peer(config, backbones, self.mixes_backbones), seed
        )
        self.notes += self.peers.notes
        example = self.peers.example()
        check_stages(self.watched, example)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(seed, "heads"))
            self.build_heads(example)

    def build_peers(self, backbones: Sequence[Backbone], seed: int) -> PeerGroup:
        """The peers, in the layout of the config; ``backbones`` holds one a peer."""
        if self.config.layout == "branched":
            return BranchedPeers(backbones, seed, stages=self.watched)
        return IndependentPeers(backbones, seed, self.watched)

    def build_heads(self, example: PeerOutputs) -> None:
        """Everything the method has besides the peers.

        Args:
            example: outputs of the peers for a batch of two, to take shapes from.
        """
        teaching = self._teaching(example)
        self.aggregator = parts.build_aggregator(self.config, teaching, self.leaders)
        check_aggregator_learns(
            self.config, self.aggregator, teaching, self.trains_aggregator_through
        )
        if not self.sees_targets:
            check_aggregator_matters(self.config, self.aggregator, teaching)
        self.regularizers = parts.build_regularizers(self.config, teaching, self.leaders)
        if isinstance(self.config, SoftenedConfig):
            self.divergence = parts.build_divergence(self.config)

    @property
    def student_peer(self) -> int:
        """The index of the peer that is deployed."""
        return 0

    @property
    def views(self) -> int:
        """V, how many augmented views of each sample the method asks for in training."""
        return 1

    @property
    def stages(self) -> Sequence[StageKey]:
        """The stages whose maps the loss finds in ``outputs.stages``: numbers or modules' paths."""
        return ()

    def forward(
        self, x: Tensor, y: Tensor, progress: Tensor | float, index: Tensor | None = None
    ) -> StepResult:
        """One training step's terms and predictions.

        Args:
            x: [B, C, H, W] samples, or [V, B, C, H, W] where the method asks for V > 1 views.
            y: [B] class indices or [B, K] class probabilities.
            progress: the fraction of the training that is done, a number or a scalar tensor.
            index: [B], the place of each sample in the training set; some methods need it.

        Raises:
            UserError: samples, labels and places are not of one batch, or not what is asked for.
            ConfigError: a batch norm cannot be trained on a batch of one sample.
        """
        check_samples(
            x,
            y,
            index,
            like=next(self.peers.parameters(), x),
            channels=self.peers.backbones[0].input_size[0],
            views=self.views,
            training=self.training,
        )
        progress = as_progress(progress, x.device)
        index = None if index is None else index.long()
        if self.training and len(y) == 1 and not self.takes_one_sample:
            self.check_one_sample(x)
        outputs = self.outputs(x)
        y = as_labels(y, outputs.logits)
        with torch.autocast(x.device.type, enabled=False):  # losses in full precision
            whole, batch = self.whole_batch(outputs, Batch(x, y, progress, index))
            terms = self.loss(whole, batch) | self.regularization(whole)
        predictions = {name: z.detach() for name, z in self.predict(outputs).items()}
        return StepResult(terms, predictions)

    def check_one_sample(self, x: Tensor | None = None) -> None:
        """Make sure that the method can be trained on batches of one sample.

        Args:
            x: such a batch, as :meth:`forward` takes it; by default one of noise.

        Raises:
            ConfigError: a batch norm would be given one value a channel.
        """
        if x is None:
            x = probe_batch(self, self.peers.backbones[0].input_size, samples=1)
            x = x.expand(self.views, *x.shape) if self.views > 1 else x
        check_one_sample(self, x, self.outputs)
        self.takes_one_sample = True

    @property
    def loss_sees_maps(self) -> bool:
        """Whether the loss or a regularizer looks at feature maps."""
        return self.sees_maps or bool(self.stages) or parts.regularizers_see_maps(self.config)

    def outputs(self, x: Tensor) -> MethodOutputs:
        """Everything that the losses and the predictions are made from, for one batch."""
        return self.aggregate(self.peers(x))

    def aggregate(self, outputs: PeerOutputs) -> MethodOutputs:
        """The peers' outputs with what the aggregator makes of them."""
        targets, ensemble = self.aggregator(self._teaching(outputs))
        targets = torch.cat([targets, ensemble.expand(self.leaders, *ensemble.shape)])
        return MethodOutputs.of(outputs, targets, ensemble)

    @abstractmethod
    def loss(self, outputs: MethodOutputs, batch: Batch) -> dict[str, Tensor]:
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

    def evaluate(self, x: Tensor) -> dict[str, Tensor]:
        """The logits that are judged, as :meth:`predict` gives them, for a batch in evaluation.

        A method that has networks which only teach leaves them out here.
        """
        return self.predict(self.outputs(x))

    def student(self) -> nn.Module:
        """The deployed network: a plain backbone with the student's weights."""
        return self.peers.network(self.student_peer)

    def _teaching(self, outputs: PeerOutputs) -> PeerOutputs:
        return outputs.first(len(outputs.logits) - self.leaders)


def _as_is(outputs: MethodOutputs, batch: Batch) -> tuple[MethodOutputs, Batch]:
    return outputs, batch
