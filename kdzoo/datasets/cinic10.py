"""CINIC-10: the classes of CIFAR-10 in images from CIFAR-10 and ImageNet."""

from pathlib import Path
from typing import Annotated, Any, ClassVar

from kdzoo.data.dataset import Dataset, DatasetConfig
from kdzoo.data.folders import combine, scan
from kdzoo.data.index import indexed
from kdzoo.data.splits import Splits
from kdzoo.datasets.split_folders import find_split_folders, innermost
from kdzoo.errors import UserError
from kdzoo.home import expand_user
from kdzoo.identity import NotIdentity
from kdzoo.registry import datasets


@datasets.register("cinic10")
class Cinic10(Dataset):
    """CINIC-10: 270,000 images of 32x32 pixels in 10 classes, from the authors' three folders.

    Darlow et al., "CINIC-10 is not ImageNet or CIFAR-10" (2018). A third of the images each is for
    training (``train``), validation (``valid``) and test (``test``).
    """

    class Config(DatasetConfig):
        """Where the images are."""

        root: Annotated[Path, NotIdentity] = Path("data/cinic10")
        """The folder that holds ``train``, ``valid`` and ``test``."""

    recipe: ClassVar[dict[str, Any]] = {"epochs": 300, "batch_size": 128, "lr": 0.1}

    def load(self) -> Splits:
        root = expand_user(self.config.root)
        return indexed(
            self.config.cache_folder, root, {"name": self.config.name}, lambda: _find(root)
        )


def _find(root: Path) -> Splits:
    folders = find_split_folders(innermost(root)) if root.is_dir() else {}
    if folders.keys() != {"train", "val", "test"}:
        raise UserError(
            f"There are no folders train, valid and test in {root}. Unpack CINIC-10.tar.gz "
            "(see https://github.com/BayesWatch/cinic-10) and point dataset.root at the folder "
            "that holds them."
        )
    return combine({name: scan(folder) for name, folder in folders.items()})
