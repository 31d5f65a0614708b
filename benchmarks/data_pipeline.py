"""How fast kdzoo's data pipeline is.

    python benchmarks/data_pipeline.py                     # against torchvision, and in training
    python benchmarks/data_pipeline.py --images FOLDER     # also first and second start on files

Images are 32x32; each is padded by 4, cropped, mirrored with probability 1/2 and normalised, in
batches of 128. ``FOLDER`` is an image folder with ``train`` and ``test``.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from torchvision.transforms import v2

import kdzoo
from kdzoo.data import ArrayImages, DataModule, Dataset, DatasetConfig, Split, Splits, open_data
from kdzoo.data.cores import available_cores
from kdzoo.data.folders import scan
from kdzoo.data.reader import decode
from kdzoo.data.resize import choose_size
from kdzoo.datasets.imagefolder import ImageFolder

BATCH = 128
CLASSES = 10
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
CPU = torch.device("cpu")


class Given(Dataset):
    """Random images, as many as CIFAR-10 has."""

    def __init__(self, pixels: np.ndarray, labels: np.ndarray) -> None:
        super().__init__(DatasetConfig(name="random"))
        self.split = Split(ArrayImages(pixels), labels)

    def load(self) -> Splits:
        return Splits(self.split, self.split, [str(k) for k in range(CLASSES)], None, MEAN, STD)


class PerSample(TorchDataset):
    """The same images one by one, as torchvision's data sets and transforms have them."""

    def __init__(self, pixels: np.ndarray, labels: np.ndarray, as_pil: bool) -> None:
        self.images = list(pixels) if as_pil else torch.from_numpy(pixels).movedim(-1, 1)
        self.labels = labels.tolist()
        self.as_pil = as_pil
        self.transform = v2.Compose(
            [
                v2.RandomCrop(32, padding=4),
                v2.RandomHorizontalFlip(),
                v2.ToImage(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(MEAN, STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image = self.images[index]
        return self.transform(Image.fromarray(image) if self.as_pil else image), self.labels[index]


def images_per_second(batches: Callable[[], Iterable]) -> float:
    """The median of five passes, after one to warm up."""
    speeds = []
    for _ in range(6):
        started = time.perf_counter()
        images = sum(len(batch[1]) for batch in batches())
        speeds.append(images / (time.perf_counter() - started))
    return statistics.median(speeds[1:])


def compare_with_torchvision(data: DataModule, pixels: np.ndarray, labels: np.ndarray) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # at least as fast with more, on an idle machine
    ours = images_per_second(lambda: data.train_batches(0))
    torch.set_num_threads(threads)
    print(f"kdzoo, 1 thread                              {ours:10,.0f} images/s")
    # a tenth is enough for the slower ones, and spares a minute
    fewer = slice(len(pixels) // 10)
    for name, as_pil in (("PIL images", True), ("tensors", False)):
        samples = PerSample(pixels[fewer], labels[fewer], as_pil)
        loader = DataLoader(
            samples, BATCH, shuffle=True, drop_last=True, num_workers=2, persistent_workers=True
        )
        theirs = images_per_second(partial(iter, loader))
        ratio = f"kdzoo is {ours / theirs:.0f} times as fast"
        print(f"torchvision, 2 workers, {name:10}           {theirs:10,.0f} images/s   {ratio}")


def share_of_training(data: DataModule, steps: int = 30) -> None:
    """What part of a training step of ResNet-20 is spent on data, on this device."""
    for precision in (torch.float32, torch.bfloat16):
        network = kdzoo.create_backbone("resnet20", num_classes=CLASSES)
        network = network.to(memory_format=torch.channels_last)
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, nesterov=True)
        batches = data.train_batches(0)
        loading, whole = [], []
        for _ in range(steps):
            started = time.perf_counter()
            x, y, _ = next(batches)
            loading.append(time.perf_counter() - started)
            with torch.autocast("cpu", precision, enabled=precision != torch.float32):
                loss = nn.functional.cross_entropy(network(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            whole.append(time.perf_counter() - started)
        data_ms, step_ms = (1000 * statistics.median(times[5:]) for times in (loading, whole))
        print(
            f"ResNet-20 step, {str(precision).removeprefix('torch.'):8} {step_ms:6.1f} ms, "
            f"of which data {data_ms:.2f} ms: {data_ms / step_ms:.1%}"
        )


def time_starts(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as cache:
        config = ImageFolder.Config(name="imagefolder", root=folder, cache=Path(cache))
        times = []
        for _ in range(2):
            started = time.perf_counter()
            open_data(config, batch_size=BATCH, seed=0, device=CPU)
            times.append(time.perf_counter() - started)
    splits = [scan(folder / name).split.images for name in ("train", "test")]
    size = choose_size(splits[0], None)
    started = time.perf_counter()
    for images in splits:
        array = np.zeros((len(images), size.height, size.width, 3), np.uint8)
        decode(images, size, array, workers=available_cores(), label="Decoding")
    decoding = time.perf_counter() - started
    cores = available_cores()
    print(
        f"{sum(map(len, splits)):,} files: first start {times[0]:.1f} s, of which decoding on "
        f"{cores} cores {decoding:.1f} s ({decoding / times[0]:.0%}); second {times[1]:.2f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, help="an image folder, to time starts on")
    arguments = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {os.cpu_count()} cores")
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (50_000, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(50_000) % CLASSES
    data = open_data(Given(pixels, labels), batch_size=BATCH, seed=0, device=CPU)
    compare_with_torchvision(data, pixels, labels)
    share_of_training(data)
    if arguments.images:
        time_starts(arguments.images)


if __name__ == "__main__":
    main()
