"""Writes the package of a new method, for people who add one without touching kdzoo."""

import builtins
import keyword
import re
from importlib.resources import files
from pathlib import Path
from string import Template

from kdzoo import registry
from kdzoo.errors import UserError
from kdzoo.files import write_text


def new_method(name: str, folder: Path) -> Path:
    """Write a package that adds the method ``name``, ready to install, with tests that pass.

    Args:
        name: what ``method=`` will be called: lower-case letters, digits and underscores.
        folder: where the package's own folder, ``kdzoo-NAME``, is made.

    Returns:
        that folder.

    Raises:
        UserError: the name cannot be one or is taken, the folder exists or cannot be written.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name):
        raise UserError(
            f"'{name}' cannot be the name of a method: use lower-case letters, digits and single "
            "underscores, starting with a letter, e.g. my_method."
        )
    if keyword.iskeyword(name) or keyword.issoftkeyword(name) or hasattr(builtins, name):
        raise UserError(f"'{name}' means something in Python already. Choose another name.")
    if name in registry.methods.names():
        origin = registry.methods.origin(name)
        raise UserError(f"There is a method '{name}' already, of {origin}. Choose another name.")
    package = folder / f"kdzoo-{name.replace('_', '-')}"
    if package.exists():
        raise UserError(f"{package} exists already. Move it away, or choose another name.")
    words = {
        "name": name,
        "package": package.name,
        "module": f"kdzoo_{name}",
        "Class": "".join(word.capitalize() for word in name.split("_")),
    }
    templates = files(__name__) / "method"
    for path, template in LAYOUT.items():
        text = (templates / template).read_text(encoding="utf-8")
        write_text(package / Template(path).substitute(words), Template(text).substitute(words))
    return package


LAYOUT = {
    "pyproject.toml": "pyproject.toml.txt",
    "README.md": "README.md.txt",
    "$module.py": "method.py.txt",
    "tests/test_$name.py": "test_method.py.txt",
}
"""The files of the package and the templates they are made from."""
