"""`DataLoader`: batches of a dataset, in some order, read by this process or by others."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import repeat
from typing import Any

import numpy as np

from staticgraph.data.collate import default_collate
from staticgraph.data.dataset import IterableDataset, source
from staticgraph.data.fetch import Mark, Reading
from staticgraph.data.sampler import BatchSampler, RandomSampler, SequentialSampler, batch_count
from staticgraph.data.worker import Parcel
from staticgraph.data.workers import Pool, choose_context, worker_seeds
from staticgraph.errors import UsageError
from staticgraph.ir.loc import Loc, caller

PREFETCH = 2  # batches that each worker reads ahead
DEEPEST = 64  # what fits into a pipe, whose reader may be busy


class DataLoader:
    """Batches of a dataset.

    Each iteration is an epoch.  What is read, and in which order, depends on the seed and not on
    the number of workers.

    Workers are processes that read ahead.  The dataset is sent to them, so it must be possible to
    pickle it; and they import the script that runs, so it starts them under
    `if __name__ == "__main__":`.  They end with the epoch, when the loop is left, or with an error.

    Args:
      dataset: a `Dataset` or anything with `__getitem__` and `__len__`; or an `IterableDataset`.
      batch_size: items in a batch; None gives single items.
      shuffle: read in an order that is drawn anew for each epoch.
      sampler: indices in the order in which they are read, instead of `shuffle`.
      batch_sampler: lists of indices, instead of `batch_size`, `shuffle`, `sampler`, `drop_last`.
      num_workers: processes that read; with 0 it is this process.
      collate_fn: makes a batch of a list of items, `default_collate` by default; with
        `batch_size=None` it takes an item.
      drop_last: leave out a last batch that would be shorter.
      timeout: seconds to wait for a worker; 0 for as long as it takes.
      worker_init_fn: called in each worker with its number when it starts.
      prefetch_factor: batches that each worker reads ahead, 2 by default.
      persistent_workers: keep the workers, and their copies of the dataset, for the next epoch.
      pin_memory: taken for the sake of programs that give it, and without an effect: batches are
        computed with where they are.
      seed: makes the epochs the same in each run; without it, `manual_seed` of
        `staticgraph.dynamic` does, where that package is in use.
      generator: a `numpy.random.Generator` that draws, instead of a seed; or a `Generator` of
        `staticgraph.dynamic`, which gives the seed.
      multiprocessing_context: `"forkserver"`, `"spawn"`, `"fork"`, or a context; the first of these
        that the platform has, but `"spawn"` on macOS.

    Raises:
      UsageError: arguments that exclude each other or are of a wrong kind.
      WorkerError: in the loop, when a worker dies, with how it ended; an exception of the dataset
        is raised as it is, with the traceback of the worker as its cause.
      WorkerTimeoutError: in the loop, when a worker does not answer in time.
      BatchError: in the loop, when items cannot be made a batch.
      DataIndexError: in the loop, when the sampler gives an index outside the dataset.

    >>> import numpy as np
    >>> from staticgraph.data import DataLoader, TensorDataset
    >>> x, y = np.arange(5, dtype=np.float32), np.arange(5) * 10
    >>> for images, labels in DataLoader(TensorDataset(x, y), batch_size=2):
    ...     print(images, labels)
    [0. 1.] [ 0 10]
    [2. 3.] [20 30]
    [4.] [40]
    >>> loader = DataLoader(range(5), batch_size=2, shuffle=True, seed=3, drop_last=True)
    >>> len(loader), [len(batch) for batch in loader]
    (2, [2, 2])
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool = False,
        *,
        sampler: Iterable[Any] | None = None,
        batch_sampler: Iterable[Any] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[..., Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], object] | None = None,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        seed: int | None = None,
        generator: Any = None,
        multiprocessing_context: Any = None,
    ) -> None:
        self.dataset = dataset
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.pin_memory = pin_memory
        self.drop_last = drop_last
        self.timeout = timeout
        self.worker_init_fn = worker_init_fn
        self.prefetch_factor = prefetch_factor
        self.persistent_workers = persistent_workers
        self._check_workers(multiprocessing_context)

        _callable(collate_fn, "collate_fn")
        _callable(worker_init_fn, "worker_init_fn")
        _iterable(sampler, "sampler")
        _iterable(batch_sampler, "batch_sampler")
        rng = source(seed, generator, "DataLoader")
        self._base_seed = int(rng.integers(2**63))  # drawn with or without workers
        self.sampler: Iterable[Any] | None = None
        self.batch_sampler: Iterable[Any] | None = None
        if isinstance(dataset, IterableDataset):
            self._check_stream(shuffle, sampler, batch_sampler)
        else:
            self._choose_order(shuffle, sampler, batch_sampler, rng)

        batched = batch_size is not None or batch_sampler is not None
        self.collate_fn = default_collate if collate_fn is None and batched else collate_fn
        self._reading = Reading(
            dataset, self.collate_fn, self.batch_size, self.batch_sampler is not None, drop_last
        )
        self._epoch = 0
        self._pool: Pool | None = None

    def _check_workers(self, context: Any) -> None:
        _natural(self.num_workers, "num_workers")
        if not isinstance(self.timeout, int | float) or not self.timeout >= 0:
            raise UsageError(
                f"DataLoader: timeout must be a number of seconds that is not negative, not "
                f"{self.timeout!r}",
                loc=caller(),
            )
        if self.prefetch_factor is not None:
            _natural(self.prefetch_factor, "prefetch_factor")
            if not 1 <= self.prefetch_factor <= DEEPEST:
                raise UsageError(
                    f"DataLoader: prefetch_factor must be in 1..{DEEPEST}, not "
                    f"{self.prefetch_factor}",
                    loc=caller(),
                )
        given = [
            name
            for name in ("timeout", "prefetch_factor", "persistent_workers", "worker_init_fn")
            if getattr(self, name)
        ]
        if given and not self.num_workers:
            raise UsageError(
                f"DataLoader: {given[0]} is for workers, and num_workers is 0", loc=caller()
            )
        try:
            self._context = choose_context(context)
        except ValueError as e:
            raise UsageError(
                f"DataLoader: multiprocessing_context must be {e}", loc=caller()
            ) from None

    def _check_stream(self, shuffle: bool, sampler: Any, batch_sampler: Any) -> None:
        given = [
            name
            for name, value in [
                ("shuffle", shuffle or None),
                ("sampler", sampler),
                ("batch_sampler", batch_sampler),
            ]
            if value is not None
        ]
        if given:
            raise UsageError(
                f"DataLoader: an IterableDataset has an order of its own and takes no {given[0]}",
                loc=caller(),
            )
        _batch_size(self.batch_size, self.drop_last)

    def _choose_order(
        self, shuffle: bool, sampler: Any, batch_sampler: Any, rng: np.random.Generator
    ) -> None:
        for method in ("__getitem__", "__len__"):
            if not hasattr(self.dataset, method) and (method == "__getitem__" or sampler is None):
                raise UsageError(
                    f"DataLoader: {type(self.dataset).__name__} has no {method}",
                    loc=caller(),
                    hint="a dataset that is read as a stream derives from IterableDataset",
                )
        if shuffle and sampler is not None:
            raise UsageError("DataLoader: takes shuffle or a sampler, not both", loc=caller())
        if batch_sampler is not None:
            if self.batch_size != 1 or shuffle or sampler is not None or self.drop_last:
                raise UsageError(
                    "DataLoader: a batch_sampler takes the place of batch_size, shuffle, sampler "
                    "and drop_last",
                    loc=caller(),
                )
            self.batch_size = None  # it is as the sampler says
            self.batch_sampler = batch_sampler
            return
        _batch_size(self.batch_size, self.drop_last)
        if sampler is None:
            if shuffle:
                sampler = RandomSampler(self.dataset, generator=rng)
            else:
                sampler = SequentialSampler(self.dataset)
        self.sampler = sampler
        if self.batch_size is not None:
            self.batch_sampler = BatchSampler(sampler, self.batch_size, self.drop_last)

    def __len__(self) -> int:
        """How many batches an epoch has.

        Raises:
          UsageError: nobody knows, as for a stream without `__len__`.
        """
        order = self.batch_sampler if self.batch_sampler is not None else self.sampler
        try:
            if order is not None:
                return len(order)  # type: ignore[arg-type]
            items = len(self.dataset)
        except (NotImplementedError, TypeError) as e:
            raise UsageError(f"DataLoader: nobody can count the batches: {e}", loc=caller()) from e
        if self.batch_size is None:
            return items
        return batch_count(items, self.batch_size, self.drop_last)

    def __iter__(self) -> Iterator[Any]:
        loc = caller()
        order = self.batch_sampler if self.batch_sampler is not None else self.sampler
        tasks: Iterator[Any] = repeat(None) if order is None else iter(order)
        epoch, self._epoch = self._epoch, self._epoch + 1
        if not self.num_workers:
            return _read_here(self._reading, tasks)
        if self._pool is None or not self._pool.alive:
            pool = Pool(
                Parcel(self._reading, self.worker_init_fn),
                worker_seeds(self._base_seed, epoch, self.num_workers),
                self.prefetch_factor or PREFETCH,
                self.timeout,
                self._context,
                loc,
            )
            self._pool = pool if self.persistent_workers else None
        else:
            pool = self._pool
        return _Epoch(pool, tasks, loc, self.persistent_workers).batches()


