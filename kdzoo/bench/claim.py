"""Which bench carries out a run, where several work on one folder."""

from filelock import FileLock, Timeout

from kdzoo.errors import UserError
from kdzoo.training.run_folder import RunFolder


class Claim:
    """A bench's claim on a run, kept from before the run starts until its outcome is noted.

    The operating system lets go of it when the bench dies. Its run may live on for a while then,
    and still holds the run folder itself, which counts as well.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._lock = FileLock(folder.path / ".bench.lock", timeout=0, thread_local=False)

    def take(self) -> bool:
        """Whether the run is ours now, and nobody is at work on it.

        Raises:
            UserError: the folder cannot be written.
        """
        try:
            self._folder.path.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except Timeout:
            return False
        except OSError as error:
            raise UserError(
                f"Cannot write to {self._folder.path}: {error.strerror or error}. Choose another "
                "folder with out=DIR."
            ) from None
        if self._is_at_work():
            self._lock.release()
            return False
        return True

    def give_up(self) -> None:
        """Let others have it."""
        self._lock.release()

    def _is_at_work(self) -> bool:
        try:
            with self._folder.locked():
                return False
        except UserError:
            return True
