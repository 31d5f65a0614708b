"""The registries: what can be chosen by name, from this package and from installed plugins.

A class or function is added with a decorator, or by another package through an entry point whose
group is ``kdzoo_`` and the registry's plural, such as ``kdzoo_methods``. Which of our own there are
is read from the source (``sources``), so that only what is asked for is imported, and torch with
it. :data:`ALL` has every registry; lists of kinds elsewhere follow from it.
"""

import importlib
import inspect
from collections.abc import Callable
from functools import cached_property
from importlib.metadata import EntryPoints
from typing import Any, TypeVar

import catalogue

from kdzoo.errors import UserError, cause, nearest, quoted
from kdzoo.sources import Definition, find_definitions

Registered = TypeVar("Registered")


class Registry:
    """Named classes or functions of one kind.

    Args:
        kind: what one of them is called, e.g. ``"method"``; several are ``"methods"``.
        package: the package whose modules register the built-in ones, each imported when one of
            its own is first asked for.
        configs: the module that registers the settings of the built-in ones, where those can be
            had without what they are the settings of, and so without torch.
    """

    def __init__(self, kind: str, package: str, configs: str | None = None) -> None:
        self.kind = kind
        self.plural = f"{kind}s"
        self._package = package
        self._configs_module = configs
        self._configs: dict[str, Any] = {}
        # Without its entry points, of which it would load all when asked for the names.
        self._catalogue = catalogue.create("kdzoo", self.plural)

    def register(self, name: str) -> Callable[[Registered], Registered]:
        """A decorator that puts a class or function under ``name``.

        Raises:
            UserError: one of our own has this name, which only a package's entry point replaces;
                whether a program's own came first would hang on the order of imports.
        """

        def register(found: Registered) -> Registered:
            ours = getattr(found, "__module__", "").startswith(f"{self._package}.")
            if not ours and name in self._ours and name not in self._plugins.names:
                raise UserError(
                    f"kdzoo has a {self.kind} '{name}' of its own. Register yours under another "
                    f"name, or in a package under the entry point '{name}' of the group "
                    f"'kdzoo_{self.plural}', which comes before kdzoo's."
                )
            return self._catalogue.register(name)(found)

        return register

    def register_config(self, name: str) -> Callable[[Registered], Registered]:
        """A decorator for the settings of what is registered under ``name``: its ``Config``."""

        def register(config: Registered) -> Registered:
            self._configs[name] = config
            return config

        return register

    def names(self) -> list[str]:
        """Every name, sorted, those of broken plugins included; imports nothing."""
        return sorted({*self._ours, *self._catalogue.get_all(), *self._plugins.names})

    def get(self, name: str) -> Any:
        """What is registered under ``name``; a plugin's comes before our own.

        Raises:
            UserError: there is no such name, or the package that provides it fails to import.
        """
        self.check(name)
        if name in self._plugins.names:
            return self._plugins[name].load()
        if name in self._ours:
            importlib.import_module(self._ours[name].module)
        return self._catalogue.get(name)

    def get_config(self, name: str) -> Any:
        """The class of the settings of what is registered under ``name``, its ``Config``.

        Raises:
            UserError: as :meth:`get`, or what the name stands for has no settings.
        """
        if self._configs_module is not None:
            importlib.import_module(self._configs_module)
        if name in self._configs and name not in self._plugins.names:
            return self._configs[name]
        config = getattr(self.get(name), "Config", None)
        if not hasattr(config, "model_fields"):
            raise UserError(
                f"'{name}' of '{self.origin(name)}' is no {self.kind}: it lacks the class of its "
                "settings, Config. Mend or uninstall what registers it."
            )
        return config

    def check(self, name: str) -> None:
        """Make sure that ``name`` can be chosen, without importing any of our own.

        Raises:
            UserError: as :meth:`get`.
        """
        if not isinstance(name, str):  # from Python
            raise UserError(f"A {self.kind} is called by a name, not by {quoted(name)}.")
        if name in self._plugins.names:
            try:
                self._plugins[name].load()
            except (Exception, SystemExit) as error:  # whatever a foreign package does on import
                raise UserError(self._blame(name, error)) from error
        elif name not in self._ours and name not in self._catalogue:
            raise UserError(f"There is no {self.kind} '{name}'. {nearest(name, self.names())}")

    def about(self, name: str) -> Definition:
        """What is said of ``name`` where it is defined; our own need no import for that.

        Raises:
            UserError: as :meth:`get`.
        """
        if name in self._ours and name not in self._plugins.names:
            return self._ours[name]
        found = self.get(name)
        docstring = inspect.getdoc(found) or ""
        return Definition(getattr(found, "__module__", ""), docstring, getattr(found, "paper", ""))

    def broken(self) -> dict[str, str]:
        """The plugins that fail to import, by name, with what went wrong."""
        messages = {}
        for name in sorted(self._plugins.names):
            try:
                self.check(name)
            except UserError as error:
                messages[name] = str(error)
        return messages

    def origin(self, name: str) -> str:
        """The distribution that provides ``name``."""
        if name in self._plugins.names and (provider := self._plugins[name].dist) is not None:
            return provider.name
        return "kdzoo"

    def _blame(self, name: str, error: BaseException) -> str:
        return (
            f"The {self.kind} '{name}' of the package '{self.origin(name)}' fails to import: "
            f"{type(error).__name__}: {cause(error)}. Mend or uninstall that package."
        )

    @cached_property
    def _plugins(self) -> EntryPoints:
        """Of those that catalogue looked for; it reads a file of every installed distribution."""
        return catalogue.AVAILABLE_ENTRY_POINTS.select(group=f"kdzoo_{self.plural}")

    @cached_property
    def _ours(self) -> dict[str, Definition]:
        """What the modules of our own package use the decorator on, by name."""
        return find_definitions(self._package, f"{self.plural}.register")


methods = Registry("method", "kdzoo.methods", configs="kdzoo.methods.settings")
backbones = Registry("backbone", "kdzoo.backbones")
datasets = Registry("dataset", "kdzoo.datasets")
aggregators = Registry("aggregator", "kdzoo.aggregators", configs="kdzoo.aggregators.settings")
regularizers = Registry("regularizer", "kdzoo.regularizers", configs="kdzoo.regularizers.settings")
divergences = Registry("divergence", "kdzoo.divergences", configs="kdzoo.divergences.settings")
feature_terms = Registry(
    "feature_term", "kdzoo.feature_terms", configs="kdzoo.feature_terms.settings"
)
launchers = Registry("launcher", "kdzoo.bench.launchers")

ALL = {
    registry.plural: registry
    for registry in (
        methods,
        backbones,
        datasets,
        aggregators,
        regularizers,
        divergences,
        feature_terms,
        launchers,
    )
}
"""Every registry by the plural of its kind, in the order in which people look for them."""
