"""What a bench leaves in a run's folder besides the run's own files."""

import json

from kdzoo.files import write_json
from kdzoo.training.run_folder import RunFolder

LOG = "log.txt"
"""Everything that the run printed, over all its attempts."""
FAILURE = "failure.json"
"""There while the last attempt at the run failed: {"message": why}."""


def record_failure(folder: RunFolder, message: str) -> None:
    """Note that the run failed."""
    write_json(folder.path / FAILURE, {"message": message})


def forget_failure(folder: RunFolder) -> None:
    """The run is tried again, or has succeeded."""
    (folder.path / FAILURE).unlink(missing_ok=True)


def read_failure(folder: RunFolder) -> str | None:
    """Why the last attempt failed; None if it did not."""
    try:
        return str(json.loads((folder.path / FAILURE).read_text(encoding="utf-8"))["message"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError):
        return "the reason cannot be read"
