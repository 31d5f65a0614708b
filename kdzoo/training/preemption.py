"""Signals that ask a run to end: it finishes its step, saves, and ends with the signal's exit code.

Ctrl-C, a polite kill, the warning of a cluster that wants its machine back, a closed terminal.
"""

import signal
import threading
from types import FrameType, TracebackType

from kdzoo.training.failures import LostProcessError

SIGNALS = [
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP")
    if hasattr(signal, name)  # Windows has the first two
]
"""SIGUSR1 is what SLURM is usually told to send some time before it ends a job."""


class Stopped(KeyboardInterrupt):  # as the one that it is a kind of
    """A signal has ended the run; what was saved before is kept.

    Args:
        number: of the signal.
        step: after which the state was saved; None where it was not any more.
    """

    def __init__(self, number: int, step: int | None = None) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number
        self.step = step

    @property
    def exit_code(self) -> int:
        """128 and the signal's number, as a shell tells of a program that a signal has ended."""
        return 128 + self.number


class StopSignals:
    """Hears the signals that ask a run to end, while it lasts; used as a context manager.

    A signal raises :class:`Stopped` where the program is, unless signals are held: then it is kept
    until there is a good moment. A second Ctrl-C does not wait for one. Other signals that come
    after the first mean the same once more: a launcher passes on what its processes got as well.

    Handlers are those of the whole process, and Python calls them in its main thread: in another
    one nothing is changed. What was ignored before stays so, as with nohup.

    Attributes:
        received: the number of the first signal; 0 as long as there is none.
    """

    def __init__(self) -> None:
        self.received = 0
        self._held = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                handler = signal.getsignal(number)
                if handler not in (signal.SIG_IGN, None):  # None: not one of Python's
                    self._before[number] = handler
                    signal.signal(number, self._receive)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        if self.received and isinstance(error, LostProcessError):
            raise Stopped(self.received) from None  # the others were asked to end as well

    def hold(self) -> None:
        """Keep signals from now on: there is something to save first."""
        self._held = True

    def release(self) -> None:
        """Let signals through again.

        Raises:
            Stopped: one has come in the meantime.
        """
        self._held = False
        if self.received:
            raise Stopped(self.received)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        again = self.received != 0
        self.received = self.received or number
        if number == signal.SIGINT if again else not self._held:
            raise Stopped(self.received)
