"""kdzoo from Python: what the command line does, and methods for a training loop of one's own."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from kdzoo import registry
from kdzoo.backbones.backbone import Backbone
from kdzoo.backbones.create import BackboneConfig, backbone_from_module, make_backbone
from kdzoo.component import validate
from kdzoo.compose import compose
from kdzoo.methods.base import Method
from kdzoo.training.run import train
from kdzoo.training.run_folder import RunFolder

BackboneLike = str | nn.Module | Callable[..., nn.Module] | Backbone
"""What stands for a backbone: its name, a network, or a function that builds one."""


def run(*recipes: str, **settings: Any) -> RunFolder:
    """Train one model, as ``kdzoo run`` does, without printing.

    Args:
        recipes: recipe files or the names of bundled recipes.
        settings: the config's keys, e.g. ``method="mbde"``, ``epochs=30`` or, nested,
            ``method={"name": "mbde", "temperature": 4}``.

    Returns:
        the finished run's folder; its ``read_result()`` holds the figures.

    Raises:
        UserError: the config cannot be carried out.
    """
    return train(compose(recipes, settings))


def create_method(
    method: str,
    backbone: BackboneLike | Sequence[BackboneLike],
    num_classes: int,
    input_size: tuple[int, int, int] = (3, 32, 32),
    seed: int = 0,
    **settings: Any,
) -> Method:
    """A method on any backbone, for a training loop of one's own.

    Each step: ``result = method(x, y, progress)``; the loss is the sum of ``result.terms``; after
    the optimiser's step, call ``method.after_step()``. At the end ``method.student()`` is the plain
    network to deploy.

    Args:
        method: a name from :func:`list_methods`.
        backbone: a backbone's name, a network, or a function that builds one; or a list with one
            for each peer.
        num_classes: K.
        input_size: (C, H, W) of a sample.
        seed: fixes the initial weights.
        settings: the method's fields, e.g. ``temperature=4`` or ``regularizers=["cd"]``.

    Raises:
        UserError: a name, a setting or their combination is wrong.
    """
    method_class = registry.methods.get(method)
    config = validate(method_class.Config, {"name": method, **settings})
    several = isinstance(backbone, Sequence) and not isinstance(backbone, str | nn.Module)
    given: Any = backbone if several else [backbone]
    return method_class(config, [_backbone(b, num_classes, input_size) for b in given], seed)


def _backbone(given: BackboneLike, num_classes: int, input_size: tuple[int, int, int]) -> Backbone:
    if isinstance(given, Backbone):
        return given
    if isinstance(given, str):
        return make_backbone(BackboneConfig(name=given), num_classes, input_size)
    return backbone_from_module(given, num_classes, input_size)


def list_methods() -> list[str]:
    """The names that ``method=`` takes."""
    return registry.methods.names()


def list_backbones() -> list[str]:
    """The names that ``backbone=`` takes, besides ``timm/NAME`` and ``package.module:callable``."""
    return registry.backbones.names()


def list_datasets() -> list[str]:
    """The names that ``dataset=`` takes."""
    return registry.datasets.names()
