"""Where the command line prints.

Of a distributed run, the first process speaks; of what went wrong, whichever meets it first.
"""

from rich.console import Console

from kdzoo.cli.processes import RANK
from kdzoo.console import make_console

out = make_console(quiet=RANK != 0)
err = make_console(stderr=True)
_beside_json = make_console(stderr=True, quiet=RANK != 0)


def aside(as_json: bool) -> Console:
    """Where progress is shown: JSON has stdout to itself.

    Args:
        as_json: whether the command prints JSON.
    """
    return _beside_json if as_json else out
