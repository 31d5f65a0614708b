"""What a person did that kdzoo cannot carry out, said in one message."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake in what was asked for: the message says what, where, and what to do.

    The command line prints it without a traceback and exits with ``exit_code``.
    """

    exit_code = 2


class ConfigError(UserError):
    """A key or value of the configuration that does not fit.

    Args:
        message: what is wrong and what would be right.
        where: the path of keys that leads to it, outermost first.
    """

    def __init__(self, message: str, where: tuple[str, ...] = ()) -> None:
        self.message = message
        self.where = where
        super().__init__(f"{'.'.join(where)}: {message}" if where else message)

    def inside(self, *outer: str) -> "ConfigError":
        """The same error, seen from the object that holds the one it was raised in."""
        return ConfigError(self.message, (*outer, *self.where))


def nearest(wrong: str, right: Iterable[str]) -> str:
    """A sentence that names what ``wrong`` was probably meant to be, or every choice."""
    names = sorted(right)
    close = difflib.get_close_matches(wrong, names, n=3, cutoff=0.5)
    if close:
        return f"Did you mean {' or '.join(close)}?"
    return f"Choose from: {', '.join(names)}." if names else "There are none to choose from."
