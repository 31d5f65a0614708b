"""Tells when a checkpoint is due within an epoch."""

import math
import time

from kdzoo.durations import seconds


class Clock:
    """Counts from its start.

    Args:
        every: the longest time without a checkpoint, such as ``10min``; None for any time.
    """

    def __init__(self, every: str | None) -> None:
        self.every = math.inf if every is None else seconds(every)
        self.restart()

    def restart(self) -> None:
        """Count from now on."""
        self._started = time.monotonic()

    def is_late(self) -> bool:
        """Whether so long has passed; it says so once, and counts from then on."""
        late = time.monotonic() - self._started >= self.every
        if late:
            self.restart()
        return late
