"""Which samples take part: the held-out part, the long tail, the subset and the wrong labels.

Every choice depends on the labels and the seed, never on the epoch.
"""

from dataclasses import replace
from typing import Annotated

import numpy as np
from pydantic import Field

from kdzoo.component import Config
from kdzoo.data.splits import Split, Splits
from kdzoo.errors import ConfigError
from kdzoo.seeding import stream


class SelectionConfig(Config):
    """Settings of a data set that say which training samples are used, and how truly labelled."""

    val_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Hold this stratified part of the training set out for validation."""
    train_subset: Annotated[int, Field(ge=1)] | None = None
    """Train on so many samples, stratified; a smaller subset lies inside a larger one."""
    imbalance: Annotated[float, Field(ge=1)] = 1.0
    """How many times rarer the last class becomes; those between fall off exponentially."""
    label_noise: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Give this part of the training labels another class at random."""


def select(splits: Splits, config: SelectionConfig, seed: int) -> Splits:
    """The splits as the settings ask for them; the test split stays as it is.

    Validation samples are held out first, so that they keep their proportions and true labels.

    Raises:
        ConfigError: a setting does not fit this data set.
    """
    train, val = splits.train, splits.val
    if config.val_fraction:
        if val is not None:
            raise _does_not_fit("val_fraction", "this data set has a validation split of its own")
        train, val = split_off(train, config.val_fraction, stream(seed, "val"))
        if not len(val):
            raise _does_not_fit("val_fraction", f"{len(train)} samples are too few to hold it out")
    if config.imbalance > 1:
        train = long_tailed(train, config.imbalance, stream(seed, "imbalance"))
    if config.train_subset is not None:
        if not len(splits.classes) <= config.train_subset <= len(train):
            raise _does_not_fit(
                "train_subset",
                f"there are {len(train)} training samples of {len(splits.classes)} classes, and "
                f"{config.train_subset} is not between these numbers",
            )
        order = stratified_order(train.labels, stream(seed, "subset"))
        train = train.take(np.sort(order[: config.train_subset]))
    if config.label_noise:
        train = noisy(train, config.label_noise, len(splits.classes), stream(seed, "noise"))
    return replace(splits, train=train, val=val)


def stratified_order(labels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A shuffled order, [N] positions, in which every prefix has the proportions of the whole.

    The k-th of a class's n samples stands at the place (k + u) / n, with one u in [0, 1) for each
    class. Classes of equal size so take turns, small ones are rounded without bias, and a shorter
    prefix lies inside a longer one.
    """
    by_class, rank = _shuffled_by_class(labels, random)
    counts = np.bincount(labels)
    place = (rank + random.random(len(counts))[labels[by_class]]) / counts[labels[by_class]]
    return by_class[np.argsort(place, kind="stable")]


def split_off(split: Split, fraction: float, random: np.random.Generator) -> tuple[Split, Split]:
    """The split without a stratified fraction of it, and that fraction; both in their old order.

    Of a class that would be in the fraction alone, a sample is left in the split.
    """
    order = stratified_order(split.labels, random)
    cut = round(fraction * len(order))
    kept, taken = order[cut:], order[:cut]
    _, last = np.unique(split.labels[taken][::-1], return_index=True)
    needed = taken[::-1][last]
    needed = needed[~np.isin(split.labels[needed], split.labels[kept])]
    taken = taken[~np.isin(taken, needed)]
    return split.take(np.sort(np.concatenate([kept, needed]))), split.take(np.sort(taken))


def long_tailed(split: Split, factor: float, random: np.random.Generator) -> Split:
    """Keep n_k * factor^(-k / (K - 1)) of the n_k samples of class k, at least one.

    The long-tailed CIFAR of Cui et al., "Class-Balanced Loss Based on Effective Number of Samples"
    (CVPR 2019), for any data set.
    """
    counts = np.bincount(split.labels)
    falloff = factor ** -np.linspace(0, 1, len(counts))
    kept = np.maximum(1, np.rint(counts * falloff)).astype(np.int64)
    by_class, rank = _shuffled_by_class(split.labels, random)
    return split.take(np.sort(by_class[rank < kept[split.labels[by_class]]]))


def noisy(split: Split, share: float, classes: int, random: np.random.Generator) -> Split:
    """Give ``share`` of the samples a label that is wrong, each wrong one equally likely."""
    chosen = random.permutation(len(split))[: round(share * len(split))]
    labels = split.labels.copy()
    labels[chosen] = (labels[chosen] + random.integers(1, classes, len(chosen))) % classes
    return replace(split, labels=labels)


def _shuffled_by_class(
    labels: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Positions [N], class after class and shuffled within each, and their ranks [N] there."""
    shuffled = random.permutation(len(labels))
    counts = np.bincount(labels)
    ranks = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    return shuffled[np.argsort(labels[shuffled], kind="stable")], ranks


def _does_not_fit(setting: str, why: str) -> ConfigError:
    return ConfigError(f"This does not fit: {why}.", ("dataset", setting))
