"""Files that a reader, or a crash, never meets half written (atomic writes), and file locks."""

import errno
import glob
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from kdzoo.errors import UnreadableError, UserError
from kdzoo.lease import Lease

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP}
"""What file systems say that have no locks, such as some network and user-space ones."""

TEMPORARY = ".tmp"
"""How the names of temporary files end."""
STAGING = ".writing."
"""How those of temporary folders begin."""

ANOTHER_FOLDER = "Choose another folder with out=DIR"
"""The advice where results cannot be written, unless another setting says where they go."""

ANOTHER_TO = "Choose another place with --to"


@contextmanager
def replacing(path: Path, advice: str = ANOTHER_FOLDER, keep: Path | None = None) -> Iterator[Path]:
    """A temporary path beside ``path``, which takes its place when the block ends well.

    It is on the disk before it does, so that a loss of power leaves the old file or the new one.
    What a killed process left of an attempt at the same file is removed.

    Args:
        path: the file; its folder is made where it is missing.
        advice: what a person can do where it cannot be written.
        keep: where in its folder the file that was there before goes, if any. Between the two,
            there is no file at ``path``.

    Raises:
        UserError: the file cannot be written, e.g. no permission or a full disk.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path)
        handle, name = tempfile.mkstemp(TEMPORARY, f".{path.name}.", path.parent)
        temporary = Path(name)
        with _in_use(handle):
            yield temporary
            # mkstemp's files are private, and so are those of some libraries; results are shared
            temporary.chmod(0o666 & ~_umask())
            _sync(temporary)
            if keep is not None and path.exists():
                path.replace(keep)
            temporary.replace(path)
        _sync(path.parent)
    except OSError as error:
        raise _cannot_write(path, error, advice) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextmanager
def _in_use(handle: int) -> Iterator[None]:
    """Hold a lock on what is temporary, which the system lets go of if this process is killed."""
    if fcntl is None:
        os.close(handle)  # Windows renames no open file
        yield
        return
    try:
        with suppress(OSError):  # no locks here: then nobody can tell when it is abandoned
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def _remove_abandoned(path: Path) -> None:
    """Remove the temporary files for ``path`` that no living process holds."""
    if fcntl is None:
        return
    for name in path.parent.glob(f".{glob.escape(path.name)}.*{TEMPORARY}"):
        with suppress(OSError), name.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            name.unlink()


def _sync(path: Path) -> None:
    """Have a file's bytes, or a folder's names, on the disk, where the system can do that."""
    folder = path.is_dir()
    if folder and os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY if folder else os.O_RDWR)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, *NO_LOCKS):  # some file systems cannot
            raise
    finally:
        os.close(handle)


def write_text(path: Path, text: str, advice: str = ANOTHER_FOLDER) -> None:
    """Replace a file's text."""
    with replacing(path, advice) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_texts(folder: Path, texts: Mapping[str, str], advice: str = ANOTHER_FOLDER) -> None:
    """Replace files of a folder; all are on the disk before the first takes its place.

    Raises:
        UserError: they cannot be written; then those that were there are as they were.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _staging(folder) as staging:
            for name, text in texts.items():
                (staging / name).write_text(text, encoding="utf-8")
                _sync(staging / name)
            for name in texts:
                (staging / name).replace(folder / name)
        _sync(folder)
    except OSError as error:
        raise _cannot_write(folder, error, advice) from error


@contextmanager
def _staging(folder: Path) -> Iterator[Path]:
    """A temporary folder in another; what a killed process left there of its own is removed."""
    if fcntl is not None:
        for left in folder.glob(f"{STAGING}*{TEMPORARY}"):
            with suppress(OSError):
                handle = os.open(left, os.O_RDONLY)
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(left)
                finally:
                    os.close(handle)
    with tempfile.TemporaryDirectory(TEMPORARY, STAGING, folder) as name:
        if fcntl is None:
            yield Path(name)
        else:
            with _in_use(os.open(name, os.O_RDONLY)):
                yield Path(name)


def write_json(path: Path, value: Any, advice: str = ANOTHER_FOLDER) -> None:
    """Replace a file's JSON; numbers that are not finite are refused, since JSON has none."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n", advice)


