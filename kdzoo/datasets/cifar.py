"""CIFAR-10 and CIFAR-100, as torchvision reads them or from class folders."""

import shutil
import tempfile
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.error import URLError

import numpy as np
from filelock import FileLock

from kdzoo.data.cores import available_cores
from kdzoo.data.dataset import Dataset, DatasetConfig
from kdzoo.data.images import ArrayImages
from kdzoo.data.splits import Split, Splits
from kdzoo.datasets.cifar_folders import Published, read_class_folders
from kdzoo.errors import UserError, cause
from kdzoo.home import expand_user
from kdzoo.registry import datasets

if TYPE_CHECKING:
    from torchvision.datasets import CIFAR10

CIFAR10_CLASSES = "airplane automobile bird cat deer dog frog horse ship truck"

CIFAR100_CLASSES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly
camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile
cup dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp
lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree
orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine possum
rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider
squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train
trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""


class Cifar(Dataset):
    """What CIFAR-10 and CIFAR-100 share: 50,000 training and 10,000 test images of 32x32 pixels.

    ``root`` holds the authors' archive or what is in it, or the images in ``train/CLASS`` and
    ``test/CLASS``; otherwise the archive is downloaded there. The archive's files are held against
    their checksums before they are read, class folders against what is published of the data set.

    Attributes:
        published: what class folders must hold.
    """

    class Config(DatasetConfig):
        """Whether to download."""

        download: bool = True
        """Download what is not in ``root`` yet."""

    config: Config
    published: ClassVar[Published]
    mean: ClassVar[tuple[float, float, float]]
    std: ClassVar[tuple[float, float, float]]
    recipe: ClassVar[dict[str, Any]] = {"epochs": 300, "batch_size": 128, "lr": 0.1}

    @property
    @abstractmethod
    def source(self) -> "type[CIFAR10]":
        """Torchvision's class, which knows the files, checksums and the address.

        It is imported where it is needed: that takes seconds, and settings do without.
        """

    def load(self) -> Splits:
        root = expand_user(self.config.root)
        if self._in_class_folders(root):
            splits = read_class_folders(
                root,
                self.published,
                cache=self.config.cache_folder,
                workers=available_cores() if self.config.workers is None else self.config.workers,
            )
            return replace(splits, mean=self.mean, std=self.std)
        self._unpack(root)
        train = self.source(root, train=True)
        test = self.source(root, train=False)
        return Splits(
            _split(train), _split(test), classes=train.classes, mean=self.mean, std=self.std
        )

    def _in_class_folders(self, root: Path) -> bool:
        """Whether the images are in ``root/train``; the archive goes first where both are there."""
        archive = (root / self.source.base_folder, root / self.source.filename)
        return (root / "train").is_dir() and not any(path.exists() for path in archive)

    def _unpack(self, root: Path) -> None:
        """See to it that the files are in ``root``, and whole."""
        from torchvision.datasets.utils import check_integrity

        folder = root / self.source.base_folder
        if not folder.is_dir():
            lock = root / f".{self.source.base_folder}.lock"
            try:
                with _removed_if_unused(root, lock), FileLock(lock):
                    if not folder.is_dir():  # another process may have done it meanwhile
                        self._fetch(root)
            except OSError as error:
                raise UserError(
                    f"{self.source.filename} cannot be unpacked in {root}: {cause(error)}. Make "
                    "room and permission there, or choose another folder with dataset.root=DIR."
                ) from error
        files = [*self.source.train_list, *self.source.test_list]
        meta = self.source.meta
        for name, md5 in [*files, (meta["filename"], meta["md5"])]:
            if not check_integrity(folder / name, md5):
                raise UserError(
                    f"{folder / name} is missing or fails its checksum. Take {folder} away and "
                    "start again, to unpack or download it anew."
                )

    def _fetch(self, root: Path) -> None:
        """Unpack the archive, downloaded where needed, aside; and move it into ``root`` whole."""
        from torchvision.datasets.utils import check_integrity, extract_archive

        source = self.source
        archive = root / source.filename
        with tempfile.TemporaryDirectory(dir=root, prefix=f".{source.base_folder}.") as aside:
            if not archive.exists():
                archive = self._downloaded(root, Path(aside))
            elif not check_integrity(archive, source.tgz_md5):
                raise UserError(
                    f"{archive} fails its checksum (md5 {source.tgz_md5}): it is incomplete or "
                    "another file. Take it away to download it anew, or replace it."
                )
            extract_archive(archive, aside)
            shutil.move(Path(aside) / source.base_folder, root)

    def _downloaded(self, root: Path, aside: Path) -> Path:
        from torchvision.datasets.utils import download_url

        source = self.source
        by_hand = (
            f"Put {source.filename} from {source.url} into {root}, or point dataset.root at a "
            "folder that holds it."
        )
        if not self.config.download:
            raise UserError(f"There is no {source.filename} in {root}. {by_hand}")
        try:
            download_url(source.url, aside, source.filename, source.tgz_md5)
        except (URLError, OSError, RuntimeError) as error:
            raise UserError(
                f"{source.filename} cannot be downloaded: {cause(error)}. {by_hand}"
            ) from error
        return aside / source.filename


@datasets.register("cifar10")
class Cifar10(Cifar):
    """CIFAR-10: 60,000 images of 32x32 pixels in 10 classes (Krizhevsky, 2009); downloaded."""

    published = Published(
        "CIFAR-10",
        classes=tuple(CIFAR10_CLASSES.split()),
        per_class={"train": 5000, "test": 1000},
        means={
            "train": (0.49139968, 0.48215841, 0.44653091),
            "test": (0.49421428, 0.48513139, 0.45040909),
        },
    )
    mean = (0.4914, 0.4822, 0.4465)
    std = (0.2470, 0.2435, 0.2616)

    @property
    def source(self) -> "type[CIFAR10]":
        from torchvision.datasets import CIFAR10

        return CIFAR10


@datasets.register("cifar100")
class Cifar100(Cifar):
    """CIFAR-100: 60,000 images of 32x32 pixels in 100 classes (Krizhevsky, 2009); downloaded."""

    published = Published(
        "CIFAR-100",
        classes=tuple(CIFAR100_CLASSES.split()),
        per_class={"train": 500, "test": 100},
        means={
            "train": (0.50707516, 0.48654887, 0.44091784),
            "test": (0.50879641, 0.48739301, 0.44194221),
        },
    )
    mean = (0.5071, 0.4865, 0.4409)
    std = (0.2673, 0.2564, 0.2762)

    @property
    def source(self) -> "type[CIFAR10]":
        from torchvision.datasets import CIFAR100

        return CIFAR100


@contextmanager
def _removed_if_unused(root: Path, lock: Path) -> Iterator[None]:
    """Make ``root``; if that was in vain, take it away again, and the folders made for it."""
    made = [folder for folder in (root, *root.parents) if not folder.exists()]
    root.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        with suppress(OSError):  # something is in them
            if made:
                lock.unlink(missing_ok=True)
            for folder in made:
                folder.rmdir()
        raise


def _split(source: "CIFAR10") -> Split:
    return Split(
        ArrayImages(np.ascontiguousarray(source.data)), np.array(source.targets, dtype=np.int64)
    )
