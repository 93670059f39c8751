"""The worker processes of a `DataLoader`, seen from the process that started them.

What always holds: a worker has at most `depth` tasks that it has not answered, it answers them in
order, and when a pool is closed or let go of, its processes are gone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
import weakref
from dataclasses import dataclass, field
from multiprocessing import connection as connections
from multiprocessing import context as contexts
from multiprocessing import get_all_start_methods, get_context
from multiprocessing.process import BaseProcess
from typing import Any

import numpy as np

from staticgraph.data.transport import SHARED, Receiver
from staticgraph.data.worker import OPEN, Begin, Failure, Job, Parcel, run
from staticgraph.errors import UsageError, WorkerError, WorkerTimeoutError
from staticgraph.ir.loc import Loc

GRACE = 2.0  # seconds that workers have to end before they are killed
_GUARD = 'a script that starts workers must do so under: if __name__ == "__main__":'


def choose_context(wanted: Any) -> contexts.BaseContext:
    """How processes are started: as wanted, else safely.

    A fork copies the locks of threads that it does not copy, and this process has threads; so
    workers come from a server that has none, or start afresh.
    """
    if wanted is None:
        fresh = sys.platform == "darwin" or "forkserver" not in get_all_start_methods()
        wanted = "spawn" if fresh else "forkserver"
    if isinstance(wanted, str):
        if wanted not in get_all_start_methods():
            raise ValueError(f"one of {', '.join(get_all_start_methods())}, not {wanted!r}")
        wanted = get_context(wanted)
    if isinstance(wanted, contexts.BaseContext):
        return wanted
    raise ValueError(f"the name of a start method or a context, not {wanted!r}")


def _preload(context: contexts.BaseContext) -> None:
    """Have the server of forks import this package once, and not each worker."""
    if context.get_start_method() != "forkserver":
        return
    from multiprocessing import forkserver

    server = forkserver._forkserver
    if getattr(server, "_preload_modules", None) == ["__main__"]:  # nobody has asked for others
        context.set_forkserver_preload(["__main__", "staticgraph.data.worker"])


@dataclass
class _Worker:
    number: int
    process: BaseProcess
    receiver: Receiver
    sent: int = 0
    received: int = 0
    pid: int = field(init=False)

    def __post_init__(self) -> None:
        self.pid = self.process.pid or 0

    def __str__(self) -> str:
        return f"worker {self.number} (process {self.pid})"


class Pool:
    """Worker processes and what is on its way to and from them.

    Args:
      parcel: what the workers read.
      seeds: one for each worker.
      depth: how many tasks a worker may have at once.
      timeout: seconds to wait for an answer; 0 for as long as it takes.
      context: how processes are started.
      loc: the user's line.

    Raises:
      UsageError: processes cannot be started here, or the dataset cannot be sent to them.
      WorkerError: the system has no process or no open file left for a worker.
    """

    def __init__(
        self,
        parcel: Parcel,
        seeds: list[int],
        depth: int,
        timeout: float,
        context: contexts.BaseContext,
        loc: Loc,
    ) -> None:
        self.epoch = 0
        self.depth = depth
        self.size = len(seeds)
        self._timeout = timeout or None
        self._loc = loc
        self._workers: list[_Worker] = []
        self._finalizer = weakref.finalize(self, _end_all, self._workers, os.getpid())
        _preload(context)
        try:
            for i, seed in enumerate(seeds):
                self._start(Job(parcel, i, len(seeds), seed, depth, SHARED, loc), context)
        except OSError as e:
            number = len(self._workers)
            self.close()
            raise WorkerError(
                f"DataLoader: worker {number} cannot be started: {e.strerror or e}",
                loc=loc,
                hint="fewer workers take fewer processes and open files",
            ) from e
        except BaseException:  # an interrupt, too, leaves no processes behind
            self.close()
            raise

    def _start(self, job: Job, context: contexts.BaseContext) -> None:
        here, there = context.Pipe()
        OPEN.add(here)
        try:
            process: BaseProcess = context.Process(  # type: ignore[attr-defined]
                target=run, args=(job, there), name=f"DataLoader worker {job.id}", daemon=True
            )
            _launch(process, self._loc)
        except BaseException:  # an interrupt, too, leaves no descriptor behind
            here.close()
            raise
        finally:
            there.close()
        self._workers.append(_Worker(job.id, process, Receiver(here)))

    @property
    def alive(self) -> bool:
        """Whether it has not been closed."""
        return self._finalizer.alive

    def begin(self, loc: Loc) -> int:
        """Begin an epoch, throwing away what is left of the one before; returns its number."""
        self._loc = loc
        for worker in self._workers:
            while worker.received < worker.sent:
                self._receive(worker)
            self._tell(worker, Begin(loc))
        self.epoch += 1
        return self.epoch

    def send(self, number: int, task: Any) -> None:
        """Give a worker a task."""
        worker = self._workers[number]
        self._tell(worker, task)
        worker.sent += 1

    def receive(self, number: int) -> Any:
        """The answer to the oldest task of a worker.

        Raises:
          WorkerError: a worker has died, or had an error that cannot be sent.
          WorkerTimeoutError: the answer has not come in time.
        """
        worker = self._workers[number]
        answer = self._receive(worker)
        if not isinstance(answer, Failure):
            return answer
        report = WorkerError(
            f"DataLoader: {worker} raised {answer.kind}",
            loc=self._loc,
            operands=answer.text.rstrip().splitlines(),
        )
        if answer.error is None:
            raise report
        raise answer.error from report

    def _tell(self, worker: _Worker, message: Any) -> None:
        try:
            worker.receiver.connection.send(message)
        except (BrokenPipeError, ConnectionResetError):
            raise self._died(worker) from None

    def _receive(self, worker: _Worker) -> Any:
        connection = worker.receiver.connection
        sentinels = {w.process.sentinel: w for w in self._workers}
        ready = connections.wait([connection, *sentinels], self._timeout)
        if not ready:
            raise WorkerTimeoutError(
                f"DataLoader: {worker} has not answered for {self._timeout:g} seconds",
                loc=self._loc,
                hint="its dataset may be stuck; a longer timeout= waits longer, timeout=0 for ever",
            )
        if connection not in ready and not connection.poll():
            raise self._died(next(w for s, w in sentinels.items() if s in ready))
        try:
            answer = worker.receiver.receive()
        except (EOFError, ConnectionResetError):
            raise self._died(worker) from None
        worker.received += 1
        return answer

    def _died(self, worker: _Worker) -> WorkerError:
        worker.process.join(GRACE)
        how, hint = _ending(worker.process.exitcode)
        if not worker.received:
            how += " before it gave its first batch"
            hint = hint or f"its own messages tell why; {_GUARD}"
        return WorkerError(f"DataLoader: {worker} {how}", loc=self._loc, hint=hint)

    def close(self) -> None:
        """End the processes."""
        self._finalizer()


def _launch(process: BaseProcess, loc: Loc) -> None:
    """Start a process, or say why that cannot be."""
    try:
        process.start()
    except UsageError as e:  # made while it was pickled, where no line is known
        raise UsageError(e.message, loc=loc, hint=e.hint) from e.__cause__
    except AssertionError as e:
        raise UsageError(
            "DataLoader: worker processes cannot be started by a process that is itself a "
            "daemon, such as a worker",
            loc=loc,
            hint="num_workers=0 reads in this process",
        ) from e
    except RuntimeError as e:
        if "bootstrapping" not in str(e):
            raise
        raise UsageError(
            "DataLoader: workers are started while a worker imports this script",
            loc=loc,
            hint=_GUARD,
        ) from None


def _ending(code: int | None) -> tuple[str, str | None]:
    """How a process has ended, in words, and a hint."""
    if code is None:
        return "closed its connection", None
    number = -code if code < 0 else code - 128
    with contextlib.suppress(ValueError):
        name = signal.Signals(number).name if code < 0 or number > 0 else ""
        if name:
            hint = "the system may have run out of memory" if name == "SIGKILL" else None
            return f"was killed by {name} (exit code {code})", hint
    return f"ended with exit code {code}", None


def _end_all(workers: list[_Worker], owner: int) -> None:
    """End processes, by and by with more force; a fork of their owner leaves them alone."""
    if os.getpid() != owner:
        return
    try:
        for worker in workers:
            worker.receiver.close()  # those that wait for a task end now
            if worker.received < worker.sent:
                worker.process.terminate()
        until = time.monotonic() + GRACE
        for worker in workers:
            worker.process.join(max(0.0, until - time.monotonic()))
    finally:
        for worker in workers:
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.process.close()
        workers.clear()


def worker_seeds(base: int, epoch: int, count: int) -> list[int]:
    """A seed for each worker of an epoch."""
    return [
        int(np.random.SeedSequence([base, epoch, i]).generate_state(1, np.uint64)[0])
        for i in range(count)
    ]
