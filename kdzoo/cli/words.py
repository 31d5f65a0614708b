"""Words of the command line, one of a few or a path; what else is given is refused."""

from collections.abc import Callable
from pathlib import Path

from kdzoo import registry
from kdzoo.errors import UserError, nearest, quoted
from kdzoo.home import expand_user

KINDS = [*(one.kind for one in registry.ALL.values()), "optimizer", "schedule", "recipe"]
"""What can be shown."""
LISTS = [*registry.ALL, "optimizers", "schedules", "trackers", "recipes"]
"""What can be listed."""
FORMATS = ["safetensors", "onnx", "pt2", "timm"]
"""What a student can be written as."""
SPLITS = ["test", "val", "train", "all"]
"""Which images of a data set are measured."""
PARTS = ["method", "aggregator", "regularizer", "divergence", "feature_term", "dataset"]
"""What a plugin package can be begun with."""


def one_of(choices: list[str]) -> Callable[[str], str]:
    """A parser of an argument.

    Raises:
        UserError: the parser, where it is given another word.
    """

    def parse(given: str) -> str:
        if given not in choices:
            raise UserError(f"{quoted(given)} is none of the choices. {nearest(given, choices)}")
        return given

    return parse


def path(given: str) -> Path:
    """A parser of an argument, with ``~`` for the home folder.

    Raises:
        UserError: it is empty, as a variable of a shell is that was never set.
    """
    if not given:
        raise UserError("A path is empty. Name the file or folder; the current one is '.'.")
    return expand_user(given)


def listed(choices: list[str]) -> str:
    """The choices in words, as a help text has them."""
    return f"{', '.join(choices[:-1])} or {choices[-1]}"


def kind_to_show(given: str) -> str:
    """The kind of thing that ``kdzoo show`` is to explain.

    Raises:
        UserError: it is none; where it is the name of a thing, the message says of which kind.
    """
    for kind in registry.ALL.values():
        if given not in KINDS and given in kind.names():
            raise UserError(
                f"{quoted(given)} is a {kind.kind}: kdzoo show {kind.kind} {given} explains it."
            )
    return one_of(KINDS)(given)
