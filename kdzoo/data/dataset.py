"""The interface of a data set: its settings, and how it loads."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator

from kdzoo.component import ComponentConfig, has_home
from kdzoo.data.augment_config import AugmentConfig
from kdzoo.data.selection import SelectionConfig, select
from kdzoo.data.splits import LabelledImages, SplitName, Splits, find_split
from kdzoo.home import cache_folder, expand_user
from kdzoo.identity import NotAtDefault, NotIdentity

Measured = SplitName | Literal["all"]
"""What of a data set a network is measured on."""


class DatasetConfig(SelectionConfig, ComponentConfig):
    """The settings that every data set has."""

    root: Annotated[Path, NotIdentity] = Path("data")
    """The folder that the files are in, or are downloaded to."""
    image_size: Annotated[int, Field(ge=1)] | None = None
    """Resize images to this side, in pixels; by default they keep their own size."""
    augment: AugmentConfig = AugmentConfig()
    """How training images are varied."""
    per_class: Annotated[Annotated[int, Field(ge=1)] | None, NotAtDefault] = None
    """How many images of each of its classes a training batch holds; by default any, or as many as
    the method asks for."""
    on_error: Literal["stop", "skip"] = "stop"
    """What to do about an image that cannot be read: stop, or skip it and say so."""
    pipeline: Annotated[Literal["auto", "device", "loader"], NotIdentity] = "auto"
    """Keep all images on the device, or load them with workers; ``auto`` goes by their size."""
    workers: Annotated[Annotated[int, Field(ge=0)] | None, NotIdentity] = None
    """Processes that read images; by default one for each core."""
    cache: Annotated[Path | None, NotIdentity] = None
    """The folder for decoded images; by default kdzoo's in the user's cache folder."""

    _homes = field_validator("root", "cache")(has_home)

    @property
    def cache_folder(self) -> Path:
        """The folder for decoded images."""
        return cache_folder() if self.cache is None else expand_user(self.cache)


class Dataset(ABC):
    """A source of labelled images, registered by name; not a torch.utils.data.Dataset.

    Attributes:
        recipe: settings of a run that the papers use with this data set, as a recipe would.
    """

    class Config(DatasetConfig):
        """The data set's own settings, and its defaults for the common ones."""

    config: DatasetConfig
    recipe: ClassVar[dict[str, Any]] = {}

    def __init__(self, config: DatasetConfig) -> None:
        self.config = config

    @abstractmethod
    def load(self) -> Splits:
        """The labelled images of every split.

        Raises:
            UserError: they are not there, or not as they should be.
        """

    def load_measured(self, split: Measured, seed: int) -> LabelledImages:
        """A split, or all images, to measure a network on.

        Args:
            split: which one.
            seed: of a run, which decides what is held out for validation.

        Raises:
            UserError: there is no such split, or as :meth:`load`.
        """
        return measured(select(self.load(), self.config, seed), split)


def measured(splits: Splits, split: Measured) -> LabelledImages:
    """A split, or all of them, to measure a network on.

    Raises:
        UserError: there is no such split.
    """
    chosen = splits.as_dict()
    if split != "all":
        chosen = {split: find_split(chosen, split)}
    return LabelledImages(chosen, splits.classes, splits.notes)