def _read_here(reading: Reading, tasks: Iterator[Any]) -> Iterator[Any]:
    fetch = reading.begin()
    for task in tasks:
        batch = fetch(task)
        if batch is Mark.END:
            return
        yield batch


class _Epoch:
    """One epoch of a pool: every worker has as many tasks as it may have, and answers in turn."""

    def __init__(self, pool: Pool, tasks: Iterator[Any], loc: Loc, persistent: bool) -> None:
        self._pool = pool
        self._tasks = tasks
        self._persistent = persistent
        self._waiting: deque[int] = deque()  # who is to answer, in the order of the tasks
        try:
            self._number = pool.begin(loc)
            for _ in range(pool.depth):
                for worker in range(pool.size):
                    self._give(worker)
        except BaseException:  # an interrupt, too, leaves no processes behind
            pool.close()
            raise

    def _give(self, worker: int) -> None:
        for task in self._tasks:
            self._pool.send(worker, task)
            self._waiting.append(worker)
            return

    def batches(self) -> Iterator[Any]:
        """The batches in the order of the tasks."""
        ended: set[int] = set()
        whole = False  # whether nothing has gone wrong, so that workers may be kept
        try:
            while self._waiting:
                worker = self._waiting.popleft()
                answer = self._pool.receive(worker)
                if answer is Mark.END:
                    ended.add(worker)
                    continue
                if worker not in ended:
                    self._give(worker)
                whole = True
                yield answer[0]
                self._check_turn()
                whole = False
            whole = True
        finally:
            if not (whole and self._persistent):
                self._pool.close()

    def _check_turn(self) -> None:
        if self._pool.epoch != self._number:
            raise UsageError(
                "DataLoader: another loop over it has begun, and persistent workers serve one at "
                "a time",
                loc=caller(),
            )


def _natural(value: Any, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 0:
        raise UsageError(
            f"DataLoader: {name} must be an integer that is not negative, not {value!r}",
            loc=caller(),
        )


def _callable(value: Any, name: str) -> None:
    if value is not None and not callable(value):
        raise UsageError(
            f"DataLoader: {name} must be a function, not {type(value).__name__}", loc=caller()
        )


def _iterable(value: Any, name: str) -> None:
    if value is not None and not hasattr(value, "__iter__"):
        raise UsageError(
            f"DataLoader: {name} must be something to iterate over, not {type(value).__name__}",
            loc=caller(),
        )


def _batch_size(value: Any, drop_last: bool) -> None:
    if value is None:
        if drop_last:
            raise UsageError("DataLoader: drop_last needs a batch_size", loc=caller())
    elif isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise UsageError(
            f"DataLoader: batch_size must be a positive integer or None, not {value!r}",
            loc=caller(),
        )
