"""A person's own ``torch.utils.data.Dataset``, through the Python API or from a plugin."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset as TorchDataset

from kdzoo.component import validate
from kdzoo.data.bit_depth import is_deep
from kdzoo.data.dataset import Dataset, DatasetConfig
from kdzoo.data.encoded import rgb_bytes
from kdzoo.data.splits import Split, Splits
from kdzoo.errors import UserError, cause


@dataclass(frozen=True)
class TorchImages:
    """The images of a torch data set of pairs (image, label), at some of its positions."""

    dataset: TorchDataset[Any]
    positions: Sequence[int] | np.ndarray

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, index: int, /) -> np.ndarray:
        return as_bytes(self.dataset[int(self.positions[index])][0])

    def name(self, index: int, /) -> str:
        return f"sample {self.positions[index]} of {type(self.dataset).__name__}"

    def take(self, index: np.ndarray, /) -> "TorchImages":
        return TorchImages(self.dataset, np.asarray(self.positions)[index])


def data_from(
    train: TorchDataset[Any],
    test: TorchDataset[Any],
    *,
    val: TorchDataset[Any] | None = None,
    classes: Sequence[str] | None = None,
    mean: tuple[float, float, float] | None = None,
    std: tuple[float, float, float] | None = None,
    name: str = "own",
    **settings: Any,
) -> Dataset:
    """A data set for :func:`open_data` out of a person's own torch data sets.

    A sample is a pair of an image and a label from 0 to K - 1. An image is a PIL image of 8 bits a
    channel, a uint8 tensor [3, H, W] or [1, H, W], a float tensor of that shape in [0, 1], or a
    uint8 array [H, W, 3] or [H, W]; not augmented and not normalised yet, since kdzoo does both.

    Args:
        train: what to train on.
        test: what the result is measured on.
        val: what epochs and settings are chosen on, if there is such a split.
        classes: the names of the K classes; by default ``train.classes``, else the numbers 0 to
            the highest label of ``train``.
        mean: of each channel, in [0, 1]; computed by default.
        std: likewise.
        name: what reports call the data set.
        settings: any of :class:`DatasetConfig`, such as ``augment={"flip": 0}``.

    Raises:
        ConfigError: a setting does not exist or does not fit.
    """
    config = validate(DatasetConfig, {"name": name, **settings})
    return _Unregistered(
        config, lambda: splits_from(train, test, val=val, classes=classes, mean=mean, std=std)
    )


def splits_from(
    train: TorchDataset[Any],
    test: TorchDataset[Any],
    *,
    val: TorchDataset[Any] | None = None,
    classes: Sequence[str] | None = None,
    mean: tuple[float, float, float] | None = None,
    std: tuple[float, float, float] | None = None,
) -> Splits:
    """What a plugin's ``Dataset.load`` returns for torch data sets; see :func:`data_from`.

    Raises:
        UserError: a split is empty, or a label is no class.
    """
    train_split = _split(train)
    if classes is None:
        highest = int(train_split.labels.max(initial=-1))
        classes = getattr(train, "classes", [str(label) for label in range(highest + 1)])
    return Splits(
        train=train_split,
        test=_split(test),
        val=None if val is None else _split(val),
        classes=[str(one) for one in classes],
        mean=mean,
        std=std,
    )


class _Unregistered(Dataset):
    """A data set that is made in a program and has no name in the registry."""

    def __init__(self, config: DatasetConfig, load: Callable[[], Splits]) -> None:
        super().__init__(config)
        self._load = load

    def load(self) -> Splits:
        return self._load()


def as_bytes(image: Any) -> np.ndarray:
    """An image in one of the forms that :func:`data_from` names, as uint8 [H, W, 3].

    Raises:
        ValueError: it has another form, values outside [0, 1], or no pixels.
    """
    if isinstance(image, Image.Image):
        if is_deep(image):
            raise ValueError(
                f"a PIL image of mode {image.mode}, which has more than 8 bits a channel; hand "
                "over floats in [0, 1] in a tensor"
            )
        return rgb_bytes(image)
    if isinstance(image, torch.Tensor):
        if image.is_floating_point():
            if not bool(((image >= 0) & (image <= 1)).all()):
                raise ValueError("values outside [0, 1]; leave normalising to kdzoo")
            image = (image * 255).round().to(torch.uint8)
        image = np.asarray(image.movedim(0, -1) if image.ndim == 3 else image)
    pixels = np.asarray(image)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (1, 3):
        raise ValueError(
            f"{pixels.dtype} of shape {pixels.shape}; an image has bytes, or floats in [0, 1] in a "
            "tensor, and 1 or 3 channels"
        )
    if not pixels.size:
        raise ValueError(f"no pixels: its shape is {pixels.shape}")
    return np.array(np.broadcast_to(pixels, (*pixels.shape[:2], 3)), order="C")


def _split(dataset: TorchDataset[Any]) -> Split:
    try:
        length = len(dataset)  # type: ignore[arg-type]  # torch leaves it to subclasses
    except TypeError:
        raise UserError(
            f"{type(dataset).__name__} has no length. kdzoo needs a map-style data set, with "
            "__len__ and __getitem__."
        ) from None
    return Split(TorchImages(dataset, range(length)), _labels(dataset, length))


def _labels(dataset: TorchDataset[Any], length: int) -> np.ndarray:
    """int64 [N]; from ``targets``, as torchvision's data sets have them, else from every sample."""
    targets = getattr(dataset, "targets", None)
    if targets is None or getattr(dataset, "target_transform", None) is not None:
        targets = [_label(dataset, position) for position in range(length)]
    labels, name = np.asarray(targets), type(dataset).__name__
    if labels.shape != (length,) or labels.dtype.kind not in "iufb":
        raise UserError(
            f"The labels of {name} are not one whole number a sample: they have shape "
            f"{labels.shape} and type {labels.dtype}."
        )
    broken = np.flatnonzero(~np.isfinite(labels) | (labels != np.trunc(labels)))
    if len(broken):
        raise UserError(
            f"The label of sample {broken[0]} of {name} is {labels[broken[0]]}, which is no whole "
            f"number ({len(broken):,} of {length:,} are none)."
        )
    return labels.astype(np.int64)


def _label(dataset: TorchDataset[Any], position: int) -> Any:
    try:
        return dataset[position][1]
    except Exception as error:  # a person's own code raises anything
        raise UserError(
            f"Cannot read sample {position} of {type(dataset).__name__} ({type(error).__name__}: "
            f"{cause(error)}). To skip such samples, give it an attribute 'targets' with all "
            "labels and set on_error=skip."
        ) from error
