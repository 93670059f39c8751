"""Datasets, samplers, and batches read ahead by worker processes.

>>> from staticgraph import data
>>> loader = data.DataLoader(data.TensorDataset([1.0, 2.0, 3.0]), batch_size=2)
>>> [x.tolist() for (x,) in loader]
[[1.0, 2.0], [3.0]]
"""

from staticgraph.data.collate import default_collate, to_tensors
from staticgraph.data.dataset import (
    ConcatDataset,
    Dataset,
    IterableDataset,
    Subset,
    TensorDataset,
    random_split,
)
from staticgraph.data.images import ImageFolder, read_image
from staticgraph.data.loader import DataLoader
from staticgraph.data.sampler import (
    BatchSampler,
    DistributedSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)
from staticgraph.data.worker import WorkerInfo, get_worker_info

__all__ = [
    "BatchSampler",
    "ConcatDataset",
    "DataLoader",
    "Dataset",
    "DistributedSampler",
    "ImageFolder",
    "IterableDataset",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "Subset",
    "SubsetRandomSampler",
    "TensorDataset",
    "WeightedRandomSampler",
    "WorkerInfo",
    "default_collate",
    "get_worker_info",
    "random_split",
    "read_image",
    "to_tensors",
]
