"""CIFAR as image files in class folders: held against what is published before it bears the name.

``ROOT/train/CLASS/*.png`` and ``ROOT/test/CLASS/*.png``, as several collections hand CIFAR out.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from kdzoo.data.folders import combine, scan
from kdzoo.data.images import ArrayImages
from kdzoo.data.resize import ImageSize, choose_size
from kdzoo.data.splits import Split, Splits
from kdzoo.errors import UserError

SIZE = ImageSize(32, 32, resize=False)

TOLERANCE = 1e-8
"""Of a mean that is known to eight digits. Saving as JPEG moves it by more, if by little."""


@dataclass(frozen=True)
class Published:
    """What is known of a data set, whoever hands it out.

    Attributes:
        title: its name in messages.
        classes: their names, in the order of their labels.
        per_class: images of each class, by split.
        means: of each channel of all images, for pixels in [0, 1], by split; to eight digits.
    """

    title: str
    classes: tuple[str, ...]
    per_class: Mapping[str, int]
    means: Mapping[str, tuple[float, float, float]]


def read_class_folders(root: Path, published: Published, cache: Path, workers: int) -> Splits:
    """The images of ``root``, decoded: class after class in the order of the labels, then by path.

    The names of the folders may be spelt with blanks or hyphens for underscores, or in capitals.

    Args:
        root: the folder that holds ``train`` and ``test``.
        published: what the images are held against.
        cache: the folder of the cache of decoded images.
        workers: how many processes decode.

    Raises:
        UserError: these are not all and only the images of the data set, unchanged.
    """
    from kdzoo.data.preload import preload  # with torch, which the settings do without

    try:
        splits = combine({name: scan(root / name) for name in ("train", "test")})
        splits = _relabelled(splits, published)
        for name, split in splits.as_dict().items():
            _check_counts(name, split, published)
        found = choose_size(splits.train.images, None)
        if found != SIZE:
            raise UserError(f"the images have {found.width}x{found.height} pixels, not 32x32.")
        decoded, _ = preload(splits.as_dict(), SIZE, cache=cache, workers=workers, skip=False)
        splits = splits.replaced(decoded)
        for name, split in splits.as_dict().items():
            _check_mean(name, split, published)
    except UserError as error:
        raise UserError(
            f"{root} does not hold {published.title} in class folders: {error} Put the whole data "
            "set there, unchanged; or read these images as data of your own, with "
            f"dataset=imagefolder dataset.root={root}"
        ) from error
    counts = " + ".join(str(count) for count in published.per_class.values())
    checked = (
        f"{published.title} from the class folders in {root}: {len(published.classes)} classes, "
        f"{counts} images a class and the mean of the pixels are as published. The order of the "
        "samples is that of the files, not of the archive"
    )
    return replace(splits, notes=(*splits.notes, checked))


def _relabelled(splits: Splits, published: Published) -> Splits:
    """With the labels and names that are published, and sorted by label."""
    known = [_plain(name) for name in published.classes]
    found = [_plain(name) for name in splits.classes]
    if sorted(known) != sorted(found):
        unknown, missing = Counter(found) - Counter(known), Counter(known) - Counter(found)
        wrong = {
            "without folders": (n for n in published.classes if _plain(n) in missing),
            "unknown or twice": (n for n in splits.classes if _plain(n) in unknown),
        }
        listed = [f"{what}: {names}" for what, some in wrong.items() if (names := _list(some))]
        raise UserError(f"its class folders are others ({'; '.join(listed)}).")
    labels = np.array([known.index(name) for name in found])
    return replace(
        splits,
        train=_by_label(splits.train, labels),
        test=_by_label(splits.test, labels),
        classes=published.classes,
    )


def _by_label(split: Split, labels: np.ndarray) -> Split:
    relabelled = Split(split.images, labels[split.labels])
    return relabelled.take(np.argsort(relabelled.labels, kind="stable"))


def _check_counts(name: str, split: Split, published: Published) -> None:
    expected = published.per_class[name]
    counts = np.bincount(split.labels, minlength=len(published.classes))
    wrong = [
        f"{published.classes[label]} has {counts[label]}"
        for label in np.flatnonzero(counts != expected)
    ]
    if wrong:
        raise UserError(f"a class has {expected} {name} images, but {_list(wrong)}.")


def _check_mean(name: str, split: Split, published: Published) -> None:
    assert isinstance(split.images, ArrayImages)
    pixels = split.images.array.reshape(len(split), -1)
    sums = pixels.sum(0, dtype=np.uint64).reshape(-1, 3).sum(0)
    mean = sums / (255 * pixels.size / 3)
    expected = published.means[name]
    if np.abs(mean - expected).max() > TOLERANCE:
        raise UserError(
            f"the {name} images have the mean {_digits(mean)}, not {_digits(expected)}, as if "
            "they had been saved as JPEG, resized or exchanged."
        )


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).casefold()


def _list(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:5]) + (f" and {len(listed) - 5} more" if listed[5:] else "")


def _digits(mean: Iterable[float]) -> str:
    return " ".join(f"{value:.8f}" for value in mean)
