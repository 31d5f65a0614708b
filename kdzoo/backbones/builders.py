"""What a backbone's name stands for: the function or class that builds the network."""

import functools
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.machinery import PathFinder
from typing import Any

from torch import nn

from kdzoo.backbones.names import OWN, check_name
from kdzoo.backbones.timm_models import timm_model
from kdzoo.errors import UserError, cause, nearest, quoted
from kdzoo.registry import backbones

Builder = Callable[[], nn.Module]


def find_builder(name: str) -> Callable[..., nn.Module]:
    """The function behind ``NAME``, ``timm/NAME`` or ``package.module:callable``.

    Raises:
        UserError: there is none; the message names the nearest.
    """
    if name.startswith(OWN):
        return functools.partial(_cannot_rebuild, name)
    if name.startswith("timm/"):
        return timm_model(name.removeprefix("timm/"))
    if ":" in name:
        return _imported(name)
    check_name(name)
    return backbones.get(name)


def call_with(
    function: Callable[..., nn.Module], num_classes: int, in_chans: int, kwargs: Mapping[str, Any]
) -> Builder:
    """A builder that calls ``function`` with the arguments out of these that it takes.

    Raises:
        UserError: it takes no argument of a name in ``kwargs``; or, once called, refuses what is in
            them or returns no module.
    """
    parameters = inspect.signature(function).parameters
    anything = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for key in kwargs:
        if key in ("num_classes", "in_chans"):
            raise UserError(f"backbone.kwargs.{key} follows from the data set; leave it out.")
        if key not in parameters and not anything:
            raise UserError(
                f"backbone.kwargs.{key}: the network takes no such argument. "
                f"{nearest(key, set(parameters) - {'num_classes', 'in_chans'})}"
            )
    arguments = dict(kwargs)
    if "num_classes" in parameters or anything:
        arguments["num_classes"] = num_classes
    if "in_chans" in parameters:
        arguments["in_chans"] = in_chans
    return functools.partial(_build, function, arguments, kwargs)


def _build(
    function: Callable[..., nn.Module], arguments: dict[str, Any], typed: Mapping[str, Any]
) -> nn.Module:
    try:
        network = function(**arguments)
    except UserError:
        raise
    except Exception as error:  # whatever a network raises at what it cannot be built with
        if isinstance(error, TypeError) and "unexpected keyword argument" in str(error):
            raise UserError(f"backbone.kwargs: {error}.") from error
        if not typed:
            raise
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise UserError(
            "backbone.kwargs: The network cannot be built with "
            f"{', '.join(f'{key}={quoted(value)}' for key, value in typed.items())} ({reason})."
        ) from error
    if not isinstance(network, nn.Module):
        raise UserError(
            f"{getattr(function, '__qualname__', function)} builds a {type(network).__name__}; "
            "a backbone must be a torch.nn.Module."
        )
    return network


def _cannot_rebuild(name: str) -> nn.Module:
    raise UserError(
        f"The backbone {name} was handed over in Python, and no name builds it. Build it there and "
        "load the weights into it, or make it importable and use backbone=package.module:callable."
    )


def _imported(name: str) -> Callable[..., nn.Module]:
    check_name(name)
    module_name, _, attribute = name.partition(":")
    try:
        with _folder_first(module_name):
            module = importlib.import_module(module_name)
    except Exception as error:  # whatever the user's own file raises
        raise UserError(
            f"backbone '{name}': importing {module_name} fails: {type(error).__name__}: "
            f"{cause(error)}"
        ) from error
    function = getattr(module, attribute, None)
    if not callable(function):
        public = {key: value for key, value in vars(module).items() if not key.startswith("_")}
        choices = [key for key, value in public.items() if callable(value)]
        raise UserError(
            f"backbone '{name}': {module_name} has no function or class '{attribute}'. "
            f"{nearest(attribute, choices)}"
        )
    return function


@contextmanager
def _folder_first(module_name: str) -> Iterator[None]:
    """Look for a module where kdzoo was started, if it is there, as a script would.

    A console script does not. Afterwards that folder is the last one looked into, so that a file in
    it cannot take the place of a module that is imported later.
    """
    here = os.getcwd()
    if here in sys.path or not PathFinder.find_spec(module_name.partition(".")[0], [here]):
        yield
        return
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)
        sys.path.append(here)
