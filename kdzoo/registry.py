"""The registries: what kdzoo can train, by name, from this package and from installed ones.

A class or function is added with a decorator, or by another package through an entry point whose
group is the registry's (``kdzoo_methods``, ``kdzoo_aggregators``, ``kdzoo_regularizers``,
``kdzoo_backbones``, ``kdzoo_datasets``).
"""

import importlib
import pkgutil
from collections.abc import Callable
from importlib.metadata import EntryPoint
from typing import Any, TypeVar

import catalogue

from kdzoo.errors import UserError, nearest

Entry = TypeVar("Entry")


class Registry:
    """Named classes or functions of one kind.

    Args:
        kind: what one of them is called, e.g. ``"method"``.
        plural: the registry's name.
        package: the package whose modules register the built-in ones.
    """

    def __init__(self, kind: str, plural: str, package: str) -> None:
        self.kind = kind
        self._package = package
        self._catalogue = catalogue.create("kdzoo", plural, entry_points=True)

    def register(self, name: str) -> Callable[[Entry], Entry]:
        """A decorator that puts a class or function under ``name``."""
        return self._catalogue.register(name)

    def names(self) -> list[str]:
        """Every name, sorted, those of broken plugins included; imports no plugin."""
        self._import_builtin()
        ours = (key[-1] for key in catalogue.REGISTRY if key[:-1] == self._catalogue.namespace)
        return sorted({*ours, *(point.name for point in self._plugins())})

    def get(self, name: str) -> Any:
        """What is registered under ``name``.

        Raises:
            UserError: there is no such name, or the package that provides it fails to import.
        """
        if name not in self.names():
            raise UserError(f"There is no {self.kind} '{name}'. {nearest(name, self.names())}")
        try:
            return self._catalogue.get(name)
        except Exception as error:  # whatever a foreign package raises while it is imported
            raise UserError(self._blame(name, error)) from error

    def broken(self) -> dict[str, str]:
        """The plugins that fail to import, by name, with what went wrong."""
        messages = {}
        for point in self._plugins():
            try:
                point.load()
            except Exception as error:  # as in get()
                messages[point.name] = self._blame(point.name, error)
        return messages

    def origin(self, name: str) -> str:
        """The distribution that provides ``name``."""
        for point in self._plugins():
            if point.name == name and point.dist is not None:
                return point.dist.name
        return "kdzoo"

    def _blame(self, name: str, error: Exception) -> str:
        return (
            f"The {self.kind} '{name}' of the package '{self.origin(name)}' fails to import: "
            f"{type(error).__name__}: {error}. Mend or uninstall that package."
        )

    def _plugins(self) -> list[EntryPoint]:
        points = catalogue.AVAILABLE_ENTRY_POINTS
        return list(points.select(group=self._catalogue.entry_point_namespace))

    def _import_builtin(self) -> None:
        package = importlib.import_module(self._package)
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)


methods = Registry("method", "methods", "kdzoo.methods")
aggregators = Registry("aggregator", "aggregators", "kdzoo.aggregators")
regularizers = Registry("regularizer", "regularizers", "kdzoo.regularizers")
backbones = Registry("backbone", "backbones", "kdzoo.backbones")
datasets = Registry("dataset", "datasets", "kdzoo.datasets")
