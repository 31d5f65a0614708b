"""Images/s of the loader against torchvision's data set and transforms in a DataLoader.

    python benchmarks/loader.py

Both read the same JPEG files (crops of the two photographs that come with scikit-learn), cut and
resize a random box of 8 to 100 % of the area to 224x224, mirror half of them and normalise, in
batches of 64, with a worker for each core. They take turns, after an epoch each that is not counted
and leaves the files in memory. An epoch counts from before its workers start until its last batch
is there, so that no batch is read in time that is not counted. Processor time is that of all
processes; other programs on the machine change it less. Then: what the ImageNet of 1.28 million
photographs asks of workers, from the speed of one.
"""

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import simplejpeg
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder as TorchvisionFolder

from kdzoo.data import open_data
from kdzoo.data.cores import available_cores
from kdzoo.datasets.imagefolder import ImageFolder

BATCH = 64
SIDE = 224
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
IMAGENET = 1_281_167
GPUS = (8, 64)
GPU_SPEEDS = (500, 1000, 2500)
"""Images/s that a GPU may take; `kdzoo profile` tells it of a method and a network."""


def generate(folder: Path, files: int, size: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    photographs = [Image.fromarray(image) for image in load_sample_images().images]
    for number in range(files):
        photograph = photographs[number % 2]
        left, top = random.integers(0, 141), random.integers(0, 53)
        part = photograph.crop((left, top, left + 500, top + 375)).resize(size)
        for split in ("train", "test"):
            if split == "test" and number >= 4:
                continue
            path = folder / split / "ab"[number % 2] / f"{number:05}.JPEG"
            path.parent.mkdir(parents=True, exist_ok=True)
            part.save(path, "JPEG", quality=95 if size[0] <= 500 else 85)


class Epoch(NamedTuple):
    """What an epoch took: images a second, and milliseconds of processor time an image."""

    speed: float
    processor: float


def timed(batches: Callable[[], Iterable]) -> Epoch:
    images, started, processor = 0, time.perf_counter(), processor_time()
    for _, y, *_ in batches():
        images += len(y)
    seconds = time.perf_counter() - started
    return Epoch(images / seconds, 1000 * (processor_time() - processor) / images)


def processor_time() -> float:
    """Seconds, of this process and of the workers that have ended."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def compare(folder: Path, rounds: int, workers: int) -> float:
    """Prints both speeds; gives ours."""
    augment = {"resized_crop": 0.08, "crop_padding": 0}
    config = ImageFolder.Config(
        name="imagefolder", root=folder, image_size=SIDE, augment=augment, workers=workers,
        cache=folder / "cache",
    )  # fmt: skip
    data = open_data(config, batch_size=BATCH, seed=0, device=torch.device("cpu"))
    transform = transforms.Compose(
        [
            transforms.RandomResizedCrop(SIDE),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
    loader = DataLoader(
        TorchvisionFolder(folder / "train", transform), BATCH, shuffle=True, num_workers=workers,
        drop_last=True,
    )  # fmt: skip
    ways = {"kdzoo": lambda: data.train_batches(0), "torchvision": lambda: loader}
    epochs: dict[str, list[Epoch]] = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, batches in ways.items():
            epochs[name].append(timed(batches))
    middle = {
        name: Epoch(*(statistics.median(one) for one in zip(*some[1:], strict=True)))
        for name, some in epochs.items()
    }
    for name, epoch in middle.items():
        most = max(one.speed for one in epochs[name][1:])
        print(
            f"  {name:12} {epoch.speed:6,.0f} images/s (at most {most:,.0f}), "
            f"{epoch.processor:5.2f} ms of processor time an image"
        )
    ours, theirs = middle.values()
    print(
        f"  kdzoo / torchvision: {ours.speed / theirs.speed:.2f} times the images/s, "
        f"{theirs.processor / ours.processor:.2f} times as many in the same processor time"
    )
    return ours.speed


def decoding(folder: Path) -> None:
    """Prints what of an image's time is the work of the JPEG library, in this process alone."""
    files = [path.read_bytes() for path in sorted((folder / "train").rglob("*.JPEG"))[:200]]
    milliseconds = []
    for _ in range(3):
        started = time.perf_counter()
        for content in files:
            simplejpeg.decode_jpeg(content)
        milliseconds.append(1000 * (time.perf_counter() - started) / len(files))
    size = sum(map(len, files)) / len(files)
    print(
        f"  decoding alone: {min(milliseconds):.2f} ms an image of {size / 1e3:.0f} kB", flush=True
    )


def plan(speed: float) -> None:
    """What ImageNet on many GPUs asks of workers that read ``speed`` images/s each."""
    print(f"ImageNet, workers that read {speed:,.0f} images/s each:")
    for gpus in GPUS:
        for of_gpu in GPU_SPEEDS:
            total = gpus * of_gpu
            print(
                f"  {gpus:3} GPUs at {of_gpu:5,} images/s: an epoch of {IMAGENET / total:6.0f} s, "
                f"{of_gpu / speed:5.1f} workers a GPU, {total / speed:6.0f} in all, "
                f"{total * 110e3 / 1e9:5.2f} GB/s of files"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--files", type=int, default=1600, help="of 500x375; a fifth as many of 2000x1500"
    )
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    workers = available_cores()
    speeds = []
    for size in ((500, 375), (2000, 1500)):
        files = arguments.files if size[0] <= 500 else arguments.files // 2
        with tempfile.TemporaryDirectory() as folder:
            generate(Path(folder), files, size)
            print(f"{files:,} JPEGs of {size[0]}x{size[1]}, {workers} workers:")
            decoding(Path(folder))
            speeds.append(compare(Path(folder), arguments.rounds, workers))
    plan(speeds[0] / workers)


if __name__ == "__main__":
    main()
