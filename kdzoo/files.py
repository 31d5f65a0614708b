"""Files that a reader, or a crash, never meets half written (atomic writes), and file locks."""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from kdzoo.errors import UserError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path``, which takes its place when the block ends well.

    Raises:
        UserError: the file cannot be written, e.g. no permission or a full disk.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
        temporary = Path(name)
        temporary.chmod(0o666 & ~_umask())  # mkstemp's files are private; results are to be shared
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Replace a file's text."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Replace a file's JSON; numbers that are not finite are refused, since JSON has none."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def make_folder(path: Path) -> None:
    """Make a folder, and those above it, where it is not there yet.

    Raises:
        UserError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot_write(path, error) from error


def try_lock(path: Path) -> FileLock | None:
    """Lock a file; the operating system lets go of it when the process ends.

    Returns:
        the lock, to be released from any thread; None where somebody else has it.

    Raises:
        UserError: the file cannot be written.
    """
    make_folder(path.parent)
    lock = FileLock(path, timeout=0, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        return None
    except OSError as error:
        raise _cannot_write(path, error) from error
    return lock


def read_json(path: Path) -> Any:
    """A JSON file's value.

    Raises:
        UserError: there is no such file, or it holds no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"There is no file {path}.") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as JSON: {error}.") from None


def _cannot_write(path: Path, error: OSError) -> UserError:
    return UserError(
        f"Cannot write to {path}: {error.strerror or error}. Choose another folder with out=DIR, "
        "or make room and permission there."
    )


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
