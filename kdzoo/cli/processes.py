"""The processes of a distributed run, of which one says what went wrong."""

import os

RANK = int(os.environ.get("RANK", "0"))
"""This process's number; 0 is the one that shows the run."""


def is_first_to_fail() -> bool:
    """Whether no other process of the run has called this before; so it is in a run of one.

    An error may be that of all processes or of one alone, wherever it is met first. Launchers that
    have no store for their processes (all of torch's have) leave the word to the first process.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return RANK == 0
    from torch.distributed import rendezvous

    store, _, _ = next(rendezvous("env://"))
    return store.add("kdzoo/failures", 1) == 1
