"""How long a data set of many files takes to open, the first time and the second.

    python benchmarks/data_start.py                    # 100,000 generated files in 1,000 classes
    python benchmarks/data_start.py --files 1000000 --folder DIR    # kept in DIR, and used again

The files are small JPEGs, each other than the rest; a twentieth of them is for testing. Times are
those of ``open_data`` and of the fingerprint that a run keeps; importing is not counted.
"""

import argparse
import io
import os
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from kdzoo.data import DataModule, open_data
from kdzoo.data.fingerprint import data_fingerprint
from kdzoo.datasets.imagefolder import ImageFolder

CPU = torch.device("cpu")
SIDE = 48
TEST_PART = 20
PATTERNS = 64
STARTS = 4


def generate(folder: Path, files: int, classes: int) -> None:
    """Class folders of images, which differ in what follows their end if in nothing else."""
    random = np.random.default_rng(0)
    patterns = []
    for _ in range(PATTERNS):
        buffer = io.BytesIO()
        pixels = random.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(buffer, "JPEG", quality=int(random.integers(20, 90)))
        patterns.append(buffer.getvalue())
    for label in range(classes):
        for split in ("train", "test"):
            (folder / split / f"n{label:08}").mkdir(parents=True)
    for number in range(files):
        split = "test" if number // classes % TEST_PART == 0 else "train"
        path = folder / split / f"n{number % classes:08}" / f"{number:08}.JPEG"
        path.write_bytes(patterns[number % PATTERNS] + b"%d" % number)


def start(folder: Path, cache: Path, **settings: object) -> tuple[DataModule, dict[str, float]]:
    config = ImageFolder.Config(name="imagefolder", root=folder, cache=cache, **settings)
    dataset = ImageFolder(config)
    moments = [time.perf_counter()]
    splits = dataset.load()
    moments.append(time.perf_counter())
    data_fingerprint(splits)
    moments.append(time.perf_counter())
    data = open_data(dataset, batch_size=128, seed=0, device=CPU, splits=splits)
    moments.append(time.perf_counter())
    parts = dict(zip(("list", "fingerprint", "open"), np.diff(moments), strict=True))
    return data, {**parts, "all": moments[-1] - moments[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--folder", type=Path, help="keep the files here")
    arguments = parser.parse_args()
    print(f"{arguments.files:,} files, {arguments.classes:,} classes, {os.cpu_count()} cores")
    place = arguments.folder
    with nullcontext(place) if place else tempfile.TemporaryDirectory() as folder:
        images = Path(folder) / "images"
        if not images.exists():
            generate(images, arguments.files, arguments.classes)
        kinds = {"read by workers, 224 px": {"image_size": 224}, "kept decoded": {}}
        for title, settings in kinds.items():
            with tempfile.TemporaryDirectory() as cache:
                for number in range(1, STARTS + 1):
                    _, seconds = start(images, Path(cache), **settings)
                    parts = "   ".join(f"{part} {spent:6.2f}" for part, spent in seconds.items())
                    print(f"{title:24} start {number}: {parts} s", flush=True)


if __name__ == "__main__":
    main()