def make_folder(path: Path) -> None:
    """Make a folder, and those above it, where it is not there yet.

    Raises:
        UserError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot_write(path, error) from error


class Lock:
    """A file that is locked, in both ways that there are.

    Args:
        lock: of the operating system.
        lease: a sign of life, for machines that the lock does not reach.
    """

    def __init__(self, lock: FileLock, lease: Lease) -> None:
        self._lock = lock
        self._lease = lease

    @property
    def lost(self) -> bool:
        """Whether another machine has taken it over, which has seen no sign of life."""
        return self._lease.lost

    def release(self) -> None:
        """Let others have it; from any thread."""
        self._lease.release()
        self._lock.release()


def lease_of(path: Path) -> Path:
    """The file beside a lock's in which its holder gives signs of life."""
    return path.with_name(f"{path.name}.held")


def try_lock(path: Path) -> Lock | None:
    """Lock a file.

    The operating system's lock is let go of when the process ends. There may be none, or one that
    other machines do not see, as on some network file systems; so a lease stands beside it. That a
    holder on this machine has died is known at once, on another one after a minute of looks.

    Returns:
        the lock, to be released from any thread; None where somebody else has it.

    Raises:
        UserError: the file cannot be written.
    """
    make_folder(path.parent)
    lock = FileLock(path, timeout=0, thread_local=False, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout:
        return None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise _cannot_write(path, error) from error
    try:
        lease = Lease.take(lease_of(path))
    except OSError as error:
        lock.release()
        raise _cannot_write(path, error) from error
    if lease is None:
        lock.release()
        return None
    return Lock(lock, lease)


def is_file(path: str | Path) -> bool:
    """Whether there is such a file; a name that no file can have is none.

    Raises:
        UnreadableError: this user may not look.
    """
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except PermissionError as error:
        raise UnreadableError(path, error) from None
    except (OSError, ValueError):  # also a name that is too long, or has a null in it
        return False


def check_place(folder: Path, names: Iterable[str], is_ours: Callable[[], bool]) -> None:
    """Make sure that what is written over in a folder was written by kdzoo.

    Args:
        folder: that a person has named.
        names: of the files to be written there.
        is_ours: whether files of such names that are there are ours.

    Raises:
        UserError: they are not.
    """
    there = [name for name in names if os.path.lexists(folder / name)]
    if there and not is_ours():
        raise UserError(
            f"{folder} has {' and '.join(there)} of something else, which would be lost. "
            f"{ANOTHER_TO}."
        )


def read_bytes(path: Path) -> bytes:
    """A file's content.

    Raises:
        OSError: there is no such file, it cannot be read, or it is something else, such as a folder
            or a pipe, which would be waited for.
    """
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "It is no file", str(path))
    return path.read_bytes()


def read_json(path: Path) -> Any:
    """A JSON file's value.

    Raises:
        UnreadableError: this user may not read it.
        UserError: there is no such file, or it holds no JSON, or a key twice.
    """
    try:
        return json.loads(read_bytes(path).decode(), object_pairs_hook=_each_key_once)
    except FileNotFoundError:
        raise UserError(f"There is no file {path}.") from None
    except PermissionError as error:
        raise UnreadableError(path, error) from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read as JSON: {error}.") from None


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A reader of the file sees the first of two equal keys, and the parser takes the last."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} is there twice")
    return found


def _cannot_write(path: Path, error: OSError, advice: str = ANOTHER_FOLDER) -> UserError:
    return UserError(
        f"Cannot write to {path}: {error.strerror or error}. {advice}, or make room and permission "
        "there."
    )


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
