"""Where a network's classifier module is, and what its stages are: feature maps by resolution."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from kdzoo.backbones.backbone import Backbone
from kdzoo.backbones.logits import tensors
from kdzoo.errors import UserError, nearest
from kdzoo.peers.calls import Call, Shape, record_calls
from kdzoo.peers.stages import channels_last, stage_names
from kdzoo.peers.trial import check_outputs

CLEAR_SIZE = 64
"""Stages are told apart by resolution; at smaller images the last ones may all come to 1x1."""


@dataclass(frozen=True)
class Stage:
    """A stretch of a network that ends with the output of one module.

    Attributes:
        name: that module's path.
        index: which of the tensors in the output is meant; 0 where there is just one.
        shape: of that tensor, without the batch.
        channels: the axis of the channels, batch included: 1 in [B, C, h, w], -1 in [B, h, w, C].
        overwritten: whether what comes after the module changes its output in place, so that who
            wants to see it has to copy it first. Known of watched stages only.
    """

    name: str
    index: int
    shape: Shape
    channels: int
    overwritten: bool = False

    def map_of(self, output: Any) -> Tensor:
        """What the module put out, as [B, C, h, w]."""
        return self.as_map(tensors(output)[self.index])

    def as_map(self, features: Tensor) -> Tensor:
        """A tensor of this shape as [B, C, h, w]; tokens [B, N, C] become [B, C, N, 1]."""
        features = features.movedim(self.channels, 1)
        return features.reshape(*features.shape, *(1,) * (4 - features.ndim))


@dataclass(frozen=True)
class Anatomy:
    """The parts of a network that distillation looks at.

    Attributes:
        classifier: the path of the module that turns embeddings into logits; it has a ``weight``
            of [K, D] or, as a convolution, [K, D, 1, 1].
        stages: in the order of the data; the output of the last is the network's features.
        called: the last call of every module that is called, by name.
        num_classes: K.
        watched: the stages that a loss asks for besides the last one, by the number or name that it
            calls them (:mod:`kdzoo.peers.watched`).
    """

    classifier: str
    stages: tuple[Stage, ...]
    called: dict[str, Call]
    num_classes: int
    watched: Mapping[int | str, Stage] = field(default_factory=dict)

    @property
    def isotropic(self) -> bool:
        """Whether most stages are alike, as a ViT's blocks are: then the last is not special."""
        (_, alike), *_ = Counter(stage.shape for stage in self.stages).most_common(1)
        return alike > 3 and alike > len(self.stages) / 2

    def stage(self, name: str) -> Stage:
        """The output of any module that is called, as a stage."""
        for stage in self.stages:
            if stage.name == name:
                return stage
        call = self.called[name]
        shapes = [call.shape for call in self.called.values()]
        alike = [stage.channels for stage in self.stages if len(stage.shape) == len(call.shape)]
        guess = _channel_axis(call.shape, None, shapes)
        return Stage(name, call.index, call.shape, alike[0] if alike else guess)


def find_anatomy(backbone: Backbone, network: nn.Module) -> Anatomy:
    """Find the classifier and the stages of a network that ``backbone`` built.

    timm says of its models where both are. In any other network the classifier is the last module
    that is called and has K rows of weights, and a stage ends where the resolution is about to
    change.

    Raises:
        UserError: the network does not run, does not give K logits, or has no classifier or no
            features that can be found.
    """
    calls = record_calls(network, backbone.input_size, backbone.name)
    check_outputs(backbone, network)
    called = {call.name: call for call in calls}
    classifier = _find_classifier(backbone, network, calls)
    hints = _timm_stages(network, called)
    names = list(hints) or stage_names(network, _clear_view(backbone, network), classifier)
    if not names:
        raise UserError(
            f"The backbone {backbone.name} calls no other module before its classifier "
            f"'{classifier}', so it has no features to distil."
        )
    ends = [called[name] for name in names]
    shapes = [end.shape for end in ends]
    axes = [_channel_axis(end.shape, hints.get(end.name), shapes) for end in ends]
    stages = [
        Stage(end.name, end.index, end.shape, axis) for end, axis in zip(ends, axes, strict=True)
    ]
    return Anatomy(classifier, tuple(stages), called, backbone.num_classes)


def _find_classifier(backbone: Backbone, network: nn.Module, calls: list[Call]) -> str:
    named = backbone.classifier or _timm_classifier(network)
    modules = dict(network.named_modules())
    if named is not None and named not in modules:
        raise UserError(
            f"backbone.classifier: {backbone.name} has no module '{named}'. "
            f"{nearest(named, modules.keys() - {''})}"
        )
    for call in reversed(calls):
        inside = named is None or call.name == named or call.name.startswith(f"{named}.")
        rows = _rows(getattr(modules[call.name], "weight", None))
        if inside and rows == backbone.num_classes:
            return call.name
    raise UserError(
        f"backbone.classifier: no module of {backbone.name}{f' in {named}' if named else ''} with "
        f"a weight for each of the {backbone.num_classes} classes is called. Name the one that "
        "turns embeddings into logits."
    )


def _rows(weight: Any) -> int | None:
    return weight.shape[0] if isinstance(weight, Tensor) and weight.ndim >= 2 else None


def _timm_classifier(network: nn.Module) -> str | None:
    """What a timm model names as its classifier, the first where it has several."""
    get_classifier = getattr(network, "get_classifier", None)
    if not callable(get_classifier) or not hasattr(network, "default_cfg"):
        return None
    found = get_classifier()
    candidates = [found] if isinstance(found, nn.Module) else list(found or ())
    names = {module: name for name, module in network.named_modules()}
    return next((names[module] for module in candidates if module in names), None)


def _timm_stages(network: nn.Module, called: dict[str, Call]) -> dict[str, int]:
    """Timm's names of a model's stages with their widths; none unless all are modules it calls."""
    info = getattr(network, "feature_info", None)
    entries = list(getattr(info, "info", None) or info or ())
    try:
        stages = {str(entry["module"]): int(entry["num_chs"]) for entry in entries}
    except (KeyError, TypeError):  # not timm's kind of feature_info
        return {}
    are_maps = (name in called and len(called[name].shape) > 1 for name in stages)
    return stages if all(are_maps) else {}


def _clear_view(backbone: Backbone, network: nn.Module) -> list[Call]:
    """The calls for an image large enough to tell stages apart, where the network takes one."""
    channels, height, width = backbone.input_size
    scale = -(-CLEAR_SIZE // min(height, width))
    try:
        return record_calls(network, (channels, height * scale, width * scale), backbone.name)
    except UserError:
        return record_calls(network, backbone.input_size, backbone.name)


def _channel_axis(shape: Shape, width: int | None, shapes: Iterable[Shape]) -> int:
    """The axis of the channels, by timm's word for how many there are, or else by the look."""
    if width is not None and (shape[0] == width) != (shape[-1] == width):
        return 1 if shape[0] == width else -1
    if len(shape) == 3:
        return -1 if channels_last(shape, shapes) else 1
    return -1
