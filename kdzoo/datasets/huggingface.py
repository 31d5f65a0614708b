"""Hugging Face data sets: a folder of ``save_to_disk``, Parquet files, or a name on the hub."""

import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from kdzoo.console import make_console
from kdzoo.data.dataset import Dataset, DatasetConfig
from kdzoo.data.rows import RowImages
from kdzoo.data.splits import Split, Splits
from kdzoo.datasets.classes import Label, with_classes
from kdzoo.datasets.parts import ALL, as_splits
from kdzoo.datasets.shard_files import find_shards
from kdzoo.datasets.split_folders import split_named
from kdzoo.errors import UserError, cause
from kdzoo.home import expand_user
from kdzoo.identity import NotIdentity
from kdzoo.registry import datasets

SAVED = ("dataset_dict.json", "state.json")
"""What tells a folder that ``save_to_disk`` wrote."""

LABEL_COLUMNS = ("label", "labels", "class", "cls", "target", "category")
"""Where no column is one of labels by its type, the names by which one is recognised."""

Tables = dict[str, Any]
"""A ``datasets.Dataset`` for each split, or for all samples."""


@datasets.register("huggingface")
class HuggingFace(Dataset):
    """Hugging Face data sets: a folder of save_to_disk, Parquet files, or a name on the hub.

    Needs ``pip install 'kdzoo[huggingface]'``. Nothing is downloaded unless ``hub`` names it, and
    no code that comes with a data set is run. Parquet files are kept a second time, as Arrow, in
    the folder of the cache.
    """

    class Config(DatasetConfig):
        """Where the tables are, and which columns are image and label."""

        root: Annotated[Path, NotIdentity] = Path("data")
        """The folder that save_to_disk wrote or that holds Parquet files, or one such file."""
        hub: Annotated[str | None, NotIdentity] = None
        """A data set to download from the hub, such as ``uoft-cs/cifar10``, in place of root."""
        revision: Annotated[str | None, NotIdentity] = None
        """Which version of it: a branch, a tag or a commit."""
        subset: str | None = None
        """Which of its configurations, where it has several."""
        image: str | None = None
        """The column of the images; by default the only one that can be."""
        label: str | None = None
        """The column of the labels; by default the only one that can be."""
        test_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
        """The part of each class that is the test split where no samples are to test on."""

    config: Config

    def load(self) -> Splits:
        where = self.config.hub or str(expand_user(self.config.root))
        tables, notes = _by_split(self._tables(), where)
        first = tables.get("train", next(iter(tables.values())))
        image = self._column("image", first, _image_columns(first), where)
        label = self._column("label", first, _label_columns(first), where)
        raw: dict[str, list[Label]] = {}
        for split, table in list(tables.items()):
            if missing := [name for name in (image, label) if name not in table.column_names]:
                raise UserError(f"The {split} samples of {where} have no column {missing[0]}.")
            labels = _labels(table, label, f"{split} samples of {where}")
            if None in labels:
                if split != "train" and set(labels) == {None}:
                    notes.append(f"the {split} samples of {where} have no labels: left out")
                    del tables[split]
                    continue
                raise UserError(
                    f"Row {labels.index(None)} of the {split} samples of {where} has no label. "
                    "Take such samples out."
                )
            raw[split] = [one for one in labels if one is not None]
        found, classes = with_classes(raw, _class_names(first.features[label]), where)
        parts = {
            split: Split(_images(table, image, f"{where} ({split})"), found[split])
            for split, table in tables.items()
        }
        return as_splits(
            parts,
            classes,
            where=where,
            test_fraction=self.config.test_fraction,
            purpose=self.config.name,
            notes=notes,
        )

    def _tables(self) -> Any:
        """What the library loads: a table, or several by name.

        Raises:
            UserError: it is not installed, or loads nothing.
        """
        try:
            import datasets as library
        except ImportError as error:
            raise UserError(
                f"dataset=huggingface needs the library datasets: {error}. "
                "pip install 'kdzoo[huggingface]'"
            ) from error
        if not make_console(stderr=True).is_terminal:
            library.disable_progress_bars()
        hub, root = self.config.hub, expand_user(self.config.root)
        try:
            if hub is not None:
                return library.load_dataset(
                    hub, self.config.subset, revision=self.config.revision, keep_in_memory=False
                )
            if any((root / name).is_file() for name in SAVED):
                return library.load_from_disk(root, keep_in_memory=False)
            return {
                split: library.Dataset.from_parquet(
                    paths, cache_dir=str(self.config.cache_folder / "huggingface")
                )
                for split, paths in find_shards(root, ".parquet").items()
            }
        except UserError:
            raise
        except Exception as error:  # the library, and those below it, raise anything
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise UserError(f"{hub or root} cannot be loaded ({reason}).") from error

    def _column(self, what: str, table: Any, found: list[str], where: str) -> str:
        asked = getattr(self.config, what)
        names = table.column_names
        if asked is not None:
            if asked not in names:
                raise UserError(f"{where} has no column {asked}, but {', '.join(names)}.")
            return asked
        if len(found) != 1:
            several = f"several that can be it: {', '.join(found)}" if found else "none by its type"
            raise UserError(
                f"Which column of {where} is the {what} cannot be told: there are {several}. Its "
                f"columns are {', '.join(names)}. Name it: dataset.{what}={(found or names)[0]}"
            )
        return found[0]


