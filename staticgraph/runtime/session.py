"""`Session`: compiles what is fetched, once, and runs it over and over."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import numpy as np

from staticgraph.errors import (
    FeedError,
    GraphGrowthWarning,
    SessionClosedError,
    UsageError,
)
from staticgraph.ir import loc
from staticgraph.ir.evaluate import BrokenGuardError
from staticgraph.ir.graph import Graph, get_default_graph
from staticgraph.ir.tensor import sessions
from staticgraph.runtime.compile import function_stages
from staticgraph.runtime.config import ConfigProto
from staticgraph.runtime.entries import RunEntry
from staticgraph.runtime.executable import Executable
from staticgraph.runtime.explain import (
    Explanation,
    call_bytes,
    explanation,
    forecast,
    names_of,
    report,
)
from staticgraph.runtime.fetches import FetchPlan, check_feed_dict, feed_tensors
from staticgraph.runtime.fetches import fed_array as _array
from staticgraph.runtime.fetches import frozen as _frozen
from staticgraph.runtime.quick import BUSY, SEEN, Quick, native_entry, state_words
from staticgraph.runtime.specialise import Specialising
from staticgraph.runtime.store import Store

if TYPE_CHECKING:
    from staticgraph.runtime.profile import Profile

GROWTH_RUNS = 8  # runs in a row that find a larger graph before the warning


class BaseSession(Specialising):
    """Runs operations of one graph and holds the values of its variables.

    Args:
      target: accepted for compatibility; only the local process is offered.
      graph: the graph to run; the default graph by default.
      config: see `ConfigProto`.

    A run is atomic: if it fails, every variable is as it was.  Runs of one session from several
    threads follow one another.

    >>> import staticgraph as tf
    >>> with tf.Graph().as_default(), tf.Session() as sess:
    ...     x = tf.placeholder(tf.float32, [None])
    ...     y = tf.reduce_sum(x * x)
    ...     print(sess.run(y, {x: [1.0, 2.0]}))
    5.0
    """

    __slots__ = ("__dict__", "__weakref__", "_words")  # native code finds its words by the slot

    def __init__(
        self, target: str = "", graph: Graph | None = None, config: ConfigProto | None = None
    ) -> None:
        if graph is not None and not isinstance(graph, Graph):
            raise UsageError(f"graph must be a Graph, got {type(graph).__name__}", loc=loc.caller())
        self._graph = graph if graph is not None else get_default_graph()
        self.config = config or ConfigProto()
        self._target = target
        self._store = Store()
        self._lock = threading.RLock()
        self._words = state_words()
        self._quick = Quick(self._words, self._lock, self._graph.operations, self._store, _native)
        self._entries: dict[Any, RunEntry] = {}
        self._closed = self._cut = False
        self._seen_version = -1
        self._growing = 0
        level = getattr(self.config.graph_options.optimizer_options, "opt_level", 0)  # type: ignore[attr-defined]
        self._optimize = level >= 0
        self._threads = _threads(self.config)
        _living.add(self)

    @property
    def graph(self) -> Graph:
        """The graph that is run."""
        return self._graph

    @property
    def sess_str(self) -> str:
        """The target."""
        return self._target

    @property
    def graph_def(self) -> str:
        """The graph as text."""
        return self._graph.as_graph_def()

    def list_devices(self) -> list[str]:
        """Names of the devices that can be used."""
        return ["/job:localhost/replica:0/task:0/device:CPU:0"]

    # ---- running
    def run(
        self, fetches: Any, feed_dict: Mapping[Any, Any] | None = None, options: Any = None,
        run_metadata: Any = None,
    ) -> Any:  # fmt: skip
        """Run what `fetches` needs and return its values in the same structure.

        Args:
          fetches: a tensor, operation, variable, or name, or nested lists, tuples, dicts of them.
          feed_dict: values for placeholders (or for any tensor, which cuts the graph there).
          options, run_metadata: with `RunOptions(trace_level=RunOptions.FULL_TRACE)` the run's
            times are left in ``run_metadata.step_stats``; see `profile` for more than one run.

        Returns:
          numpy scalars for scalars, fresh arrays otherwise, None for operations.  A variable gives
          its value at the end of the run.

        Raises:
          FeedError: a feed is missing, unknown, or of the wrong shape or dtype.
          FetchError: a fetch is not in the graph.
          UninitializedError: a variable is read that has no value yet.
          OpError: an operation failed; no variable has changed.
        """
        if run_metadata is not None and getattr(options, "trace_level", False):
            with self._traced(run_metadata):
                return self.run(fetches, feed_dict)
        return self._alone(self._run_fetches, fetches, feed_dict)

    def _alone(self, run: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function while no other thread runs anything here, in Python or natively."""
        outermost = not self._lock._is_owned()  # type: ignore[attr-defined]
        with self._lock:
            self._words[BUSY] = 1
            try:
                return run(*arguments)
            finally:
                if outermost:
                    self._words[BUSY] = 0

    def _run_fetches(self, fetches: Any, feed_dict: Mapping[Any, Any] | None) -> Any:
        entry = self._entry_of(fetches, feed_dict)
        if not feed_dict:
            return self._run(entry, ())
        if entry.plain:
            return self._run(entry, feed_dict.values())
        return self._run(entry, feed_tensors(self._graph, feed_dict).values())

    def _run(self, entry: RunEntry, values: Collection[Any]) -> Any:
        """Run what `entry` stands for; values are in the order of its tensors."""
        last = entry.last
        if last is not None:
            try:
                results = last.again(values, self._store)
            except BrokenGuardError:  # of a branch that was not chosen before
                results = None
            if results is not None:
                if entry.shown is not last.last:
                    self._quick.show(entry, last)
                return entry.plan.rebuild(results)
        arrays = [_array(t, v) for t, v in zip(entry.tensors, values, strict=True)]
        results = self._execute(entry, arrays)
        ran = entry.last
        if ran is not None and (entry.shown is not None or ran.known):
            self._quick.show(entry, ran)
        return entry.plan.rebuild(results)

    def _entry_of(self, fetches: Any, feed_dict: Mapping[Any, Any] | None) -> RunEntry:
        if feed_dict is not None and type(feed_dict) is not dict:
            check_feed_dict(feed_dict)
        try:
            key = (
                (list, *fetches, *map(type, fetches)) if type(fetches) is list
                else (type(fetches), fetches),
                tuple(feed_dict) if feed_dict else (),
            )  # fmt: skip
            entry = self._entries.get(key)
        except TypeError:  # unhashable: nested lists or dicts
            key = (_frozen(fetches), tuple(feed_dict) if feed_dict else ())
            entry = self._entries.get(key)
        if entry is None or self._closed:
            entry = self._entry(key, fetches, feed_dict)
        if self._graph.version != self._seen_version:
            self._notice_growth()
        return entry

    def _refuse(self) -> None:
        """Say why nothing can be run.

        Raises:
          SessionClosedError: always.
        """
        if self._cut:
            text = "the session was running in another thread when this process was forked from its"
            hint = "fork between runs, or make a session of its own in the child"
            raise SessionClosedError(f"{text} parent", loc=loc.caller(), hint=hint)
        raise SessionClosedError("the session is closed", loc=loc.caller())

    def _entry(self, key: Any, fetches: Any, feed_dict: Mapping[Any, Any] | None) -> RunEntry:
        if self._closed:
            self._refuse()
        plan = FetchPlan(self._graph, fetches)
        tensors = tuple(feed_tensors(self._graph, feed_dict))
        plain = not any(isinstance(k, tuple) or hasattr(k, "components") for k in feed_dict or ())
        written = fetches.copy() if type(fetches) is list else fetches
        entry = RunEntry(
            plan, tensors, [], plain, written=written, keys=tuple(feed_dict or ())
        )  # fmt: skip
        self._entries[key] = entry
        return entry

    def _notice_growth(self) -> None:
        version = self._graph.version
        self._growing = self._growing + 1 if self._seen_version >= 0 else 0
        self._seen_version = version
        self._words[SEEN] = version
        if self._growing == GROWTH_RUNS:
            last = self._graph.get_operations()[-1]
            loc.warn(
                GraphGrowthWarning(
                    "operations are added to the graph between runs: "
                    f"{last.type} {last.name!r} is made "
                    f"again and again at\n  {last.loc.excerpt()}\n"
                    "  hint: build the graph once, before the loop; "
                    "graph.finalize() finds such lines"
                )
            )

    def make_callable(
        self, fetches: Any, feed_list: Sequence[Any] | None = None, accept_options: bool = False
    ) -> Callable[..., Any]:
        """A function of the fed values, in the order of `feed_list`: the way to run a hot loop.

        Args:
          accept_options: let the function take `options` and `run_metadata`, as `run` does.

        >>> import staticgraph as tf
        >>> with tf.Graph().as_default(), tf.Session() as sess:
        ...     a = tf.placeholder(tf.float32, [])
        ...     step = sess.make_callable(a + 1.0, [a])
        ...     print(step(2.0))
        3.0
        """
        tensors = tuple(feed_tensors(self._graph, {t: 0.0 for t in feed_list or ()}))
        plan = FetchPlan(self._graph, fetches)
        entry = RunEntry(plan, tensors, [], written=fetches, keys=tensors)
        n = len(tensors)

        def run(*values: Any, **_: Any) -> Any:
            if len(values) != n:
                raise FeedError(
                    f"the callable takes {n} values, got {len(values)}", loc=loc.caller()
                )
            return self._alone(run_values, values)

        def run_values(values: Sequence[Any]) -> Any:
            if self._closed:
                self._refuse()
            return self._run(entry, values)

        with self._lock:
            self._entries[object()] = entry

        def run_with(*values: Any, options: Any = None, run_metadata: Any = None) -> Any:
            if run_metadata is None or not getattr(options, "trace_level", False):
                return run(*values)
            with self._traced(run_metadata):
                return run(*values)

        python = run_with if accept_options else run
        return self._quick.function(entry, python) or python

    # ---- profiling
    def profile(self) -> AbstractContextManager[Profile]:
        """Time all runs made meanwhile, in any thread: every kernel, library call and host step.

        Runs that are not profiled have no part in it: they are no slower for its being there.

        >>> import staticgraph as tf
        >>> with tf.Graph().as_default(), tf.Session() as sess:
        ...     x = tf.placeholder(tf.float32, [None])
        ...     y = tf.exp(-x)
        ...     with sess.profile() as profile:
        ...         _ = sess.run(y, {x: [1.0, 2.0]})
        ...     print(profile)  # profile.save("trace.json") writes it for Chrome's tracing page
        profile of 1 run in ...

        Raises:
          UsageError: the session is being profiled already, or is closed.
        """
        from staticgraph.runtime.profiling import profiling  # which most programs do without

        return profiling(self, loc.caller())

    def _traced(self, run_metadata: Any) -> AbstractContextManager[None]:
        from staticgraph.runtime.profiling import traced

        return traced(self, run_metadata)

    # ---- life
    def close(self) -> None:
        """Release what the session holds; it cannot run any more."""
        with self._lock:
            self._closed = True
            self._quick.close()
            self._entries.clear()
            self._store = Store()

    def _forked(self) -> None:
        """Go on in a forked child: a run that a thread of the parent makes never ends here."""
        if self._lock.acquire(blocking=False):
            self._lock.release()
            return
        self._lock._at_fork_reinit()  # type: ignore[attr-defined]  # in place: native code has it
        self._words[BUSY] = 0
        self._cut = True
        self.close()

    def as_default(self) -> Any:
        """A context in which `eval` and `run` use this session."""
        return _default(self)

    def executables(self) -> list[Executable]:
        """Everything compiled so far."""
        return [e for entry in self._entries.values() for _, e in entry.executables]

    def explain(
        self, fetches: Any = None, sources: bool = False,
        feed_dict: Mapping[Any, Any] | None = None,
    ) -> Explanation:  # fmt: skip
        """Tell what was compiled and why, what each kernel computes, and the memory of each plan.

        Args:
          fetches: tell only of runs of these fetches; if there was none they are compiled as far
            as their program.
          sources: show the kernels' sources too.
          feed_dict: what a run of `fetches` would be fed: tells its memory, whatever was run.

        Raises:
          FetchError, FeedError: as `run` does.
          UsageError: there is a `feed_dict` and no `fetches`.

        >>> import staticgraph as tf
        >>> with tf.Graph().as_default(), tf.Session() as sess:
        ...     x = tf.placeholder(tf.float32, [None], name="x")
        ...     y = tf.exp(-x, name="y")
        ...     _ = sess.run(y, {x: [1.0, 2.0]})
        ...     print(sess.explain())
        1 executable, 1 kernel, ... bytes planned, ... of them for calls
        executable 0: y:0
          compiled: first run of these fetches; 1 run, each one native call
          feeds x:0: f32[n0]
          steps
            launch k0(%x, mut %y) over n0
              Neg, Exp at ...
              with n0=2: reads 8 bytes, writes 8, 4 flops
          plans
            n0=2: 1 step, 272 bytes planned: arena 128, staging 72, results 8, table 64
        """
        check_feed_dict(feed_dict)
        if feed_dict is not None and fetches is None:
            raise UsageError(
                "explain is given a feed_dict without fetches", loc=loc.caller(),
                hint="it tells of a run ahead: say of which fetches",
            )  # fmt: skip
        with self._lock:
            wanted = None if fetches is None else FetchPlan(self._graph, fetches)
            reports = [
                report(names_of(entry.plan), exe)
                for entry in self._entries.values()
                if wanted is None or entry.plan.needs == wanted.needs
                for _, exe in reversed(entry.executables)
            ]
        if wanted is not None and (feed_dict is not None or not reports):
            fed = {} if feed_dict is None else feed_tensors(self._graph, feed_dict)
            arrays = {t.name: _array(t, v) for t, v in fed.items()}
            made = function_stages(
                self._graph, fetches, list(fed) if feed_dict is not None else None,
                optimize=self._optimize,
            )  # fmt: skip
            assert made.program is not None
            reason = (
                "no, this tells of a run ahead" if reports else "no, these fetches were not run"
            )
            reports = [forecast(wanted, made.program, arrays, self._store, reason)]
        graph = self._graph if fetches is None else None
        calls = call_bytes(self._words, self._store, self._entries.values())
        return explanation(reports, sources, self._store.held, graph, calls)

    def __repr__(self) -> str:
        state = (
            "closed"
            if self._closed
            else f"{len(self._store.arrays)} variables, {len(self.executables())} executables"
        )
        return f"<tf.{type(self).__name__} of {self._graph!r}, {state}>"


