"""Imports go one way through the house: each room knows of the rooms below it, and of no other."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import kdzoo

PACKAGE = Path(kdzoo.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

BASICS = {
    "errors",
    "home",
    "console",
    "registry",
    "scalars",
    "durations",
    "fields",
    "component",
    "identity",
    "seeding",
    "fingerprint",
    "task_checks",
}
NETWORKS = BASICS | {
    "backbones",
    "peers",
    "samples",
    "aggregators",
    "regularizers",
    "divergences",
    "feature_terms",
}
CONFIGS = BASICS | {"files", "config", "compose"}
RUNS = CONFIGS | {"training"}
CALLED = {"report", "bench", "predict", "profile", "verify", "doctor", "export", "hub", "scaffold"}

# The rooms, folders and single files, from the lowest to the highest, and what each may import.
MAY_IMPORT = {
    "errors": set(),
    "sources": set(),
    "home": {"errors"},
    "seeding": set(),
    "lease": set(),
    "files": {"errors", "lease"},
    "seal": set(),
    "registry": {"errors", "sources"},
    "console": {"errors"},
    "scalars": set(),
    "durations": {"errors", "scalars"},
    "yaml_text": {"errors", "scalars"},
    "fields": {"errors", "scalars", "yaml_text"},
    "task_checks": {"errors"},
    "component": {"errors", "home", "registry", "fields"},
    "identity": {"errors", "component"},
    "fingerprint": set(),
    # networks, which know of no data and no files
    "timm": {"errors", "registry"},
    "backbones": BASICS | {"timm"},
    "peers": BASICS | {"backbones"},
    "kernels": {"backbones", "peers"},
    "samples": {"errors"},
    "aggregators": BASICS | {"backbones", "peers"},
    "regularizers": BASICS | {"backbones", "peers"},
    "divergences": BASICS,
    "feature_terms": BASICS | {"samples", "peers", "divergences"},
    "student": BASICS | {"files", "seal", "backbones"},
    "methods": NETWORKS | {"student"},  # a teacher is another run's student
    "optim": BASICS | {"methods"},  # groups of parameters by the depth of the peers' layers
    # data, which knows of no networks
    "data": BASICS | {"files", "seal"},
    "datasets": BASICS | {"files", "data"},
    # what brings the two together
    "config": BASICS | {"backbones", "data", "optim"},
    "compose": BASICS | {"files", "yaml_text", "config"},
    "training": NETWORKS
    | CONFIGS
    | {"kernels", "methods", "optim", "seal", "student", "data", "lease"},
    "profile": NETWORKS | RUNS | {"methods", "data"},
    "report": RUNS | {"seal"},
    "bench": RUNS | {"report"},
    # what people call
    "verify": RUNS | {"report"},
    "doctor": BASICS | {"data", "training"},
    "predict": BASICS | {"backbones", "peers", "data", "student", "config", "training"},
    "export": BASICS | {"files", "backbones", "data", "student", "predict"},
    "hub": NETWORKS | RUNS | {"timm", "student", "export"},
    "testing": NETWORKS | {"methods", "student"},
    "scaffold": BASICS | {"files"},
    "api": NETWORKS | RUNS | {"methods", "student", "data"},
    "cli": NETWORKS | RUNS | {"methods", "optim", "student", "data", *CALLED},
    "__init__": {"home"},
    "__main__": {"cli"},
}


def _module(file: Path) -> str:
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


MODULES = {_module(file) for file in FILES}


def _imports(nodes: Iterator[ast.AST]) -> Iterator[tuple[int, str]]:
    """(line, module) of every import of the package's own modules, without the package's name."""
    for node in nodes:
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            # of a module, or of a name in one
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name.startswith("kdzoo."):
                inside = name.removeprefix("kdzoo.")
                module = inside if inside in MODULES else inside.rpartition(".")[0]
                if module:  # else a name of the package itself, which every import loads
                    yield node.lineno, module


def _at_import(node: ast.AST) -> Iterator[ast.AST]:
    """What is carried out when a module is imported: not the bodies of functions."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from _at_import(child)


def test_every_import_goes_to_a_room_that_may_be_known_there():
    wrong = []
    for file in FILES:
        room = _module(file).split(".")[0]
        for line, module in _imports(ast.walk(ast.parse(file.read_text(encoding="utf-8")))):
            other = module.split(".")[0]
            if other != room and other not in MAY_IMPORT[room]:
                place = f"{file.relative_to(PACKAGE.parent)}:{line}"
                wrong.append(f"{place} imports kdzoo.{module}; {room} may not import {other}")
    assert not wrong, "\n".join(wrong)


def test_the_rooms_are_in_order():
    order = list(MAY_IMPORT)
    for room, others in MAY_IMPORT.items():
        above = [other for other in others if order.index(other) >= order.index(room)]
        assert not above, f"{room} may import {above}, which stand above it"


def test_no_module_imports_itself_in_a_circle():
    graph = {}
    for file in FILES:
        nodes = _at_import(ast.parse(file.read_text(encoding="utf-8")))
        graph[_module(file)] = {module for _, module in _imports(nodes)}
    TopologicalSorter(graph).prepare()  # a CycleError names the circle


def test_the_public_names_are_all_there_and_load_when_they_are_used():
    assert set(dir(kdzoo)) == set(kdzoo.__all__)
    everything = {}
    exec("from kdzoo import *", everything)
    assert everything.keys() >= {"run", "create_method", "load_student", "UserError"}
    for name in kdzoo.__all__:
        assert everything[name].__module__.startswith("kdzoo.")
        assert everything[name].__name__ == name
