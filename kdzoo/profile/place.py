"""Where a profile is written: a new folder, beside the runs and in none of them."""

from itertools import count
from pathlib import Path

from kdzoo.config import RunConfig
from kdzoo.errors import UserError
from kdzoo.training.run_folder import RunFolder, place_of


def new_place(config: RunConfig) -> Path:
    """Make the folder ``OUT/profile/dataset/backbone/method/N``, N the first free number.

    Raises:
        UserError: it would lie in the folder of a run.
    """
    out = str(Path(config.out) / "profile")
    parent = place_of(config.model_copy(update={"out": out}))
    for above in parent.parents:
        if RunFolder(above).identity.is_file():
            raise UserError(f"{above} is the folder of a run. Choose another out=DIR.")
    parent.mkdir(parents=True, exist_ok=True)
    for number in count(1):
        place = parent / str(number)
        try:
            place.mkdir()
        except FileExistsError:
            continue
        return place
    raise AssertionError("there is always another number")
