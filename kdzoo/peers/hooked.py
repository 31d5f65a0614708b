"""Forward hooks on a whole network: for the classifier's embedding and the stages' features."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

from kdzoo.backbones.logits import logits_of
from kdzoo.peers.anatomy import Stage
from kdzoo.peers.calls import first_tensor

INPUT = "kdzoo_input"
OUTPUT = "kdzoo_output"


class HookedOutputs(NamedTuple):
    """What one network says about B samples and K classes.

    Attributes:
        logits: [B, K], at least float32.
        embedding: [B, D], what the classifier is given.
        features: [B, C, h, w] of each stage that is hooked.
    """

    logits: Tensor
    embedding: Tensor
    features: tuple[Tensor, ...]


class HookedNetwork(nn.Module):
    """A network, any network, with forward hooks on its classifier and on stages of it.

    Args:
        network: its state dict stays as it is, under ``network.``.
        classifier: the path of the module with the classifier's weight.
        stages: those whose outputs are wanted.
    """

    def __init__(self, network: nn.Module, classifier: str, stages: Sequence[Stage]) -> None:
        super().__init__()
        self.network = network
        self.classifier = classifier
        self.stages = tuple(stages)
        # The hooks are plain functions that leave their catch on the module that they belong to:
        # a deep copy then has hooks of its own, where a closure would still fill the original's.
        self._head.register_forward_pre_hook(_catch_input, with_kwargs=True)
        for stage in self.stages:
            network.get_submodule(stage.name).register_forward_hook(_catch_output)

    def forward(self, x: Tensor) -> HookedOutputs:
        """What the network says about a batch [B, C, H, W]."""
        output = self.network(x)
        embedding = _take(self._head, INPUT)
        outputs = [_take(self.network.get_submodule(s.name), OUTPUT) for s in self.stages]
        return HookedOutputs(
            logits=logits_of(output, len(self.classifier_weight())),
            embedding=pooled(embedding, self._head),
            features=tuple(s.map_of(out) for s, out in zip(self.stages, outputs, strict=True)),
        )

    def classifier_weight(self) -> Tensor:
        """[K, D], still part of the graph."""
        return weight_of(self._head)

    @property
    def _head(self) -> nn.Module:
        return self.network.get_submodule(self.classifier)


def pooled(embedding: Tensor, classifier: Any) -> Tensor:
    """What a classifier is given as [B, D]: the mean where it is given more than one vector."""
    if embedding.ndim == 2:
        return embedding
    if classifier.weight.ndim > 2:  # a convolution, on maps
        return embedding.flatten(2).mean(2)
    return embedding.flatten(1, -2).mean(1)


def weight_of(classifier: Any) -> Tensor:
    """The weight of a linear or 1x1 convolutional classifier as [K, D], still part of the graph."""
    return classifier.weight.flatten(1)


def _catch_input(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    setattr(module, INPUT, first_tensor((args, kwargs)))


def _catch_output(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
    setattr(module, OUTPUT, output)


def _take(module: nn.Module, name: str) -> Any:
    caught = getattr(module, name)
    delattr(module, name)  # or the graph of this batch would live until the next
    return caught
