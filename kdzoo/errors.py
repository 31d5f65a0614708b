"""What a person did that kdzoo cannot carry out, said in one message."""

import difflib
import errno
from collections.abc import Iterable

LONGEST_MESSAGE = 1200
"""Characters of a message; of a longer one, beginning and end are left."""
MOST_LINES = 8
LONGEST_VALUE = 80
"""Characters of a value that a message quotes."""


class UserError(Exception):
    """A mistake in what was asked for: the message says what, where, and what to do.

    The command line prints it without a traceback and exits with ``exit_code``. Whatever was typed
    or is in a file, the message is printable, of moderate length and in one line: names of files
    may hold line breaks.

    Args:
        message: what to say.
        lines: of a list below it.
    """

    exit_code = 2

    def __init__(self, message: str, *lines: str) -> None:
        listed = [in_line(line) for line in (message, *lines)]
        if len(listed) > MOST_LINES:
            listed = [*listed[: MOST_LINES - 1], "..."]
        super().__init__(_shortened("\n".join(listed), LONGEST_MESSAGE))


class ConfigError(UserError):
    """A key or value of the configuration that does not fit.

    Args:
        message: what is wrong and what would be right.
        where: the path of keys that leads to it, outermost first.
    """

    def __init__(self, message: str, where: tuple[str, ...] = ()) -> None:
        self.message = message
        self.where = where
        place = ".".join(_shortened(key, LONGEST_VALUE) for key in where)
        super().__init__(f"{place}: {message}" if where else message)

    def inside(self, *outer: str) -> "ConfigError":
        """The same error, seen from the object that holds the one it was raised in."""
        return ConfigError(self.message, (*outer, *self.where))


class UnreadableError(UserError):
    """A file that this user may not read. It may be whole, so nobody is told to remove it.

    Args:
        path: the file.
        error: what the system said.
    """

    def __init__(self, path: object, error: OSError) -> None:
        super().__init__(
            f"{path} cannot be read: {error.strerror or error}. Ask its owner for permission."
        )


def explain_system(error: OSError) -> UserError | None:
    """What stands in the way of a path that was typed, or on a disk; None of anything else."""
    if error.filename is not None:
        return UserError(f"{error.filename} cannot be used: {error.strerror or error}.")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError(
            f"{error.strerror}. Make room, also for temporary files; TMPDIR names another folder "
            "for these."
        )
    return None


def nearest(wrong: str, right: Iterable[str]) -> str:
    """A sentence that names what ``wrong`` was probably meant to be, or every choice."""
    names = sorted(right)
    close = difflib.get_close_matches(wrong[:LONGEST_VALUE], names, n=3, cutoff=0.5)
    if close:
        return f"Did you mean {' or '.join(close)}?"
    return f"Choose from: {', '.join(names)}." if names else "There are none to choose from."


def printable(text: str) -> str:
    """Text that no terminal takes for a command: what cannot be seen is written as an escape."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else _escape(c) for c in text)


def in_line(text: str) -> str:
    """The same in one line, for what is said line by line: names of files may hold line breaks."""
    return printable(text).replace("\n", r"\n")


def cause(error: BaseException) -> str:
    """What a library says went wrong, whose messages may take several lines, in one."""
    return " ".join(str(error).split())


def quoted(value: object) -> str:
    """A value as a message shows it: text in quotes, anything else as Python writes it; short, and
    in one line.
    """
    if isinstance(value, str):
        return f"'{_shortened(in_line(value), LONGEST_VALUE)}'"
    try:
        return _shortened(repr(value), LONGEST_VALUE)
    except (ValueError, RecursionError):  # an integer of thousands of digits; a list in itself
        return f"that {type(value).__name__}"


def _shortened(text: str, length: int) -> str:
    if len(text) <= length:
        return text
    end = length // 4
    return f"{text[: length - end - 5]} ... {text[-end:]}"


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
