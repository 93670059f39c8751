"""The life of a worker process: take a task, read the batch, send it.

A worker ends when its connection is closed, which also happens when the process that started it
is no more, or when it is told to by a signal.  Errors of the dataset are sent in place of the
batch; anything else ends the process, and the other side sees that.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import random
import signal
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from multiprocessing import connection as connections
from multiprocessing import reduction
from types import FrameType
from typing import Any
from weakref import WeakSet

import numpy as np

from staticgraph.data.fetch import Fetch, Mark, Reading
from staticgraph.data.transport import Message, Sender
from staticgraph.errors import StaticGraphError, UsageError
from staticgraph.ir.loc import Loc

OPEN: WeakSet[connections.Connection] = WeakSet()
"""The connections of this process to its workers.  A forked worker closes its copies, or the
others would never see an end of what they read."""


@dataclass(frozen=True)
class WorkerInfo:
    """What a worker process knows of itself.

    Args:
      id: its number, from 0.
      num_workers: how many there are.
      seed: what the generators of this process were seeded with; it differs between workers, and
        between epochs unless workers are persistent.
      dataset: this process's copy.
    """

    id: int
    num_workers: int
    seed: int
    dataset: Any


@dataclass(frozen=True)
class Failure:
    """An error of a worker.

    Args:
      error: the exception, where it can be sent.
      kind: the name of its class.
      text: the traceback.
    """

    error: BaseException | None
    kind: str
    text: str


@dataclass(frozen=True)
class Begin:
    """The first thing a worker is told in an epoch: the line that iterates."""

    loc: Loc


@dataclass(frozen=True)
class Job:
    """What a worker is started with."""

    parcel: Parcel
    id: int
    num_workers: int
    seed: int
    depth: int
    shared: bool
    loc: Loc


class Parcel:
    """Objects for another process, which opens them when it can tell of what goes wrong.

    Args:
      reading: the dataset and what becomes of it.
      init: called with the number of the worker when it starts.

    Raises:
      UsageError: when it is pickled, and something in it cannot be.
    """

    def __init__(self, reading: Reading, init: Callable[[int], object] | None) -> None:
        self._content: Any = (reading, init)

    def __getstate__(self) -> bytes:
        # by the pickler of multiprocessing, so that locks and shared values can be in it
        reading, init = self._content
        try:
            return bytes(reduction.ForkingPickler.dumps(self._content))
        except Exception as e:  # pickling calls methods of the user's classes, which raise anything
            parts = {
                "dataset": reading.dataset,
                "collate_fn": reading.collate_fn,
                "worker_init_fn": init,
            }
            name = next((n for n, value in parts.items() if not _pickles(value)), "dataset")
            raise UsageError(
                f"DataLoader: the {name} cannot be sent to worker processes: {e}",
                hint="define it at the top level of a module, or use num_workers=0; where only "
                'pickling is the obstacle, multiprocessing_context="fork" does without it',
            ) from e

    def __setstate__(self, state: bytes) -> None:
        self._content = state

    def open(self, loc: Loc) -> tuple[Reading, Callable[[int], object] | None]:
        """What is in it.

        Raises:
          UsageError: it holds an object of a class or module that is not found here.
        """
        if isinstance(self._content, bytes):
            try:
                self._content = pickle.loads(self._content)
            except (AttributeError, ImportError) as e:
                raise UsageError(
                    f"DataLoader: what was sent to a worker process cannot be opened there: {e}",
                    loc=loc,
                    hint="workers find what a module or script defines at its top level, and "
                    "nothing of an interactive session; num_workers=0 or "
                    'multiprocessing_context="fork" does without that',
                ) from e
        reading, init = self._content
        return reading, init


def _pickles(value: Any) -> bool:
    try:
        reduction.ForkingPickler.dumps(value)
    except Exception:  # whatever a method of the user's class raises
        return False
    return True


_info: WorkerInfo | None = None


def get_worker_info() -> WorkerInfo | None:
    """What a worker process knows of itself; None in any other process.

    >>> from staticgraph.data import get_worker_info
    >>> get_worker_info() is None
    True
    """
    return _info


def run(job: Job, connection: connections.Connection) -> None:
    """Be a worker until the connection is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started this one ends it
    signal.signal(signal.SIGTERM, _end)
    for inherited in OPEN:
        inherited.close()
    os.environ["STATICGRAPH_NUM_THREADS"] = "1"  # the cores belong to the workers together
    with contextlib.suppress(EOFError, ConnectionError):
        _serve(job, connection)


def _end(number: int, frame: FrameType | None) -> None:
    """Unwind what the dataset is doing, so that it can clean up."""
    raise SystemExit(128 + number)


def _serve(job: Job, connection: connections.Connection) -> None:
    sender = Sender(connection, job.depth, job.shared)
    opened = _attempt(lambda: _open(job), job.loc)
    loc = job.loc
    begun: Fetch | Failure = Failure(None, "", "")
    while True:
        task = connection.recv()
        if isinstance(task, Begin):
            loc = task.loc
            begun = opened if isinstance(opened, Failure) else _attempt(opened.begin, loc)
        elif isinstance(begun, Failure):
            sender.send(sender.pack(begun))
        else:
            message = _attempt(partial(_packed, sender, begun, task), loc)
            sender.send(sender.pack(message) if isinstance(message, Failure) else message)


def _packed(sender: Sender, fetch: Fetch, task: Any) -> Message:
    """The batch of a task, as a message; in a tuple, since a batch may be anything."""
    batch = fetch(task)
    return sender.pack(batch if batch is Mark.END else (batch,))


def _open(job: Job) -> Reading:
    """Become the worker that the job describes."""
    global _info
    reading, init = job.parcel.open(job.loc)
    _info = WorkerInfo(job.id, job.num_workers, job.seed, reading.dataset)
    random.seed(job.seed)
    np.random.seed(job.seed % 2**32)
    if init is not None:
        init(job.id)
    return reading


def _attempt(function: Callable[[], Any], loc: Loc) -> Any:
    """What a function returns, or its error in a form that can be sent."""
    try:
        return function()
    except Exception as e:  # the dataset's own, of any kind; what is none ends the process
        return _failure(_located(e, loc), traceback.format_exc())


def _failure(error: Exception, text: str) -> Failure:
    kind = type(error).__name__
    try:
        if type(pickle.loads(pickle.dumps(error))) is type(error):
            return Failure(error, kind, text)
    except Exception:  # classes with a constructor of their own, or that hold what cannot be sent
        pass
    return Failure(None, kind, text)


def _located(error: Exception, loc: Loc) -> Exception:
    """The error with the user's line, where it names the loop of the worker instead."""
    at = getattr(error, "loc", None)
    machinery = os.path.dirname(os.path.abspath(connections.__file__))
    if (
        isinstance(error, StaticGraphError)
        and isinstance(at, Loc)
        and os.path.dirname(at.file) == machinery
    ):
        located = type(error)(error.message, loc=loc, operands=error.operands, hint=error.hint)
        located.__traceback__ = error.__traceback__
        return located
    return error
