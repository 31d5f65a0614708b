"""The interface of a data set: its settings, and how it loads."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from kdzoo.component import ComponentConfig, has_home
from kdzoo.data.augment_config import AugmentConfig
from kdzoo.data.selection import SelectionConfig, select
from kdzoo.data.splits import LabelledImages, SplitName, Splits, find_split
from kdzoo.errors import ConfigError
from kdzoo.home import cache_folder, expand_user
from kdzoo.identity import NotAtDefault, NotIdentity
from kdzoo.task_checks import check_normalisation

Measured = SplitName | Literal["all"]
"""What of a data set a network is measured on."""


class DatasetConfig(SelectionConfig, ComponentConfig):
    """The settings that every data set has."""

    root: Annotated[Path, NotIdentity] = Path("data")
    """The folder that the files are in, or are downloaded to."""
    image_size: Annotated[int, Field(ge=1)] | None = None
    """Resize images to this side, in pixels; by default they keep their own size."""
    mean: Annotated[tuple[float, ...] | None, NotAtDefault] = None
    """What is taken from each channel, of pixels in [0, 1]; by default the mean of the training
    images, or what a data set is known for."""
    std: Annotated[tuple[float, ...] | None, NotAtDefault] = None
    """What it is then divided by; by default their standard deviation, likewise."""
    augment: AugmentConfig = AugmentConfig()
    """How training images are varied."""
    view_augments: Annotated[tuple[AugmentConfig, ...], NotAtDefault] = ()
    """An augmentation for each view that a method sees of an image, given by what differs from
    ``augment``; with more views than these, they come round again. By default there is one."""
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

    @field_validator("view_augments")
    @classmethod
    def _laid_over(
        cls, given: tuple[AugmentConfig, ...], info: ValidationInfo
    ) -> tuple[AugmentConfig, ...]:
        shared = info.data.get("augment", AugmentConfig())
        if len(given) == 1:
            raise ConfigError("One for all views is dataset.augment.", ("view_augments",))
        views = tuple(shared.changed(own) for own in given)
        if any((one.mixup, one.cutmix) != (shared.mixup, shared.cutmix) for one in views):
            raise ConfigError(
                "All views of an image have one label, so they are mixed alike: set mixup and "
                "cutmix in dataset.augment.",
                ("view_augments",),
            )
        return views

    @model_validator(mode="after")
    def _normalises(self) -> Self:
        check_normalisation(3, self.mean, self.std)
        return self

    @property
    def augments(self) -> tuple[AugmentConfig, ...]:
        """How the views of an image are varied, of which there may be more than these."""
        return self.view_augments or (self.augment,)

    @property
    def cache_folder(self) -> Path:
        """The folder for decoded images."""
        return cache_folder() if self.cache is None else expand_user(self.cache)

    def without_download(self) -> Self:
        """The same data, which are not downloaded where they are not there yet."""
        can_download = "download" in type(self).model_fields
        return self.model_copy(update={"download": False}) if can_download else self


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
