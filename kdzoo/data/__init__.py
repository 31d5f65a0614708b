"""Data sets by name, and the pipelines that make batches of them.

Here ``Dataset`` is kdzoo's: a source of labelled images. torch's data sets go in through
:func:`data_from`.
"""

from kdzoo.data.dataset import Dataset, DatasetConfig
from kdzoo.data.images import ArrayImages, FileImages
from kdzoo.data.open import open_data
from kdzoo.data.pipeline import DataInfo, DataModule
from kdzoo.data.splits import Split, Splits
from kdzoo.data.torch_datasets import data_from, splits_from

__all__ = [
    "ArrayImages",
    "DataInfo",
    "DataModule",
    "Dataset",
    "DatasetConfig",
    "FileImages",
    "Split",
    "Splits",
    "data_from",
    "open_data",
    "splits_from",
]
