"""Samplers: in which order the items of a dataset are read.

A sampler is anything that can be iterated over to give indices.  Each iteration is one epoch; those
that draw make all draws of an epoch when it begins, so that an epoch that is given up half way
leaves the next one as it would have been.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Any

import numpy as np

from staticgraph.data.dataset import source
from staticgraph.errors import UsageError
from staticgraph.ir.loc import caller


class Sampler:
    """Base of the samplers; a subclass defines `__iter__`, and `__len__` where it is known.

    >>> from staticgraph.data import DataLoader, Sampler
    >>> class Backwards(Sampler):
    ...     def __init__(self, data):
    ...         self.data = data
    ...     def __iter__(self):
    ...         return iter(range(len(self.data) - 1, -1, -1))
    ...     def __len__(self):
    ...         return len(self.data)
    >>> [b.tolist() for b in DataLoader([1, 2, 3], 2, sampler=Backwards([1, 2, 3]))]
    [[3, 2], [1]]
    """

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError(f"{type(self).__name__} does not define __iter__")


class SequentialSampler(Sampler):
    """Each index once, in order.

    >>> from staticgraph.data import SequentialSampler
    >>> list(SequentialSampler("abc"))
    [0, 1, 2]
    """

    def __init__(self, data_source: Sized) -> None:
        self.data_source = data_source

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source)))

    def __len__(self) -> int:
        return len(self.data_source)


class RandomSampler(Sampler):
    """Indices in an order drawn anew in each epoch.

    Args:
      data_source: what is sampled; its length counts.
      replacement: draw each index independently, so that some come twice and some never.
      num_samples: how many indices an epoch has; the length of the data by default.  Without
        replacement, more than that length begins another permutation.
      seed: makes the epochs the same in each run.
      generator: draws, instead of a seed.

    >>> from staticgraph.data import RandomSampler
    >>> sampler = RandomSampler(range(4), seed=1)
    >>> first, second = list(sampler), list(sampler)
    >>> sorted(first) == sorted(second) == [0, 1, 2, 3]
    True
    >>> list(RandomSampler(range(4), seed=1)) == first
    True
    """

    def __init__(
        self,
        data_source: Sized,
        replacement: bool = False,
        num_samples: int | None = None,
        *,
        seed: int | None = None,
        generator: Any = None,
    ) -> None:
        if num_samples is not None:
            _positive(num_samples, "RandomSampler", "num_samples")
        self.data_source = data_source
        self.replacement = replacement
        self._num_samples = num_samples
        self._rng = source(seed, generator, "RandomSampler")

    def __iter__(self) -> Iterator[int]:
        n, wanted = len(self.data_source), len(self)
        if not n:
            if wanted:
                raise UsageError(
                    f"RandomSampler: cannot draw {wanted} samples from no items", loc=caller()
                )
            return iter(())
        if self.replacement:
            return iter(self._rng.integers(n, size=wanted).tolist())
        order: list[int] = []
        while len(order) < wanted:
            order += self._rng.permutation(n).tolist()
        return iter(order[:wanted])

    def __len__(self) -> int:
        return len(self.data_source) if self._num_samples is None else self._num_samples


class SubsetRandomSampler(Sampler):
    """Some indices, in an order drawn anew in each epoch.

    >>> from staticgraph.data import SubsetRandomSampler
    >>> sorted(SubsetRandomSampler([7, 1, 4], seed=0))
    [1, 4, 7]
    """

    def __init__(
        self,
        indices: Sequence[int],
        *,
        seed: int | None = None,
        generator: Any = None,
    ) -> None:
        self.indices = indices
        self._rng = source(seed, generator, "SubsetRandomSampler")

    def __iter__(self) -> Iterator[int]:
        return iter([int(self.indices[i]) for i in self._rng.permutation(len(self.indices))])

    def __len__(self) -> int:
        return len(self.indices)


class WeightedRandomSampler(Sampler):
    """Indices drawn with given probabilities.

    Args:
      weights: one for each index, not negative; they need not add up to 1.
      num_samples: how many indices an epoch has.
      replacement: whether an index can come twice.
      seed: makes the epochs the same in each run.
      generator: draws, instead of a seed.

    >>> from staticgraph.data import WeightedRandomSampler
    >>> set(WeightedRandomSampler([0.0, 3.0, 0.0, 1.0], 100, seed=0))
    {1, 3}
    """

    def __init__(
        self,
        weights: Any,
        num_samples: int,
        replacement: bool = True,
        *,
        seed: int | None = None,
        generator: Any = None,
    ) -> None:
        _positive(num_samples, "WeightedRandomSampler", "num_samples")
        self.weights = np.asarray(weights, np.float64)
        if self.weights.ndim != 1 or not len(self.weights):
            raise UsageError(
                "WeightedRandomSampler: weights must be a vector, not of shape "
                f"{list(self.weights.shape)}",
                loc=caller(),
            )
        bad = np.flatnonzero(~(np.isfinite(self.weights) & (self.weights >= 0)))
        if len(bad):
            raise UsageError(
                f"WeightedRandomSampler: weight {bad[0]} is {self.weights[bad[0]]:g}; weights are "
                "finite and not negative",
                loc=caller(),
            )
        possible = int(np.count_nonzero(self.weights))
        if not possible or (not replacement and possible < num_samples):
            raise UsageError(
                f"WeightedRandomSampler: cannot draw {num_samples} samples "
                f"{'with' if replacement else 'without'} replacement from {possible} indices of "
                "positive weight",
                loc=caller(),
            )
        self.num_samples = num_samples
        self.replacement = replacement
        self._rng = source(seed, generator, "WeightedRandomSampler")

    def __iter__(self) -> Iterator[int]:
        p = self.weights / self.weights.max()  # a sum that cannot overflow
        drawn = self._rng.choice(len(p), self.num_samples, self.replacement, p / p.sum())
        return iter(drawn.tolist())

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler(Sampler):
    """The indices of another sampler in lists of a given length.

    Args:
      sampler: gives indices.
      batch_size: how many indices a list has.
      drop_last: leave out a last list that would be shorter.

    >>> from staticgraph.data import BatchSampler
    >>> list(BatchSampler(range(5), 2)), list(BatchSampler(range(5), 2, drop_last=True))
    ([[0, 1], [2, 3], [4]], [[0, 1], [2, 3]])
    """

    def __init__(self, sampler: Iterable[int], batch_size: int, drop_last: bool = False) -> None:
        _positive(batch_size, "BatchSampler", "batch_size")
        self.sampler = sampler
        self.batch_size = batch_size
        self.drop_last = drop_last

    def __iter__(self) -> Iterator[list[int]]:
        return self._batches(iter(self.sampler))  # an epoch is drawn now, not at the first batch

    def _batches(self, indices: Iterator[int]) -> Iterator[list[int]]:
        batch: list[int] = []
        for i in indices:
            batch.append(i)
            if len(batch) == self.batch_size:
                yield batch
                batch = []
        if batch and not self.drop_last:
            yield batch

    def __len__(self) -> int:
        return batch_count(len(self.sampler), self.batch_size, self.drop_last)  # type: ignore[arg-type]


class DistributedSampler(Sampler):
    """The share of one process among several that train together.

    All processes see the same permutation and take every `num_replicas`-th index of it, so that
    their shares do not overlap.  Shares have one length: the order begins again where indices are
    missing, or, with `drop_last`, those left over are not read.

    Args:
      dataset: what is sampled; its length counts.
      num_replicas: how many processes there are.
      rank: which of them this is, from 0.
      shuffle: whether to draw an order; otherwise it is that of the indices.
      seed: the same in all processes.
      drop_last: shorten the shares instead of filling them up.

    `set_epoch(epoch)` before each epoch gives each one an order of its own; without it all epochs
    have the same.

    >>> from staticgraph.data import DistributedSampler
    >>> [list(DistributedSampler(range(5), 2, rank, shuffle=False)) for rank in (0, 1)]
    [[0, 2, 4], [1, 3, 0]]
    """

    def __init__(
        self,
        dataset: Sized,
        num_replicas: int,
        rank: int,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        _positive(num_replicas, "DistributedSampler", "num_replicas")
        if not 0 <= rank < num_replicas:
            raise UsageError(
                f"DistributedSampler: rank {rank} is not in 0..{num_replicas - 1}", loc=caller()
            )
        self.dataset = dataset
        self.num_replicas = num_replicas
        self.rank = rank
        self.shuffle = shuffle
        self.seed = seed
        self.drop_last = drop_last
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch comes next."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        n = len(self.dataset)
        order = np.arange(n)
        if self.shuffle:
            order = np.random.default_rng([self.seed, self.epoch]).permutation(n)
        whole = np.resize(order, len(self) * self.num_replicas)  # which repeats what there is
        return iter(whole[self.rank :: self.num_replicas].tolist())

    def __len__(self) -> int:
        return batch_count(len(self.dataset), self.num_replicas, self.drop_last)


def batch_count(items: int, size: int, drop_last: bool) -> int:
    """How many batches some items fill."""
    return items // size if drop_last else math.ceil(items / size)


def _positive(value: int, name: str, argument: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise UsageError(
            f"{name}: {argument} must be a positive integer, not {value!r}", loc=caller()
        )
