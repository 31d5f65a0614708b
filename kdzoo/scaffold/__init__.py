"""Writes the package of a new part, for people who add one without touching kdzoo."""

import builtins
import keyword
import re
import sys
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from string import Template

from kdzoo import registry
from kdzoo.errors import UserError
from kdzoo.files import write_text


def new_plugin(kind: str, name: str, folder: Path) -> Path:
    """Write a package that adds a part, ready to install, with tests that pass.

    Args:
        kind: ``method``, ``aggregator``, ``regularizer``, ``divergence``, ``feature_term`` or
            ``dataset``.
        name: what the part will be called: lower-case letters, digits and underscores.
        folder: where the package's own folder, ``kdzoo-NAME``, is made.

    Returns:
        that folder.

    Raises:
        UserError: the name cannot be one or is taken, the folder exists or cannot be written.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name):
        raise UserError(
            f"'{name}' cannot be the name of {a(kind)}: use lower-case letters, digits and single "
            f"underscores, starting with a letter, e.g. my_{kind}."
        )
    known = next(each for each in registry.ALL.values() if each.kind == kind)
    words = {
        "name": name,
        "kind": kind,
        "kinds": known.plural,
        "module": f"kdzoo_{name}",
        "Class": "".join(word.capitalize() for word in name.split("_")),
    }
    _check_free(kind, name, words["Class"])
    if name in known.names():
        origin = known.origin(name)
        raise UserError(f"There is {a(kind)} '{name}' already, of {origin}. Choose another name.")
    package = folder / f"kdzoo-{name.replace('_', '-')}"
    if package.exists():
        raise UserError(f"{package} exists already. Move it away, or choose another name.")
    words["package"] = package.name
    for path, template in LAYOUT.items():
        text = _template(kind, template)
        written = package / Template(path).substitute(words)
        write_text(written, Template(text).substitute(words), "Go to another working folder")
    return package


def _check_free(kind: str, name: str, class_name: str) -> None:
    """Refuse names that would hide what Python, a package or the method's own code is called."""
    names = {name, class_name}
    if any(keyword.iskeyword(one) or keyword.issoftkeyword(one) for one in names) or any(
        hasattr(builtins, one) for one in names
    ):
        raise UserError(f"'{name}' means something in Python already. Choose another name.")
    found = find_spec(name)
    if name in sys.stdlib_module_names or (found is not None and found.origin is not None):
        raise UserError(f"'{name}' is the name of a Python module already. Choose another name.")
    code = _template(kind, LAYOUT["$module.py"])
    imported = re.findall(r"^from \S+ import (.+)$", code, re.MULTILINE)
    needed = {one for line in imported for one in line.split(", ")}
    if needed & {class_name, f"{class_name}Config"}:
        raise UserError(
            f"{a(kind).capitalize()} '{name}' would be a class {class_name}, and its own code "
            "needs what is called so already. Choose another name."
        )


def a(kind: str) -> str:
    """The kind with its article."""
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def _template(kind: str, name: str) -> str:
    """What is of one kind alone stands in its folder, the rest beside it."""
    own = files(__name__) / kind / name
    return (own if own.is_file() else files(__name__) / name).read_text(encoding="utf-8")


LAYOUT = {
    "pyproject.toml": "pyproject.toml.txt",
    "README.md": "README.md.txt",
    "$module.py": "module.py.txt",
    "tests/test_$name.py": "test_module.py.txt",
}
"""The files of the package and the templates they are made from."""
