"""What ``--json`` prints: one value on stdout, and nothing else."""

import json
import math
from typing import Any

from rich.console import Console


def print_json(value: Any, out: Console) -> None:
    """Print a value as JSON; a number that is not finite, which JSON lacks, is null.

    Of the processes of a distributed run, the first one prints.
    """
    if not out.quiet:
        out.file.write(json.dumps(_finite(value), indent=1, allow_nan=False) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _finite(one) for key, one in value.items()}
    return [_finite(one) for one in value] if isinstance(value, list | tuple) else value
