"""Small photos of three classes that are told apart by colour, and a run on them."""

import numpy as np
from PIL import Image

from kdzoo.compose import compose
from kdzoo.training.run import train

COLOURS = {"ant": (200, 40, 40), "bee": (40, 200, 40), "cow": (40, 40, 200)}
SETTINGS = ("method=independent", "backbone=resnet8", "batch_size=12", "lr=0.05", "epochs=4")


def picture(random, colour, side=12):
    noise = random.normal(0, 30, (side, side, 3))
    return Image.fromarray((np.array(colour) + noise).clip(0, 255).astype(np.uint8))


def save_photos(root):
    """27 test images and 48 to train on, of three classes, one folder each."""
    random = np.random.default_rng(0)
    for split, count in (("train", 16), ("test", 9)):
        for name, colour in COLOURS.items():
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                # some bees look like cows, so that no figure is 0 or 100 %
                odd = split == "test" and name == "bee" and number % 3 == 0
                picture(random, COLOURS["cow"] if odd else colour).save(folder / f"{number}.png")


def train_on(photos, out):
    """A run on those."""
    settings = [*SETTINGS, "schedule.warmup=0", "dataset=imagefolder", f"dataset.root={photos}"]
    return train(compose([*settings, f"out={out}", "dataset.cache=" + str(out / "cache")]))