def _threads(config: ConfigProto) -> int:
    """The number of threads that the options ask for; 0 leaves it to the runtime."""
    wanted = getattr(config, "intra_op_parallelism_threads", 0) or 0
    if not isinstance(wanted, int | np.integer) or wanted < 0:
        message = f"intra_op_parallelism_threads is {wanted!r}, which is no number of threads"
        raise UsageError(message, loc=loc.caller(), hint="0 lets the runtime choose")
    return int(wanted)


def _after_fork() -> None:
    for session in list(_living):
        session._forked()


_living: WeakSet[BaseSession] = WeakSet()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

_native = partial(native_entry, BaseSession, "_words", BaseSession.run)


@contextmanager
def _default(session: BaseSession) -> Iterator[BaseSession]:
    stack = sessions()
    stack.append(session)
    try:
        yield session
    finally:
        stack.remove(session)


class Session(BaseSession):
    """A session; as a context manager it is the default session and its graph the default graph.

    >>> import staticgraph as tf
    >>> with tf.Graph().as_default():
    ...     v = tf.Variable(1.0)
    ...     with tf.Session() as sess:
    ...         sess.run(tf.global_variables_initializer())
    ...         print(sess.run(v + 1.0))
    2.0
    """

    def __init__(
        self, target: str = "", graph: Graph | None = None, config: ConfigProto | None = None
    ) -> None:
        super().__init__(target, graph, config)
        self._contexts: list[Any] = []

    def __enter__(self) -> Session:
        graph, default = self._graph.as_default(), _default(self)
        graph.__enter__()
        default.__enter__()
        self._contexts.append((graph, default))
        return self

    def __exit__(self, *error: Any) -> None:
        graph, default = self._contexts.pop()
        default.__exit__(*error)
        graph.__exit__(*error)
        self.close()

    @staticmethod
    def reset(target: str = "", containers: Any = None, config: Any = None) -> None:
        """Accepted for compatibility; sessions share no state."""


class InteractiveSession(BaseSession):
    """A session that is the default one from its making until it is closed."""

    def __init__(
        self, target: str = "", graph: Graph | None = None, config: ConfigProto | None = None
    ) -> None:
        super().__init__(target, graph, config)
        self._default = _default(self)
        self._default.__enter__()
        self._as_graph = self._graph.as_default() if graph is not None else None
        if self._as_graph is not None:
            self._as_graph.__enter__()

    def close(self) -> None:
        """Close, and stop being the default session."""
        if not self._closed:
            super().close()
            if self._as_graph is not None:
                self._as_graph.__exit__(None, None, None)
            self._default.__exit__(None, None, None)


def get_default_session() -> BaseSession | None:
    """The innermost default session of this thread, or None."""
    stack = sessions()
    return stack[-1] if stack else None
