"""Datasets: what there is to load, by index or as a stream.

A dataset says what an item is and nothing else; the order, the batches and the processes belong
to the `DataLoader`.  Anything with `__getitem__` and `__len__`, a list included, will do where a
`Dataset` is asked for.
"""

from __future__ import annotations

import math
import operator
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import numpy as np

from staticgraph.data.tensors import entropy, is_tensor, tensor_of
from staticgraph.errors import BatchError, DataIndexError, UsageError
from staticgraph.ir.loc import caller

T = TypeVar("T", covariant=True)


@runtime_checkable
class SupportsItems(Protocol[T]):
    """What is asked of a dataset that is read by index."""

    def __getitem__(self, index: int, /) -> T: ...

    def __len__(self) -> int: ...


class Dataset(Generic[T]):
    """A dataset that is read by index.

    A subclass defines `__getitem__(index)`, which returns an item, and `__len__()`.  Items may be
    anything that `default_collate` takes: arrays, numbers, strings, tuples and dicts of them.

    A subclass may also define `gather(indices)`, a whole batch at once; it must return what
    `default_collate` makes of the items, and is asked instead of it.

    >>> from staticgraph.data import Dataset
    >>> class Squares(Dataset):
    ...     def __len__(self):
    ...         return 5
    ...     def __getitem__(self, index):
    ...         return index * index
    >>> Squares()[3], len(Squares() + Squares())
    (9, 10)
    """

    def __getitem__(self, index: int, /) -> T:
        raise NotImplementedError(f"{type(self).__name__} does not define __getitem__")

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} does not define __len__")

    def __add__(self, other: SupportsItems[Any]) -> ConcatDataset:
        return ConcatDataset([self, other])


class IterableDataset(Generic[T]):
    """A dataset that is read as a stream.

    A subclass defines `__iter__()`.  Each worker process of a `DataLoader` has a copy of its own
    and iterates over it, so that a dataset which does not ask `get_worker_info()` for its share
    is read once by each worker.

    >>> from staticgraph.data import DataLoader, IterableDataset, get_worker_info
    >>> class Count(IterableDataset):
    ...     def __iter__(self):
    ...         info = get_worker_info()
    ...         first, step = (0, 1) if info is None else (info.id, info.num_workers)
    ...         return iter(range(first, 5, step))
    >>> [batch.tolist() for batch in DataLoader(Count(), batch_size=2)]
    [[0, 1], [2, 3], [4]]
    """

    def __iter__(self) -> Iterator[T]:
        raise NotImplementedError(f"{type(self).__name__} does not define __iter__")


def checked(index: int, length: int, name: str) -> int:
    """The index counted from the start.

    Raises:
      DataIndexError: it lies outside the dataset.
      UsageError: it is no integer.
    """
    try:
        index = operator.index(index)
    except TypeError:
        raise UsageError(
            f"{name}: an index must be an integer, not {type(index).__name__}", loc=caller()
        ) from None
    if not -length <= index < length:
        raise DataIndexError(
            f"{name}: index {index} is out of range, there are {length} items", loc=caller()
        )
    return index + length if index < 0 else index


class TensorDataset(Dataset[tuple[Any, ...]]):
    """Arrays that belong together: item `i` is the tuple of their rows `i`; a slice takes several.

    Args:
      *arrays: arrays, tensors of `staticgraph.dynamic`, whose rows are tensors, or what numpy
        makes arrays of; all with the same first size.

    Raises:
      BatchError: the first sizes differ, or an array has no axis.

    >>> import numpy as np
    >>> from staticgraph.data import TensorDataset
    >>> x = np.arange(6, dtype=np.float32).reshape(3, 2)
    >>> TensorDataset(x, [10, 20, 30])[1]
    (array([2., 3.], dtype=float32), np.int64(20))
    """

    def __init__(self, *arrays: Any) -> None:
        if not arrays:
            raise UsageError("TensorDataset: there must be at least one array", loc=caller())
        self.arrays: tuple[np.ndarray, ...] = tuple(np.asarray(a) for a in arrays)
        self._tensors = tuple(is_tensor(a) for a in arrays)
        for i, array in enumerate(self.arrays):
            if not array.ndim:
                raise BatchError(
                    f"TensorDataset: array {i} is a scalar and has no rows", loc=caller()
                )
            if len(array) != len(self.arrays[0]):
                raise BatchError(
                    f"TensorDataset: array 0 has {len(self.arrays[0])} rows and array {i} has "
                    f"{len(array)}",
                    loc=caller(),
                    operands=[f"array {j}: {a.dtype}{list(a.shape)}" for j, a in [
                        (0, self.arrays[0]), (i, array)]],
                )  # fmt: skip

    def __getitem__(self, index: int | slice, /) -> tuple[Any, ...]:
        at = index if isinstance(index, slice) else checked(index, len(self), "TensorDataset")
        return tuple(
            tensor_of(array[at, ...]) if tensor else array[at]
            for array, tensor in zip(self.arrays, self._tensors, strict=True)
        )

    def gather(self, indices: Sequence[int], /) -> tuple[Any, ...]:
        """The rows of many indices, one array for each array of the dataset."""
        at = [checked(i, len(self), "TensorDataset") for i in indices]
        return tuple(
            tensor_of(array[at]) if tensor else array[at]
            for array, tensor in zip(self.arrays, self._tensors, strict=True)
        )

    def __len__(self) -> int:
        return len(self.arrays[0])


