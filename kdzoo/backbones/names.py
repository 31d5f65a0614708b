"""What a backbone can be called; kdzoo's own names are known without torch."""

import re

from kdzoo.backbones.timm_models import is_timm_model, timm_model
from kdzoo.errors import UserError, quoted
from kdzoo.registry import backbones

OWN = "own/"
"""What begins the name of a network that was handed over in Python."""

IMPORTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
"""A name that stands for a person's own code: ``package.module:callable``."""


def check_name(name: str) -> None:
    """Make sure that a backbone's name can stand for one; no code of anybody's is imported.

    Raises:
        UserError: there is no such network; the message names the nearest.
    """
    if ":" in name:
        if not IMPORTED.fullmatch(name):
            raise UserError(
                f"Importing {quoted(name)} fails: a function or class of your own is called "
                "package.module:callable."
            )
    elif name.startswith("timm/"):
        if not is_timm_model(name.removeprefix("timm/")):
            timm_model(name.removeprefix("timm/"))
    elif not name.startswith(OWN):
        if name not in backbones.names() and is_timm_model(name):
            raise UserError(f"kdzoo has no backbone '{name}' of its own, but timm has: timm/{name}")
        backbones.check(name)
