"""The processes of a distributed run, of which one says what went wrong."""

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.distributed import Store

RANK = int(os.environ.get("RANK", "0"))
"""This process's number; 0 is the one that shows the run."""


def is_first_to_fail() -> bool:
    """Whether no other process of the run has called this before, as far as can be known.

    An error may be that of all processes or of one alone, wherever it is met first. Before the
    processes have met, and once the one that keeps their store is gone, each speaks for itself:
    rather twice than not at all.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return True
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    try:
        store = _store()
        return store is None or store.add(f"kdzoo/failures/{attempt}", 1) == 1
    except (RuntimeError, OSError):
        return True


def _store() -> "Store | None":
    """What the processes share: the launcher's, which outlives them, or that of their group."""
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        from torch.distributed import rendezvous

        store, _, _ = next(rendezvous("env://"))
        return store
    if "torch" not in sys.modules:
        return None
    from torch import distributed

    if not (distributed.is_available() and distributed.is_initialized()):
        return None
    return distributed.distributed_c10d._get_default_store()