class ConcatDataset(Dataset[Any]):
    """Datasets one after the other.

    Args:
      datasets: datasets that are read by index.

    >>> from staticgraph.data import ConcatDataset
    >>> joined = ConcatDataset([["a", "b"], ["c"]])
    >>> len(joined), joined[2], joined[-3]
    (3, 'c', 'a')
    """

    def __init__(self, datasets: Iterable[SupportsItems[Any]]) -> None:
        self.datasets = list(datasets)
        if not self.datasets:
            raise UsageError("ConcatDataset: there must be at least one dataset", loc=caller())
        for i, dataset in enumerate(self.datasets):
            if isinstance(dataset, IterableDataset):
                raise UsageError(
                    f"ConcatDataset: dataset {i} is an IterableDataset and has no indices",
                    loc=caller(),
                )
        self.ends = list(accumulate(len(d) for d in self.datasets))

    def __getitem__(self, index: int, /) -> Any:
        at = checked(index, len(self), "ConcatDataset")
        which = bisect_right(self.ends, at)
        return self.datasets[which][at - (self.ends[which - 1] if which else 0)]

    def __len__(self) -> int:
        return self.ends[-1]


class Subset(Dataset[T]):
    """Some of the items of a dataset, in an order of their own.

    Args:
      dataset: a dataset that is read by index.
      indices: which of its items.

    >>> from staticgraph.data import Subset
    >>> list(Subset("abcd", [3, 0]))
    ['d', 'a']
    """

    def __init__(self, dataset: SupportsItems[T], indices: Sequence[int]) -> None:
        self.dataset = dataset
        self.indices = np.asarray(indices) if len(indices) else np.zeros(0, np.int64)
        if self.indices.ndim != 1 or self.indices.dtype.kind not in "iu":
            raise UsageError(
                "Subset: indices must be a vector of integers, not "
                f"{self.indices.dtype}{list(self.indices.shape)}",
                loc=caller(),
            )
        if len(self.indices):  # one comparison of arrays says whether any is outside
            for i in (int(self.indices.min()), int(self.indices.max())):
                checked(i, len(dataset), "Subset")

    def __getitem__(self, index: int, /) -> T:
        return self.dataset[self.position(index)]

    def position(self, index: int) -> int:
        """Where in the whole dataset an item is."""
        return int(self.indices[checked(index, len(self), "Subset")])

    def __len__(self) -> int:
        return len(self.indices)


def random_split(
    dataset: SupportsItems[T],
    lengths: Sequence[int] | Sequence[float],
    *,
    seed: int | None = None,
    generator: Any = None,
) -> list[Subset[T]]:
    """Split a dataset at random into parts that do not overlap.

    Args:
      dataset: a dataset that is read by index.
      lengths: how many items each part has, or fractions that add up to 1; what rounding leaves
        over goes to the first parts, one each.
      seed: makes the split the same in each run.
      generator: draws the split, instead of a seed.

    Raises:
      UsageError: the lengths do not add up to the items there are.

    >>> from staticgraph.data import random_split
    >>> train, test = random_split(range(10), [0.8, 0.2], seed=0)
    >>> len(train), len(test), sorted([*train, *test]) == list(range(10))
    (8, 2, True)
    """
    total = len(dataset)
    counts = _counts(lengths, total)
    if any(n < 0 for n in counts) or sum(counts) != total:
        raise UsageError(
            f"random_split: the lengths {list(lengths)} add up to {sum(counts)}, and there are "
            f"{total} items",
            loc=caller(),
        )
    order = source(seed, generator, "random_split").permutation(total).tolist()
    ends = list(accumulate(counts, initial=0))
    return [Subset(dataset, order[a:b]) for a, b in pairwise(ends)]


def _counts(lengths: Sequence[int] | Sequence[float], total: int) -> list[int]:
    """The lengths, fractions turned into numbers of items."""
    if not any(isinstance(n, float) for n in lengths):
        return [int(n) for n in lengths]
    if not math.isclose(sum(lengths), 1.0) or any(n < 0 for n in lengths):
        raise UsageError(
            f"random_split: the fractions {list(lengths)} add up to {sum(lengths):g} instead of 1",
            loc=caller(),
        )
    counts = [math.floor(total * n) for n in lengths]
    for i in range(total - sum(counts)):
        counts[i % len(counts)] += 1
    return counts


def source(seed: int | None, generator: Any, name: str) -> np.random.Generator:
    """The generator that was given, or one that starts from the seed.

    One of `staticgraph.dynamic` is drawn from once, and moves on by that; so is the one that its
    `manual_seed` starts, where that package is in use and neither is given.

    Raises:
      UsageError: both were given, or a seed or a generator of another kind.
    """
    if seed is not None:
        if generator is not None:
            raise UsageError(f"{name}: takes a seed or a generator, not both", loc=caller())
        try:
            return np.random.default_rng(seed)
        except (TypeError, ValueError):
            raise UsageError(
                f"{name}: seed must be an integer that is not negative, not {seed!r}", loc=caller()
            ) from None
    drawn = entropy(generator)
    if drawn is not None or generator is None:
        return np.random.default_rng(drawn)
    if not isinstance(generator, np.random.Generator):
        raise UsageError(
            f"{name}: generator must be a numpy.random.Generator, not {type(generator).__name__}",
            loc=caller(),
            hint="numpy.random.default_rng(seed) makes one",
        )
    return generator
