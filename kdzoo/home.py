"""A person's home folder, also where there is none, as in a container with a bare user number."""

import logging
import os
import stat
import tempfile
from collections.abc import MutableMapping
from contextlib import suppress
from pathlib import Path

from kdzoo.errors import UserError, quoted

CACHE = "XDG_CACHE_HOME"
"""Where programs keep what they can make again; else in the home folder."""

logger = logging.getLogger(__name__)


def expand_user(path: str | Path) -> Path:
    """The path with the home folder in place of a ``~`` or ``~NAME`` that it begins with.

    Raises:
        UserError: there is no such home folder.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UserError(
            f"There is no home folder for {quoted(str(path))} here. Write the path without ~."
        ) from None


def cache_folder() -> Path:
    """The folder of kdzoo's cache, which need not be there yet."""
    return Path(os.environ.get(CACHE) or _home() / ".cache") / "kdzoo"


def provide_cache(environment: MutableMapping[str, str] = os.environ) -> None:
    """Name a folder for caches where the home folder cannot hold any, and warn of it.

    Kdzoo, Hugging Face, torch and matplotlib look into these variables when they are imported, and
    processes that are started from this one have them as well.
    """
    if environment.get(CACHE) or _can_hold(_home() / ".cache"):
        return
    folder = _private_folder()
    environment[CACHE] = str(folder)
    environment.setdefault("XDG_CONFIG_HOME", str(folder))  # matplotlib's
    logger.warning(
        "There is no home folder that can be written. Caches, such as downloaded weights, are in "
        "%s. Set XDG_CACHE_HOME to a folder that stays.",
        folder,
    )


def _home() -> Path:
    """The home folder; a path below no folder where none is known."""
    try:
        return Path.home()
    except RuntimeError:
        return Path(os.devnull)


def _can_hold(folder: Path) -> bool:
    """Whether a folder is there, which may be meant to be read only, or can be made."""
    if folder.is_dir():
        return True
    above = next(one for one in folder.parents if os.path.lexists(one))
    return above.is_dir() and os.access(above, os.W_OK | os.X_OK)


def _private_folder() -> Path:
    """A folder below the temporary one that is this user's alone, the same each time if it can be.

    Programs trust what is in their caches, so nobody else may have put it there.
    """
    if hasattr(os, "getuid"):  # not so on Windows
        folder = Path(tempfile.gettempdir()) / f"kdzoo-{os.getuid()}"
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        found = folder.lstat()
        is_mine = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
        if is_mine and not found.st_mode & 0o077:
            return folder
    return Path(tempfile.mkdtemp(prefix="kdzoo-"))
