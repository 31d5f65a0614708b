"""kdzoo from Python: what the command line does, and methods for a training loop of one's own."""

import signal
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import model_validator
from torch import nn

from kdzoo import registry
from kdzoo.backbones.create import BackboneLike, as_backbone, own_name
from kdzoo.backbones.task import Task
from kdzoo.component import Config, validate
from kdzoo.compose import compose
from kdzoo.config import Seed
from kdzoo.data.dataset import Dataset, DatasetConfig
from kdzoo.errors import ConfigError
from kdzoo.methods.base import Method
from kdzoo.task_checks import check_task
from kdzoo.training.display import Logged, logger
from kdzoo.training.preemption import Stopped
from kdzoo.training.run import train
from kdzoo.training.run_folder import RunFolder


def run(
    *recipes: str,
    backbone: BackboneLike | Sequence[BackboneLike] | None = None,
    dataset: str | Mapping[str, Any] | Dataset | None = None,
    **settings: Any,
) -> RunFolder:
    """Train one model, as ``kdzoo run`` does, without printing; what it says is logged.

    A run of the same settings on the same data and network that is finished is returned as it is,
    with a warning in the log ``kdzoo``.

    Args:
        recipes: recipe files or the names of bundled recipes.
        backbone: a name or settings, a network, or a function that builds one; or a list with one
            for each peer.
        dataset: a name or settings, or what :func:`data_from` makes of torch data sets.
        settings: the config's other keys, e.g. ``method="mbde"``, ``epochs=30`` or, nested,
            ``method={"name": "mbde", "temperature": 4}``; dotted keys, as on the command line, go
            in by ``**{"method.temperature": 4}``.

    Returns:
        the finished run's folder; its ``read_result()`` holds the figures.

    Raises:
        UserError: the config cannot be carried out.
        KeyboardInterrupt: Ctrl-C. As for every signal that ends a program, the run finishes its
            step and saves first, if this is the main thread; then the signal takes its course.
    """
    given = _each(backbone) if backbone is not None else []
    own = any(isinstance(one, nn.Module) or callable(one) for one in given)
    if given:
        named = [own_name(one) if callable(one) else one for one in given]
        settings["backbone"] = named if len(named) > 1 else named[0]
    if dataset is not None:
        if not isinstance(dataset, str | Mapping | Dataset | DatasetConfig):
            raise ConfigError(
                f"A {type(dataset).__name__} is no data set of kdzoo's. "
                "kdzoo.data_from(TRAIN, TEST) makes one of two torch data sets.",
                ("dataset",),
            )
        settings["dataset"] = dataset.config if isinstance(dataset, Dataset) else dataset
    display = Logged()
    try:
        folder = train(
            compose(recipes, settings),
            display,
            networks=given if own else (),
            dataset=dataset if isinstance(dataset, Dataset) else None,
        )
    except Stopped as stop:
        signal.raise_signal(stop.number)  # the program's own handler is back, and is to hear of it
        raise
    if not display.trained:
        logger.warning(
            "%s was finished before and is returned as it is; resume='never' starts it over.",
            folder.path,
        )
    return folder


def create_method(
    method: str,
    backbone: BackboneLike | Sequence[BackboneLike],
    num_classes: int,
    input_size: tuple[int, int, int] = (3, 32, 32),
    seed: int = 0,
    classes: Sequence[str] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    **settings: Any,
) -> Method:
    """A method on any backbone, for a training loop of one's own.

    The optimiser is given ``method.optimizer_groups(lr=0.1)``, since parts of some methods learn at
    a rate of their own. Each step: ``method.before_step()``, ``result = method(x, y, progress)``;
    the loss is the sum of ``result.terms``; after the optimiser's step, call
    ``method.after_step()``, and after the last one of an epoch ``method.after_epoch()``. At the end
    ``method.student()`` is the plain network to deploy.

    Args:
        method: a name from :func:`list_methods`.
        backbone: a backbone's name, a network, or a function that builds one; or a list with one
            for each peer.
        num_classes: K.
        input_size: (C, H, W) of a sample.
        seed: fixes the initial weights.
        classes: the names of the K classes, in the order of the labels. A teacher that knows the
            same ones in another order is put in this one.
        mean: of each channel, in [0, 1]: what your images are normalised with. A teacher that was
            trained with another one is given its own.
        std: likewise.
        settings: the method's fields, e.g. ``temperature=4`` or ``regularizers=["cd"]``.

    Raises:
        UserError: a name, a setting or their combination is wrong.
    """
    given: _TaskOfMethod = validate(
        _TaskOfMethod,
        {
            "num_classes": num_classes,
            "input_size": input_size,
            "seed": seed,
            "classes": classes,
            "mean": mean,
            "std": std,
        },
    )
    method_class = registry.methods.get(method)
    config = validate(method_class.Config, {**settings, "name": method})
    backbones = [
        replace(
            as_backbone(one, given.num_classes, given.input_size),
            task=Task(given.classes, given.mean, given.std),
        )
        for one in _each(backbone)
    ]
    return method_class(config, backbones, given.seed)


class _TaskOfMethod(Config):
    """What a method that is made in Python is to learn, as :func:`create_method` takes it."""

    num_classes: int
    input_size: tuple[int, int, int]
    seed: Seed
    classes: tuple[str, ...] | None
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None

    @model_validator(mode="after")
    def _goes_together(self) -> "_TaskOfMethod":
        check_task(self.num_classes, self.input_size, self.classes, self.mean, self.std)
        return self


def _each(backbone: BackboneLike | Sequence[BackboneLike]) -> list[Any]:
    """One backbone, which a network that is a sequence of layers is, or the several of a list."""
    return list(backbone) if isinstance(backbone, list | tuple) else [backbone]


def list_methods() -> list[str]:
    """The names that ``method=`` takes."""
    return registry.methods.names()


def list_backbones() -> list[str]:
    """The names that ``backbone=`` takes, besides ``timm/NAME`` and ``package.module:callable``."""
    return registry.backbones.names()


def list_datasets() -> list[str]:
    """The names that ``dataset=`` takes."""
    return registry.datasets.names()
