"""From images to classes: a student with all that an image goes through on its way to it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from kdzoo.backbones.logits import logits_of
from kdzoo.component import validate
from kdzoo.config import RunConfig
from kdzoo.data.bit_depth import PixelRange
from kdzoo.data.encoded import decode_upright
from kdzoo.data.find_images import image_files
from kdzoo.data.images import Images, UnreadableImageError
from kdzoo.data.prepare import eval_batch_size
from kdzoo.data.reader import BatchReader, read_ahead
from kdzoo.data.resize import ImageSize
from kdzoo.data.torch_datasets import as_bytes
from kdzoo.data.transform import Normalise
from kdzoo.errors import UserError, quoted
from kdzoo.peers.calls import probe_batch
from kdzoo.student import StudentInfo, find_student, load_student, read_student_info
from kdzoo.training.device import choose_device
from kdzoo.training.folding import find_foldable, folded

ImageLike = str | Path | Image.Image | np.ndarray | Tensor
"""A path; a PIL image; bytes [H, W, 3], [H, W, 1] or [H, W] in an array, [3, H, W] or [1, H, W] in
a tensor, or either layout in either where it cannot be mistaken; a tensor may hold floats in
[0, 1]."""


NO_NUMBERS = (
    "What the student says of some images is no finite number: its weights are so large that 32 "
    "bits cannot hold what it computes. Train it again, at a lower lr."
)


@dataclass(frozen=True)
class Predictions:
    """What a student says about B images.

    Attributes:
        probabilities: float32 [B, K], on the CPU.
        classes: the names of the K classes.
    """

    probabilities: Tensor
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.probabilities)

    def labels(self) -> list[str]:
        """The most probable class of each image."""
        return [self.classes[place] for place in self.probabilities.argmax(1).tolist()]

    def top(self, k: int = 1) -> list[list[tuple[str, float]]]:
        """The k most probable classes of each image, or all, with their probabilities.

        Raises:
            UserError: k is no number of classes.
        """
        if not isinstance(k, Integral) or k < 1:
            raise UserError(f"k is {quoted(k)}; give the number of classes to name, 1 or more.")
        found = self.probabilities.topk(min(k, len(self.classes)))
        return [
            [(self.classes[place], value) for value, place in zip(values, places, strict=True)]
            for values, places in zip(found.values.tolist(), found.indices.tolist(), strict=True)
        ]


class ReadAndPredicted(NamedTuple):
    """A batch of images, as far as they could be read.

    Attributes:
        positions: of the B that could, among all.
        predictions: of those.
        errors: why the others could not, by position.
    """

    positions: list[int]
    predictions: Predictions
    errors: dict[int, UserError]


class Predictor:
    """A student that takes images of any kind and size, as evaluation does.

    Args:
        network: maps [B, 3, H, W] to logits [B, K], or to several things with these among them.
        info: what goes into it and comes out.
        device: where it is to compute.

    Attributes:
        info: as given.
        batch_size: how many images are predicted at once, as in evaluation.

    Raises:
        UserError: its images have other than three channels.
    """

    def __init__(self, network: nn.Module, info: StudentInfo, device: torch.device) -> None:
        channels, height, width = info.input_size
        if channels != 3:
            raise UserError(f"This student takes {channels} channels, and images have 3.")
        self.info = info
        self._device = device
        self._size = ImageSize(height, width, resize=info.resize_mode == "shortest")
        self.batch_size = eval_batch_size(self._size, device, 1)
        self._network = network.to(device).eval()
        self._normalise = Normalise((height, width), info.mean, info.std).to(device)
        self._foldable = find_foldable(
            self._network, lambda: self._network(probe_batch(self._network, info.input_size))
        )

    def __call__(self, images: ImageLike | Sequence[ImageLike]) -> Predictions:
        """Predict images, which are resized and turned as in training.

        Args:
            images: one, or several in a list, or in an array or a tensor of four axes.

        Raises:
            UserError: one cannot be read, is no image, or is not of the size that the student
                takes; it is named.
        """
        given = _Given(_listed(images), self.info.pixel_range)
        batches = list(self.batches(given))
        for batch in batches:
            for error in batch.errors.values():
                raise error
        nothing = torch.zeros(0, self.info.num_classes)
        probabilities = [batch.predictions.probabilities for batch in batches]
        return Predictions(torch.cat([nothing, *probabilities]), self.info.classes)

    def batches(self, images: Images, workers: int = 0) -> Iterator[ReadAndPredicted]:
        """Predictions batch by batch, in order; what cannot be read holds up nothing.

        Args:
            images: what to predict.
            workers: how many processes read them; 0 to read in this one.
        """
        size = self.batch_size
        positions = np.arange(len(images))
        parts = [positions[start : start + size] for start in range(0, len(images), size)]
        reader = BatchReader(images, self._size, parts)
        for batch in read_ahead(reader, workers if len(parts) > 1 else 0):
            logits = self.logits(batch.images[0])
            if not bool(logits.isfinite().all()):
                raise UserError(NO_NUMBERS)
            yield ReadAndPredicted(
                batch.positions.tolist(),
                Predictions(logits.softmax(1), self.info.classes),
                {at: self._explained(images, at, why) for at, why in batch.errors.items()},
            )

    @torch.inference_mode()
    def logits(self, images: Tensor) -> Tensor:
        """Of bytes [B, H, W, 3] of the student's own size: float32 [B, K], on the CPU."""
        if not len(images):
            return torch.zeros(0, self.info.num_classes)
        x = self._normalise(images.to(self._device)).permute(0, 3, 1, 2)
        with folded(self._foldable):
            return logits_of(self._network(x), self.info.num_classes).float().cpu()

    def _explained(self, images: Images, position: int, error: UserError) -> UserError:
        if isinstance(error, UnreadableImageError):
            return error
        _, height, width = self.info.input_size
        return UserError(
            f"Cannot use {images.name(position)}: the student takes images of {width}x{height} "
            "pixels and no others, since they are not square."
        )


