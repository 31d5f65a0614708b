"""The registries: what can be chosen by name, from this package and from installed plugins.

A class or function is added with a decorator, or by another package through an entry point whose
group is ``kdzoo_`` and the registry's plural, such as ``kdzoo_methods``. :data:`ALL` has every
registry; lists of kinds elsewhere follow from it.
"""

import importlib
import pkgutil
from collections.abc import Callable
from functools import cached_property
from importlib.metadata import EntryPoints, entry_points
from typing import Any, TypeVar

import catalogue

from kdzoo.errors import UserError, nearest

Registered = TypeVar("Registered")


class Registry:
    """Named classes or functions of one kind.

    Args:
        kind: what one of them is called, e.g. ``"method"``; several are ``"methods"``.
        package: the package whose modules register the built-in ones, imported when first asked.
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self.plural = f"{kind}s"
        self._package = package
        # Without its entry points, of which it would load all when asked for the names.
        self._catalogue = catalogue.create("kdzoo", self.plural)

    def register(self, name: str) -> Callable[[Registered], Registered]:
        """A decorator that puts a class or function under ``name``."""
        return self._catalogue.register(name)

    def names(self) -> list[str]:
        """Every name, sorted, those of broken plugins included; imports no plugin."""
        return sorted({*self._registered(), *self._plugins.names})

    def get(self, name: str) -> Any:
        """What is registered under ``name``; a plugin's comes before our own.

        Raises:
            UserError: there is no such name, or the package that provides it fails to import.
        """
        if name in self._plugins.names:
            try:
                return self._plugins[name].load()
            except Exception as error:  # whatever a foreign package raises while it is imported
                raise UserError(self._blame(name, error)) from error
        registered = self._registered()
        if name not in registered:
            raise UserError(f"There is no {self.kind} '{name}'. {nearest(name, self.names())}")
        return registered[name]

    def broken(self) -> dict[str, str]:
        """The plugins that fail to import, by name, with what went wrong."""
        messages = {}
        for name in sorted(self._plugins.names):
            try:
                self._plugins[name].load()
            except Exception as error:  # as in get()
                messages[name] = self._blame(name, error)
        return messages

    def origin(self, name: str) -> str:
        """The distribution that provides ``name``."""
        if name in self._plugins.names and (provider := self._plugins[name].dist) is not None:
            return provider.name
        return "kdzoo"

    def _blame(self, name: str, error: Exception) -> str:
        return (
            f"The {self.kind} '{name}' of the package '{self.origin(name)}' fails to import: "
            f"{type(error).__name__}: {error}. Mend or uninstall that package."
        )

    @cached_property
    def _plugins(self) -> EntryPoints:
        """Looked for once, since that reads a file of every installed distribution."""
        return entry_points(group=f"kdzoo_{self.plural}")

    def _registered(self) -> dict[str, Any]:
        """What the decorator was used on, once our own modules are imported."""
        package = importlib.import_module(self._package)
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
        return self._catalogue.get_all()


methods = Registry("method", "kdzoo.methods")
backbones = Registry("backbone", "kdzoo.backbones")
datasets = Registry("dataset", "kdzoo.datasets")
aggregators = Registry("aggregator", "kdzoo.aggregators")
regularizers = Registry("regularizer", "kdzoo.regularizers")
launchers = Registry("launcher", "kdzoo.bench.launchers")

ALL = {
    registry.plural: registry
    for registry in (methods, backbones, datasets, aggregators, regularizers, launchers)
}
"""Every registry by the plural of its kind, in the order in which people look for them."""
