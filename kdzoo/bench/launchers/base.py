"""A launcher: where the runs of a bench are carried out, and how many at a time."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from kdzoo.component import ComponentConfig
from kdzoo.config import RunConfig
from kdzoo.errors import UserError

if TYPE_CHECKING:
    from kdzoo.training.run_folder import RunFolder

Jobs = int | Literal["auto"]


class LaunchError(UserError):
    """A run did not end well; the message says why, in a line."""


class Launcher(Protocol):
    """Carries out runs, each in a process of its own; registered by name.

    Attributes:
        slots: how many runs it carries out at a time; may change while it is at work.
        why: what decides that, in a line for the person at the bench.
    """

    Config: ClassVar[type[ComponentConfig]]

    @property
    def slots(self) -> int: ...

    @property
    def why(self) -> str: ...

    def __init__(self, config: Any, jobs: Jobs, configs: Sequence[RunConfig]) -> None:
        """Make ready, before any run.

        Args:
            config: an instance of the class's ``Config``.
            jobs: how many runs at a time, as the spec says.
            configs: all the runs to come.

        Raises:
            UserError: it cannot work here.
        """

    def carry_out(
        self, config: RunConfig, folder: "RunFolder", needs: Sequence["RunFolder"], slot: int
    ) -> None:
        """Train one run and leave its finished folder; called from one thread a slot.

        The bench has claimed the folder. What the run prints belongs into its ``log.txt``.

        Args:
            config: the run.
            folder: where it belongs; its ``config.yaml`` is there.
            needs: finished runs that it builds on, such as its teacher's.
            slot: which of the ``slots`` it takes.

        Raises:
            LaunchError: the run failed, or was stopped.
        """

    def stop(self) -> None:
        """Stop what is running and wait for it; nothing can be carried out any more."""
