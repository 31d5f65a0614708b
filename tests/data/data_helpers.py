"""Files like those of real data sets, and ways to look at what comes out."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from kdzoo.component import validate
from kdzoo.data import DataModule, Splits, open_data
from kdzoo.data import Dataset as KdzooDataset
from kdzoo.errors import UserError
from kdzoo.registry import datasets

CPU = torch.device("cpu")


def open_named(name: str, *, device: torch.device = CPU, **settings: Any) -> DataModule:
    """A registered data set; arguments of open_data may stand among its settings."""
    run = {"batch_size": 8, "seed": 0, "rank": 0, "world_size": 1, "channels_last": True}
    run |= {key: settings.pop(key) for key in list(settings) if key in (*run, "pixel_range")}
    config = validate(datasets.get(name).Config, {"name": name, **settings})
    return open_data(config, device=device, **run)


def load_named(name: str, **settings: Any) -> Splits:
    """What a registered data set loads."""
    config = validate(datasets.get(name).Config, {"name": name, **settings})
    return datasets.get(name)(config).load()


def load_folder(folders: "Folders", **settings: Any) -> Splits:
    """What an image folder loads."""
    return load_named("imagefolder", root=folders.root, **settings)


def refusal(folders: "Folders") -> str:
    """Why an image folder does not load, its paths from its root on."""
    with pytest.raises(UserError) as error:
        load_folder(folders)
    return str(error.value).replace(f"{folders.root}/", "").replace(str(folders.root), "ROOT")


def divided(folders: "Folders") -> str:
    """What is said of an image folder without a test split."""
    return (
        f"no split folders in {folders.root}: 0.2 of each class is the test split "
        "(dataset.test_fraction)"
    )


def contents(splits: Splits, root: Path) -> dict[str, dict[str, list[str]]]:
    """The paths below ``root`` of the images of each split, by the name of their class."""
    found: dict[str, dict[str, list[str]]] = {}
    for split, samples in splits.as_dict().items():
        by_class = found.setdefault(split, {})
        for path, label in zip(samples.images.paths, samples.labels, strict=True):
            relative = str(Path(path).relative_to(root))
            by_class.setdefault(splits.classes[label], []).append(relative)
    return found


def open_own(dataset: KdzooDataset, *, batch_size: int = 8, **run: Any) -> DataModule:
    return open_data(dataset, batch_size=batch_size, device=CPU, **{"seed": 0, **run})


def pixels(data: DataModule, split: str) -> np.ndarray:
    """A split's images as bytes [N, H, W, 3], their normalisation undone."""
    x = torch.cat([x for x, _ in data.eval_batches(split)]).movedim(1, -1)
    return as_bytes(x, data)


def as_bytes(x: torch.Tensor, data: DataModule) -> np.ndarray:
    x = x * torch.tensor(data.info.std) + torch.tensor(data.info.mean)
    return (x * 255).round().byte().numpy()


def labels(data: DataModule, split: str) -> np.ndarray:
    return torch.cat([y for _, y in data.eval_batches(split)]).numpy()


def epoch_of(data: DataModule, epoch: int = 0, views: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """All batches of an epoch, stacked: [steps, ...]."""
    x, y, _ = zip(*data.train_batches(epoch, views), strict=True)
    return torch.stack(x), torch.stack(y)


def png(shade: int, size: int = 8) -> bytes:
    """A PNG file of one colour, which tells its number."""
    buffer = io.BytesIO()
    Image.new("RGB", (size, size), (shade, 255 - shade, 7)).save(buffer, "PNG")
    return buffer.getvalue()


def shades(images: Any) -> list[int]:
    """The numbers of images that :func:`png` made."""
    return [int(images[place][0, 0, 0]) for place in range(len(images))]


class Folders:
    """Writes class folders of images, every image with pixels of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._random = np.random.default_rng(0)

    def fill(
        self, split: str, classes: Sequence[str] = "ab", count: int = 6, size: int = 8
    ) -> None:
        """``count`` PNG images in ``split/CLASS`` for each class."""
        for name in classes:
            for number in range(count):
                self.write(f"{split}/{name}/{number:03}.png", size, size)

    def write(self, path: str, width: int = 8, height: int = 8) -> np.ndarray:
        image = self._random.integers(0, 256, (height, width, 3), dtype=np.uint8)
        self.save(path, Image.fromarray(image))
        return image

    def save(self, path: str, image: Image.Image, **options: Any) -> Path:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        image.save(target, **options)
        return target
