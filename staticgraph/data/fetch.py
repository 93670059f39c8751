"""Reading batches from a dataset, in whatever process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from typing import Any

from staticgraph.data.collate import default_collate, to_tensors
from staticgraph.data.dataset import Dataset, IterableDataset, Subset
from staticgraph.data.tensors import as_tensors
from staticgraph.errors import DataIndexError
from staticgraph.ir.loc import caller

Gather = Callable[[Sequence[int]], Any]
Fetch = Callable[[Any], Any]
"""Takes a task and gives the batch.

A task is a list of indices, or an index where there are no batches; streams pass it over.
"""

DEFAULTS = (default_collate, to_tensors)


class Mark(Enum):
    """What a fetch gives in place of a batch."""

    END = "the stream has ended"


@dataclass(frozen=True)
class Reading:
    """What is read and what becomes of it.

    Args:
      dataset: by index or as a stream.
      collate_fn: makes a batch of a list of items; without batches it takes an item, or is None.
      batch_size: of a stream, or None to give single items.
      batched: whether a task is a list of indices.
      drop_last: leave out a last batch of a stream that would be shorter.
    """

    dataset: Any
    collate_fn: Callable[..., Any] | None
    batch_size: int | None
    batched: bool
    drop_last: bool

    def begin(self) -> Fetch:
        """Begin an epoch."""
        if isinstance(self.dataset, IterableDataset):
            return self._stream(iter(self.dataset))
        if not self.batched:
            return self._single
        gather = gather_of(self.dataset) if self.collate_fn in DEFAULTS else None
        if gather is None:
            return self._batch
        if self.collate_fn is to_tensors:
            return lambda indices: as_tensors(gather(indices))
        return gather

    def _single(self, index: int) -> Any:
        item = _item(self.dataset, index)
        return item if self.collate_fn is None else self.collate_fn(item)

    def _batch(self, indices: Sequence[int]) -> Any:
        items = [_item(self.dataset, i) for i in indices]
        assert self.collate_fn is not None
        if self.collate_fn in DEFAULTS:
            return self.collate_fn(items, indices)
        return self.collate_fn(items)

    def _stream(self, items: Iterator[Any]) -> Fetch:
        batches = self._batches(items)
        return lambda task: next(batches, Mark.END)

    def _batches(self, items: Iterator[Any]) -> Iterator[Any]:
        if self.batch_size is None:
            yield from items if self.collate_fn is None else map(self.collate_fn, items)
            return
        assert self.collate_fn is not None
        while batch := list(islice(items, self.batch_size)):
            if len(batch) == self.batch_size or not self.drop_last:
                yield self.collate_fn(batch)


def gather_of(dataset: Any) -> Gather | None:
    """What makes a whole batch of a dataset at once, where there is such a thing."""
    if isinstance(dataset, Subset):
        inner = gather_of(dataset.dataset)
        if inner is None:
            return None
        return lambda indices: inner([dataset.position(i) for i in indices])
    if isinstance(dataset, Dataset):
        return getattr(dataset, "gather", None)
    return None


def _item(dataset: Any, index: Any) -> Any:
    try:
        return dataset[index]
    except DataIndexError:
        raise
    except IndexError as e:
        length = len(dataset) if hasattr(dataset, "__len__") else None
        if length is None or not isinstance(index, int) or -length <= index < length:
            raise
        raise DataIndexError(
            f"{type(dataset).__name__}: index {index} is out of range, there are {length} items",
            loc=caller(),
        ) from e
