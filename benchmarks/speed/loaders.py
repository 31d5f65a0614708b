"""torchvision transforms of PIL images in a DataLoader."""

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from benchmarks.speed.images import CIFAR
from kdzoo.data import Split

NORMALISE = (transforms.ToTensor(), transforms.Normalize(**CIFAR))


class PILImages(Dataset):
    """Images as torchvision's data sets hand them out: a PIL image each, then the transforms.

    Args:
        split: the images.
        views: how many augmentations of each training image; 0 for none at all.
    """

    def __init__(self, split: Split, views: int) -> None:
        self.images, self.labels = split.images, split.labels.tolist()
        self.views = max(views, 1)
        side = split.images[0].shape[0]
        random = (transforms.RandomCrop(side, padding=4), transforms.RandomHorizontalFlip())
        self.transform = transforms.Compose([*(random if views else ()), *NORMALISE])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[list[Tensor], int]:
        image = Image.fromarray(self.images[index])
        return [self.transform(image) for _ in range(self.views)], self.labels[index]


def loader(split: Split, views: int, batch_size: int, workers: int) -> DataLoader:
    return DataLoader(
        PILImages(split, views),
        batch_size,
        shuffle=views > 0,
        drop_last=views > 0,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
    )