def load_predictor(run: str | Path, *, device: str = "auto", trust: bool = False) -> Predictor:
    """A run's student, to be called with images: ``load_predictor(run)(["a.jpg"]).labels()``.

    Args:
        run: a run folder, a folder that ``kdzoo export`` wrote, or a student's file in one.
        device: as in a run.
        trust: as in :func:`~kdzoo.student.load_student`.

    Raises:
        UserError: there is no student, it cannot be rebuilt, or there is no such device.
    """
    chosen = choose_device(validate(RunConfig, {"device": device}).device)
    folder = find_student(Path(run))
    return Predictor(load_student(folder, trust), read_student_info(folder), chosen)


class _Given:
    """Images of any of the forms that a predictor takes."""

    def __init__(self, given: Sequence[ImageLike], pixel_range: tuple[float, float] | None) -> None:
        self._given = given
        self._pixel_range = None if pixel_range is None else PixelRange(*pixel_range)

    def __len__(self) -> int:
        return len(self._given)

    def __getitem__(self, index: int, /) -> np.ndarray:
        match self._given[index]:
            case str() | Path() as path:
                return image_files([str(path)], self._pixel_range)[0]
            case Image.Image() as image:
                return decode_upright(image, self._pixel_range)
            case array:
                return as_bytes(_as_usual(array))

    def name(self, index: int, /) -> str:
        one = self._given[index]
        return f"the image {one}" if isinstance(one, str | Path) else f"image {index}"

    def take(self, index: np.ndarray, /) -> "_Given":
        return _Given([self._given[place] for place in index], self._pixel_range)


def _listed(images: Any) -> Sequence[ImageLike]:
    """One image or several as several."""
    if isinstance(images, np.ndarray | Tensor):
        return list(images) if images.ndim == 4 else [images]
    if isinstance(images, str | Path | Image.Image):
        return [images]
    if isinstance(images, Iterable) and not isinstance(images, Mapping):
        return list(images)
    raise UserError(
        f"{quoted(images)} is no image. Give a path, a PIL image, an array or a tensor, or several "
        "of them in a list."
    )


def _as_usual(image: Any) -> Any:
    """Arrays with the channels last and tensors with them first, where they are the other way."""
    if getattr(image, "ndim", 0) != 3:
        return image
    first, last = image.shape[0] in (1, 3), image.shape[2] in (1, 3)
    if isinstance(image, Tensor):
        return image.movedim(2, 0) if last and not first else image
    return np.moveaxis(image, 0, 2) if first and not last else image
