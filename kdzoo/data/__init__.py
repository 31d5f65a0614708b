"""Data sets by name, and the pipelines that make batches of them."""

from kdzoo.data.base import Dataset, DatasetConfig, open_data
from kdzoo.data.module import DataInfo, DataModule

__all__ = ["DataInfo", "DataModule", "Dataset", "DatasetConfig", "open_data"]
