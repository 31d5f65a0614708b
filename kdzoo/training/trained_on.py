"""How many of the images that a student is measured on it was trained on."""

from collections.abc import Mapping
from dataclasses import dataclass

from kdzoo.data.bit_depth import PixelRange
from kdzoo.data.dataset import DatasetConfig
from kdzoo.data.pixel_range import scaled_alike
from kdzoo.data.preload import preload
from kdzoo.data.prepare import Prepared, is_small
from kdzoo.data.repeats import find_repeats
from kdzoo.data.selection import select
from kdzoo.data.splits import Split, Splits


@dataclass(frozen=True)
class TrainedOn:
    """Of the images that were looked for among those trained on, how many are."""

    count: int
    looked_for: int


def count_trained_on(
    measured: Mapping[str, Split],
    prepared: Prepared,
    own: Splits,
    settings: DatasetConfig,
    seed: int,
    pixel_range: tuple[float, float] | None,
) -> TrainedOn | None:
    """Look for measured images among those that a run was trained on, as it chose them.

    Args:
        measured: as they were loaded.
        prepared: the same, decoded where they are small.
        own: the run's data, as they were loaded.
        settings: of the run's data.
        seed: the run's.
        pixel_range: the run's, for images of more than 8 bits a channel.

    Returns:
        None where the images cannot be compared.

    Raises:
        UserError: the run's settings no longer fit its data, or these have another size.
    """
    if prepared.on_device and is_small({"train": own.train}, prepared.size):
        train = {"train": own.train}
        if pixel_range is not None:
            train = scaled_alike(train, PixelRange(*pixel_range))
        decoded, _ = preload(
            train,
            prepared.size,
            cache=settings.cache_folder,
            workers=prepared.workers,
            skip=settings.on_error == "skip",
        )
        own = own.replaced({**own.as_dict(), **decoded})
        measured = prepared.splits
    trained_on = select(own, settings, seed).train.images
    found = [find_repeats(split.images, trained_on) for split in measured.values()]
    known = [one for one in found if one is not None]
    if len(known) < len(found):
        return None
    return TrainedOn(sum(map(len, known)), sum(one.looked_for for one in known))
