"""What the modules of a package define, read from their source: nothing in them is imported."""

import ast
import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.abc import InspectLoader


@dataclass(frozen=True)
class Definition:
    """A class or function that is registered under a name.

    Attributes:
        module: the full name of the module that it stands in.
        docstring: its own, without indentation; "" where it has none.
        paper: what a class says of its source, ``paper = "..."``; "" where it says nothing.
    """

    module: str
    docstring: str
    paper: str


def find_definitions(package: str, decorator: str) -> dict[str, Definition]:
    """The classes and functions in a package's modules that stand under ``@decorator("NAME")``.

    Args:
        package: its full name.
        decorator: as the source writes it, e.g. ``methods.register``.
    """
    return {
        name: Definition(module, ast.get_docstring(node) or "", _paper(node))
        for module, tree in _modules(package)
        for node in tree.body
        if isinstance(node, ast.ClassDef | ast.FunctionDef)
        for name in _names(node, decorator)
    }


def _modules(package: str) -> Iterator[tuple[str, ast.Module]]:
    """The modules right inside a package, as far as there is source of them."""
    for found in pkgutil.iter_modules(importlib.import_module(package).__path__, f"{package}."):
        spec = found.module_finder.find_spec(found.name, None)
        if spec is not None and isinstance(spec.loader, InspectLoader):
            yield found.name, ast.parse(spec.loader.get_source(found.name) or "")


def _paper(node: ast.ClassDef | ast.FunctionDef) -> str:
    for one in node.body:
        match one:
            case ast.Assign(targets=[ast.Name(id="paper")], value=ast.Constant(value=str(paper))):
                return paper
    return ""


def _names(node: ast.ClassDef | ast.FunctionDef, decorator: str) -> Iterator[str]:
    for one in node.decorator_list:
        match one:
            case ast.Call(func=function, args=[ast.Constant(value=str(name))]):
                if ast.unparse(function) == decorator:
                    yield name
