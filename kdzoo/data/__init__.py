"""Data sets by name, and the pipelines that make batches of them.

Here ``Dataset`` is kdzoo's: a source of labelled images. torch's data sets go in through
:func:`data_from`.
"""

from kdzoo.data.base import Dataset, DatasetConfig, open_data
from kdzoo.data.images import ArrayImages, FileImages
from kdzoo.data.module import DataInfo, DataModule
from kdzoo.data.own import data_from, splits_from
from kdzoo.data.splits import Split, Splits

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
