"""From a name, a config, a module or a function of the user's to a ``Backbone``."""

import copy
from collections.abc import Callable
from functools import partial
from numbers import Integral
from typing import Any
from weakref import WeakSet

from torch import Tensor, nn

from kdzoo.backbones.backbone import Backbone
from kdzoo.backbones.builders import Builder, call_with, find_builder
from kdzoo.backbones.config import BackboneConfig
from kdzoo.backbones.names import OWN
from kdzoo.backbones.timm_models import timm_input_size
from kdzoo.backbones.weights import read_weights
from kdzoo.component import validate
from kdzoo.errors import ConfigError, UserError, quoted
from kdzoo.fingerprint import fingerprint


def usual_input_size(config: BackboneConfig) -> tuple[int, int, int]:
    """(C, H, W) of the images that a network is made for: timm's own size, else 3x32x32."""
    size = config.kwargs.get("img_size")
    if isinstance(size, int):
        return 3, size, size
    if config.name.startswith("timm/"):
        return timm_input_size(config.name.removeprefix("timm/"))
    return 3, 32, 32


def make_backbone(
    config: BackboneConfig, num_classes: int, input_size: tuple[int, int, int]
) -> Backbone:
    """The backbone a config asks for, for images of ``input_size`` (C, H, W) and K classes.

    Raises:
        UserError: the name is unknown, the network takes no such keyword argument, or there are no
            such weights.
    """
    return Backbone(
        name=config.name,
        network=call_with(find_builder(config.name), num_classes, input_size[0], config.kwargs),
        num_classes=num_classes,
        input_size=input_size,
        kwargs=config.kwargs,
        split_at=config.split_at,
        classifier=config.classifier,
        weights=_weights(config.weights) if config.weights else None,
        origin=config.weights or "",
    )


def create_backbone(
    name: str, num_classes: int, input_size: tuple[int, int, int] = (3, 32, 32), **kwargs: Any
) -> nn.Module:
    """A plain, freshly initialised network; its initialisation follows ``torch.manual_seed``.

    Args:
        name: a name of kdzoo's, ``timm/NAME``, or ``package.module:callable``.
        num_classes: K; the network maps [B, C, H, W] to logits [B, K].
        input_size: (C, H, W) of one image.
        kwargs: passed through to the network.

    Raises:
        UserError: the name is unknown, the network takes no such keyword argument, or there are no
            classes.
    """
    config: BackboneConfig = validate(BackboneConfig, {"name": name, "kwargs": kwargs})
    if not isinstance(num_classes, Integral) or num_classes < 1:
        raise ConfigError(
            f"{quoted(num_classes)} is no number of classes; give 1 or more.", ("num_classes",)
        )
    return make_backbone(config, num_classes, input_size).network()


def _weights(path: str) -> dict[str, Tensor]:
    try:
        return read_weights(path)
    except UserError as error:
        raise ConfigError(str(error), ("backbone", "weights")) from None


def backbone_from_module(
    network: nn.Module | Callable[..., nn.Module],
    num_classes: int,
    input_size: tuple[int, int, int],
    split_at: str | int | float | None = None,
    classifier: str | None = None,
) -> Backbone:
    """A backbone out of a person's own network, or of a function that builds it.

    A function or class is called for every peer and for the student, with ``num_classes`` and
    ``in_chans`` where it takes them, each time under another seed. A module has weights, and these
    are what training starts from: peers are copies of it, which differ in their classifiers at
    first, and the module itself is never changed.
    """
    build: Builder
    origin = ""
    if isinstance(network, nn.Module):
        # later training of the module must not change the peers
        build = partial(copy.deepcopy, copy.deepcopy(network))
        origin = f"the weights of the {type(network).__name__} that was handed over"
    else:
        build = _never_the_same(call_with(network, num_classes, input_size[0], {}))
    return Backbone(
        name=own_name(network),
        network=build,
        num_classes=num_classes,
        input_size=input_size,
        split_at=split_at,
        classifier=classifier,
        origin=origin,
    )


def _never_the_same(build: Builder) -> Builder:
    """A builder that copies a network which it has returned before, as a lambda may return it."""
    returned: WeakSet[nn.Module] = WeakSet()

    def again() -> nn.Module:
        network = build()
        if network in returned:
            network = copy.deepcopy(network)
        returned.add(network)
        return network

    return again


BackboneLike = str | nn.Module | Callable[..., nn.Module] | BackboneConfig | Backbone
"""What stands for a backbone: a name, its config, a network, or a function that builds one."""


def as_backbone(
    given: BackboneLike, num_classes: int, input_size: tuple[int, int, int]
) -> Backbone:
    """The backbone that ``given`` stands for, for images of ``input_size`` (C, H, W) and K classes.

    Raises:
        UserError: as :func:`make_backbone` and :func:`backbone_from_module`.
    """
    if isinstance(given, Backbone):
        return given
    if isinstance(given, str):
        given = BackboneConfig(name=given)
    if isinstance(given, BackboneConfig):
        return make_backbone(given, num_classes, input_size)
    if not callable(given):
        raise ConfigError(
            f"{quoted(given)} is no backbone. Give a name, a network, or a function that builds "
            "one; or a list with one for each peer.",
            ("backbone",),
        )
    return backbone_from_module(given, num_classes, input_size)


def own_name(network: nn.Module | Callable[..., nn.Module]) -> str:
    """A name for a network that was handed over in Python: what it is, and a hash of its code."""
    if isinstance(network, nn.Module):
        kind = type(network).__name__
    else:  # a callable object has no name of its own, and a partial function that of its function
        function = getattr(network, "func", network)
        kind = getattr(function, "__name__", type(function).__name__)
    return f"{OWN}{kind}-{fingerprint(network)[:6]}"