def _by_split(loaded: Any, where: str) -> tuple[Tables, list[str]]:
    """The tables by split, and what was left out, in lines for people."""
    if not isinstance(loaded, Mapping):
        return {ALL: loaded}, []
    if set(loaded) == {ALL}:
        return dict(loaded), []
    tables: Tables = {}
    notes = []
    for name, table in loaded.items():
        split = split_named(str(name))
        if split is None:
            notes.append(f"left out of {where}: {len(table):,} samples called {name}")
        elif split in tables:
            raise UserError(f"Two parts of {where} would both be the {split} split, one of {name}.")
        else:
            tables[split] = table
    if not tables:
        raise UserError(f"No part of {where} is called train, but {', '.join(map(str, loaded))}.")
    return tables, notes


def _image_columns(table: Any) -> list[str]:
    from datasets import Image, Value

    features = table.features
    images = [name for name, one in features.items() if isinstance(one, Image)]
    structs = [name for name, one in features.items() if isinstance(one, dict) and "bytes" in one]
    raw = [
        name
        for name, one in features.items()
        if isinstance(one, Value) and one.dtype in ("binary", "large_binary")
    ]
    return images or structs or raw


def _label_columns(table: Any) -> list[str]:
    from datasets import ClassLabel

    features = table.features
    typed = [name for name, one in features.items() if isinstance(one, ClassLabel)]
    return typed or [name for name in features if name.lower() in LABEL_COLUMNS]


def _class_names(feature: Any) -> list[str] | None:
    """The names of the classes, where the type of the column has them."""
    names = getattr(feature, "names", None)
    return None if names is None else [unicodedata.normalize("NFC", name) for name in names]


def _labels(table: Any, column: str, where: str) -> list[Label | None]:
    """The labels of a column, by name where that has names; None where a sample has none."""
    values = table.select_columns([column]).with_format("arrow")[:].column(column).to_pylist()
    names = _class_names(table.features[column])
    if names is not None:
        if wrong := [one for one in values if one is not None and not -1 <= one < len(names)]:
            raise UserError(f"The {where} have the label {wrong[0]}, of {len(names)} classes.")
        return [None if one in (None, -1) else names[one] for one in values]
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | str | None):
            raise UserError(
                f"The column {column} of the {where} holds {value!r}, which is neither a whole "
                "number nor a name. Name another column: dataset.label=NAME"
            )
    return [unicodedata.normalize("NFC", one) if isinstance(one, str) else one for one in values]


def _images(table: Any, column: str, where: str) -> RowImages:
    from datasets import Image

    try:
        images = table.select_columns([column]).cast_column(column, Image(decode=False))
        return RowImages.of(images, column, where)
    except Exception as error:  # as above
        raise UserError(
            f"The column {column} of {where} holds no images ({type(error).__name__}: "
            f"{cause(error)}). Name another one: dataset.image=NAME"
        ) from error
