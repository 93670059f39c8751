"""Datasets of the tests.  Workers import this module, so it imports little."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from staticgraph.data import Dataset, IterableDataset, get_worker_info


class Rows(Dataset[Any]):
    """Item `i` is a row of `i`s and `i`."""

    def __init__(self, count: int, width: int = 3) -> None:
        self.count, self.width = count, width

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Any:
        return np.full(self.width, index, np.float32), index


class Pids(Rows):
    """Each item is the process that read it."""

    def __getitem__(self, index: int) -> Any:
        return os.getpid()


class Stubborn(Exception):
    """An exception that does not unpickle."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} {second}")


class Bad(Rows):
    """One item is a misfortune."""

    def __init__(self, count: int, at: int, what: str) -> None:
        super().__init__(count)
        self.at, self.what = at, what

    def __getitem__(self, index: int) -> Any:
        if index == self.at:
            misfortune(self.what)
        return super().__getitem__(index)


def misfortune(what: str) -> None:
    """What befalls a dataset."""
    if what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "exit":
        os._exit(7)
    if what == "sleep":
        time.sleep(600)
    if what == "stop":
        raise StopIteration
    if what == "stubborn":
        raise Stubborn("it is", "stubborn")
    if what == "network":
        raise ConnectionResetError("the far side hung up")
    raise KeyError(what)


class Told(Rows):
    """What a worker knows of itself, and the state of the generators in it."""

    def __getitem__(self, index: int) -> Any:
        info = get_worker_info()
        assert info is not None and info.dataset is self
        return info.id, info.num_workers, info.seed, float(np.random.random())


class Noted(Rows):
    """Counts the items that are read, in all processes together."""

    def __init__(self, count: int, counter: Any) -> None:
        super().__init__(count)
        self.counter = counter

    def __getitem__(self, index: int) -> Any:
        with self.counter.get_lock():
            self.counter.value += 1
        return index


class Unfit(Rows):
    """Items of different shapes."""

    def __getitem__(self, index: int) -> Any:
        return np.zeros(index)


class Tidy(Rows):
    """An item that takes ten minutes, and leaves word of its end."""

    def __init__(self, count: int, folder: Path) -> None:
        super().__init__(count)
        self.folder = folder

    def __getitem__(self, index: int) -> Any:
        if index == 1:
            try:
                (self.folder / "begun").touch()
                time.sleep(600)
            finally:
                (self.folder / "cleaned up").touch()
        return index


class Secret(Rows):
    """Each batch holds what cannot be pickled."""

    def __getitem__(self, index: int) -> Any:
        return lambda: index


class Unopened(Rows):
    """It pickles and does not unpickle."""

    def __setstate__(self, state: Any) -> None:
        raise ValueError("this dataset stays closed")


class Stream(IterableDataset[int]):
    """Numbers up to a count; each worker has its share."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __iter__(self) -> Iterator[int]:
        info = get_worker_info()
        first, step = (0, 1) if info is None else (info.id, info.num_workers)
        return iter(range(first, self.count, step))


class Sized(Stream):
    """A stream that knows its length."""

    def __len__(self) -> int:
        return self.count


class Flood(IterableDataset[Any]):
    """A stream without end."""

    def __iter__(self) -> Iterator[Any]:
        while True:
            yield np.zeros(100_000, np.float32)


def same(items: list[Any]) -> list[Any]:
    """No batch at all."""
    return items


def doomed(number: int) -> None:
    """An initialisation that fails."""
    raise OSError(f"worker {number} finds no licence")


def note_start(number: int) -> None:
    """An initialisation that can be seen."""
    os.environ["TOLD"] = str(number)


class Started(Rows):
    """What `note_start` left, and the threads that a session would use here."""

    def __getitem__(self, index: int) -> Any:
        return os.environ["TOLD"], os.environ["STATICGRAPH_NUM_THREADS"]
