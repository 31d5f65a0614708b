"""Forward hooks on a whole network: for the classifier's embedding and the stages' features."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.utils import _pytree as pytree

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
        watched: those of the watched stages, by what they are called.
    """

    logits: Tensor
    embedding: Tensor
    features: tuple[Tensor, ...]
    watched: dict[int | str, Tensor]


class HookedNetwork(nn.Module):
    """A network, any network, with forward hooks on its classifier and on stages of it.

    Args:
        network: its state dict stays as it is, under ``network.``.
        classifier: the path of the module with the classifier's weight.
        stages: those whose outputs are wanted.
        watched: further ones, by what they are called.
    """

    def __init__(
        self,
        network: nn.Module,
        classifier: str,
        stages: Sequence[Stage],
        watched: Mapping[int | str, Stage] | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.classifier = classifier
        self.stages = tuple(stages)
        self.watched = dict(watched or {})
        # The hooks are plain functions that leave their catch on the module that they belong to:
        # a deep copy then has hooks of its own, where a closure would still fill the original's.
        self._head.register_forward_pre_hook(_catch_input, with_kwargs=True)
        hooked = [*self.stages, *self.watched.values()]
        self.hooked = tuple(dict.fromkeys(stage.name for stage in hooked))
        copied = {stage.name for stage in hooked if stage.overwritten}
        for name in self.hooked:
            catch = _catch_copy if name in copied else _catch_output
            network.get_submodule(name).register_forward_hook(catch)

    def forward(self, x: Tensor) -> HookedOutputs:
        """What the network says about a batch [B, C, H, W]."""
        output = self.network(x)
        embedding = _take(self._head, INPUT)
        outputs = {name: _take(self.network.get_submodule(name), OUTPUT) for name in self.hooked}
        return HookedOutputs(
            logits=logits_of(output, len(self.classifier_weight())),
            embedding=pooled(embedding, self._head),
            features=tuple(stage.map_of(outputs[stage.name]) for stage in self.stages),
            watched={key: s.map_of(outputs[s.name]) for key, s in self.watched.items()},
        )

    def classifier_weight(self) -> Tensor:
        """[K, D], still part of the graph."""
        return weight_of(self._head)

    def classifier_bias(self) -> Tensor | None:
        """[K], where the classifier has one."""
        bias = getattr(self._head, "bias", None)
        return bias if isinstance(bias, Tensor) else None

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


def _catch_copy(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
    setattr(module, OUTPUT, copied(output))


def copied(output: Any) -> Any:
    """What a module puts out, safe from being changed in place by the next one."""
    return pytree.tree_map_only(Tensor, Tensor.clone, output)


def _take(module: nn.Module, name: str) -> Any:
    caught = getattr(module, name)
    delattr(module, name)  # or the graph of this batch would live until the next
    return caught
