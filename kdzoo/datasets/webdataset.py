"""Samples in tar shards, as the WebDataset library writes them: ``KEY.jpg`` beside ``KEY.cls``."""

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from kdzoo.data.cores import available_cores
from kdzoo.data.dataset import Dataset, DatasetConfig
from kdzoo.data.index import indexed
from kdzoo.data.paths import Paths
from kdzoo.data.shards import ShardImages
from kdzoo.data.splits import Split, Splits
from kdzoo.data.stamps import stamps_of
from kdzoo.datasets.classes import find_class_names, with_classes
from kdzoo.datasets.parts import as_splits
from kdzoo.datasets.shard_files import find_shards
from kdzoo.datasets.tar_samples import SampleReader, Shard
from kdzoo.errors import UserError
from kdzoo.home import expand_user
from kdzoo.identity import NotIdentity
from kdzoo.registry import datasets


@datasets.register("webdataset")
class WebDataset(Dataset):
    """Tar shards, as WebDataset writes them: ``train-0000.tar`` with ``KEY.jpg`` and ``KEY.cls``.

    Shards are told apart by ``train``, ``val`` and ``test`` in their names, or in those of their
    folders. Images are read from where they stand in the shards, in any order, by an index that is
    made once. Other members, such as pickled ones, are not looked at.
    """

    class Config(DatasetConfig):
        """Where the shards are, and which members are image and label."""

        root: Annotated[Path, NotIdentity]
        """The folder that holds the shards, or the only one."""
        image: str | None = None
        """The member that is the image, such as ``jpg``; by default the only one that can be."""
        label: str | None = None
        """The member that is the label, such as ``cls``; ``json.NAME`` is a field of the JSON."""
        test_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
        """The part of each class that is the test split where no shard is to test on."""

    config: Config

    def load(self) -> Splits:
        root = expand_user(self.config.root)
        settings = self.config.model_dump(include={"name", "image", "label", "test_fraction"})
        return indexed(self.config.cache_folder, root, settings, lambda: self._find(root))

    def _find(self, root: Path) -> Splits:
        shards = {split: self._read(paths) for split, paths in find_shards(root, ".tar").items()}
        raw = {
            split: [sample.label for shard in of_split for sample in shard.samples]
            for split, of_split in shards.items()
        }
        if empty := [split for split, labels in raw.items() if not labels]:
            raise UserError(f"The {empty[0]} shards in {root} hold no samples with an image.")
        named = find_class_names(root) if root.is_dir() else None
        labels, classes = with_classes(raw, None if named is None else named[1], str(root))
        said = () if named is None else (f"the names of the classes are those in {named[0]}",)
        return as_splits(
            {split: Split(_images(shards[split]), labels[split]) for split in shards},
            classes,
            where=str(root),
            test_fraction=self.config.test_fraction,
            purpose=self.config.name,
            notes=(*said, *_left_out(root, [*chain.from_iterable(shards.values())])),
        )

    def _read(self, paths: Sequence[str]) -> list[Shard]:
        from kdzoo.data.reader import with_progress  # with torch, which the settings do without

        workers = self.config.workers
        reader = SampleReader(self.config.image, self.config.label)
        shards = reader.read_all(paths, available_cores() if workers is None else workers)
        return list(with_progress(shards, "Reading the tables of shards", len(paths)))


def _images(shards: Sequence[Shard]) -> ShardImages:
    paths = Paths.of(shard.path for shard in shards)
    places = [
        (number, sample.image.offset, sample.image.size)
        for number, shard in enumerate(shards)
        for sample in shard.samples
    ]
    members = Paths.of(sample.image.name for shard in shards for sample in shard.samples)
    return ShardImages(paths, stamps_of(paths), np.array(places, np.int64).reshape(-1, 3), members)


def _left_out(root: Path, shards: Sequence[Shard]) -> Iterator[str]:
    """What is part of no sample, in lines for people."""
    no_image = [f"{shard.path}/{key}" for shard in shards for key in shard.no_image]
    others = [f"{shard.path}/{name}" for shard in shards for name in shard.others]
    for what, found in (
        ("samples without an image", no_image),
        ("members that are part of no sample", others),
    ):
        if found:
            yield f"left out of {root}: {len(found)} {what}, such as {found[0]}"
