"""From a name, a config, a module or a function of the user's to a ``Backbone``."""

import copy
import hashlib
from collections.abc import Callable
from typing import Any

import torch
from pydantic import field_validator
from torch import nn

from kdzoo.backbones.backbone import Backbone
from kdzoo.backbones.builders import OWN, Builder, call_with, check_name, find_builder
from kdzoo.backbones.reinitialise import reinitialise
from kdzoo.backbones.timm_models import timm_input_size
from kdzoo.component import Config


class BackboneConfig(Config):
    """The network to train and deploy. A name alone is short for a config with that name."""

    name: str
    """A name of kdzoo's (`kdzoo list backbones`), `timm/NAME`, or `package.module:callable`."""

    kwargs: dict[str, Any] = {}
    """Keyword arguments passed through to the network, such as `drop_path_rate` or `img_size`."""

    split_at: str | int | float | None = None
    """The last stage that branched peers share: its name, its number (1 is the first), or a
    fraction of the stages; left out, it is the stage before the last."""

    classifier: str | None = None
    """The name of the classifier module; found by itself where left out."""

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        check_name(name)
        return name


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
        UserError: the name is unknown, or the network takes no such keyword argument.
    """
    return Backbone(
        name=config.name,
        network=call_with(find_builder(config.name), num_classes, input_size[0], config.kwargs),
        num_classes=num_classes,
        input_size=input_size,
        kwargs=config.kwargs,
        split_at=config.split_at,
        classifier=config.classifier,
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
        UserError: the name is unknown, or the network takes no such keyword argument.
    """
    config = BackboneConfig(name=name, kwargs=kwargs)
    return make_backbone(config, num_classes, input_size).network()


def backbone_from_module(
    network: nn.Module | Callable[..., nn.Module],
    num_classes: int,
    input_size: tuple[int, int, int],
    split_at: str | int | float | None = None,
    classifier: str | None = None,
) -> Backbone:
    """A backbone out of a person's own network, or of a function that builds it.

    A function is called for every peer and for the student, with ``num_classes`` and ``in_chans``
    where it takes them; its own initialisation, or the weights it loads, are what training starts
    from. A module serves as a pattern: peers are copies of it whose weights are drawn again (see
    ``reinitialise``) and the module itself is never changed. To start from a module's present
    weights, pass a function that returns a copy of it.

    Raises:
        UserError: ``network`` is a module with trained batch-norm statistics, which would be lost.
    """
    build: Builder
    if isinstance(network, nn.Module):
        build = _copies_of(network)
    else:
        build = call_with(network, num_classes, input_size[0], {})
    return Backbone(
        name=own_name(network),
        network=build,
        num_classes=num_classes,
        input_size=input_size,
        split_at=split_at,
        classifier=classifier,
    )


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
    return backbone_from_module(given, num_classes, input_size)


def own_name(network: nn.Module | Callable[..., nn.Module]) -> str:
    """A name for a network that was handed over in Python: what it is, and a hash of its layers."""
    if isinstance(network, nn.Module):
        kind, described = type(network).__name__, repr(network)
    else:  # a callable object, or a partial one, has no name of its own
        kind = getattr(network, "__name__", type(network).__name__)
        described = getattr(network, "__qualname__", kind)
    return f"{OWN}{kind}-{hashlib.sha256(described.encode()).hexdigest()[:6]}"


def _copies_of(pattern: nn.Module) -> Builder:
    snapshot = copy.deepcopy(pattern)  # later training of the pattern must not change the peers
    reinitialise(copy.deepcopy(pattern), torch.Generator())  # a pattern it refuses is refused now

    def build() -> nn.Module:
        # The seed comes from the global generator, which Backbone.build has seeded.
        seed = int(torch.randint(2**62, ()))
        return reinitialise(copy.deepcopy(snapshot), torch.Generator().manual_seed(seed))

    return build
