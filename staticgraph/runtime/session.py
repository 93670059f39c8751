"""`Session`: compiles what is fetched, once, and runs it over and over."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from staticgraph.errors import FeedError, GraphGrowthWarning, UsageError
from staticgraph.ir import loc
from staticgraph.ir.evaluate import BrokenGuardError
from staticgraph.ir.graph import Graph, get_default_graph
from staticgraph.ir.tensor import Tensor, sessions
from staticgraph.ir.types import TensorType
from staticgraph.passes.close import OpenRankError, close
from staticgraph.runtime.compile import compile_function, function_stages, specialised_types
from staticgraph.runtime.config import ConfigProto
from staticgraph.runtime.executable import Executable
from staticgraph.runtime.explain import Explanation, program_report, report
from staticgraph.runtime.fetches import FetchPlan, feed_array, feed_tensors, feed_type
from staticgraph.runtime.store import Store

GROWTH_RUNS = 8  # runs in a row that find a larger graph before the warning


@dataclass(slots=True)
class _Entry:
    """What one combination of fetches and feeds compiles to; several where sizes are special."""

    plan: FetchPlan
    tensors: tuple[Tensor, ...]
    executables: list[tuple[tuple[TensorType, ...], Executable]]
    plain: bool = True  # feeds are keyed one by one, in the order of `tensors`
    last: Executable | None = None


class BaseSession:
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
        self._entries: dict[Any, _Entry] = {}
        self._closed = False
        self._seen_version = -1
        self._growing = 0
        level = getattr(self.config.graph_options.optimizer_options, "opt_level", 0)  # type: ignore[attr-defined]
        self._optimize = level >= 0
        self._threads = int(getattr(self.config, "intra_op_parallelism_threads", 0) or 0)

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

        Returns:
          numpy scalars for scalars, fresh arrays otherwise, None for operations.  A variable gives
          its value at the end of the run.

        Raises:
          FeedError: a feed is missing, unknown, or of the wrong shape or dtype.
          FetchError: a fetch is not in the graph.
          UninitializedError: a variable is read that has no value yet.
          OpError: an operation failed; no variable has changed.
        """
        with self._lock:
            entry = self._entry_of(fetches, feed_dict)
            if not feed_dict:
                return self._run(entry, ())
            if entry.plain:
                return self._run(entry, feed_dict.values())
            return self._run(entry, feed_tensors(self._graph, feed_dict).values())

    def _run(self, entry: _Entry, values: Collection[Any]) -> Any:
        """Run what `entry` stands for; values are in the order of its tensors."""
        if entry.last is not None:
            results = entry.last.again(values, self._store)
            if results is not None:
                return entry.plan.rebuild(results)
        arrays = [_array(t, v) for t, v in zip(entry.tensors, values, strict=True)]
        return entry.plan.rebuild(self._execute(entry, arrays))

    def _entry_of(self, fetches: Any, feed_dict: Mapping[Any, Any] | None) -> _Entry:
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

    def _entry(self, key: Any, fetches: Any, feed_dict: Mapping[Any, Any] | None) -> _Entry:
        if self._closed:
            raise UsageError("the session is closed", loc=loc.caller())
        plan = FetchPlan(self._graph, fetches)
        tensors = tuple(feed_tensors(self._graph, feed_dict))
        plain = not any(isinstance(k, tuple) for k in feed_dict or ())
        entry = _Entry(plan, tensors, [], plain)
        self._entries[key] = entry
        return entry

    def _execute(self, entry: _Entry, arrays: Sequence[np.ndarray]) -> list[Any]:
        broken: BrokenGuardError | None = None
        for types, exe in entry.executables:
            if not all(_admits(t, a) for t, a in zip(types, arrays, strict=True)):
                continue
            if exe.asked and any(self._store.rank(v) != rank for v, rank in exe.asked.items()):
                continue
            try:
                results = exe.run(arrays, self._store)
            except BrokenGuardError as e:
                broken, last = e, (types, exe)
            else:
                entry.last = exe
                return results
        if broken is None:
            types = tuple(feed_type(t, a) for t, a in zip(entry.tensors, arrays, strict=True))
            reason = "first run of these fetches"
        else:
            fixed = specialised_types(
                last[1].function, entry.tensors, dict(zip(entry.tensors, last[0], strict=True)),
                arrays, broken,
            )  # fmt: skip
            types = tuple(fixed[t] for t in entry.tensors)
            reason = f"sizes broke the assumption {broken}"
            if any(types == tried for tried, _ in entry.executables):
                raise FeedError(broken.message, loc=broken.sites[0].loc)
        try:
            exe = self._compile(entry, types, reason)
        except OpenRankError:
            fixed_types = tuple(
                TensorType(t.dtype, a.shape) for t, a in zip(types, arrays, strict=True)
            )
            if types == fixed_types:
                raise
            types = fixed_types
            exe = self._compile(entry, types, "a rank hangs on the sizes")
        entry.executables.insert(0, (types, exe))
        return self._execute_new(entry, exe, arrays)

    def _execute_new(
        self, entry: _Entry, exe: Executable, arrays: Sequence[np.ndarray]
    ) -> list[Any]:
        try:
            return exe.run(arrays, self._store)
        except BrokenGuardError:
            return self._execute(entry, arrays)

    def _compile(self, entry: _Entry, types: Sequence[TensorType], reason: str) -> Executable:
        feeds = dict(zip(entry.tensors, types, strict=True))
        asked: dict[str, int | None] = {}
        closed = close(
            self._graph, entry.plan.fetches, feeds, tuple(entry.plan.final),
            values=self._store.arrays, asked=asked,
        )  # fmt: skip
        exe = compile_function(closed, self._optimize, reason=reason, threads=self._threads)
        exe.asked = asked
        for p in closed.params:  # a stream without a seed starts anywhere
            if p.kind != "counter" or p.name in self._store.counters:
                continue
            if self._graph.get_operation_by_name(p.name).attrs.get("nondeterministic"):
                self._store.counters[p.name] = int.from_bytes(os.urandom(5), "little") << 16
        return exe

    def _notice_growth(self) -> None:
        version = self._graph.version
        self._growing = self._growing + 1 if self._seen_version >= 0 else 0
        self._seen_version = version
        if self._growing == GROWTH_RUNS:
            last = self._graph.get_operations()[-1]
            warnings.warn(
                GraphGrowthWarning(
                    "operations are added to the graph between runs: "
                    f"{last.type} {last.name!r} is made "
                    f"again and again at\n  {last.loc.excerpt()}\n"
                    "  hint: build the graph once, before the loop; "
                    "graph.finalize() finds such lines"
                ),
                stacklevel=2,
            )

    def make_callable(
        self, fetches: Any, feed_list: Sequence[Any] | None = None, accept_options: bool = False
    ) -> Callable[..., Any]:
        """A function of the fed values, in the order of `feed_list`: the way to run a hot loop.

        >>> import staticgraph as tf
        >>> with tf.Graph().as_default(), tf.Session() as sess:
        ...     a = tf.placeholder(tf.float32, [])
        ...     step = sess.make_callable(a + 1.0, [a])
        ...     print(step(2.0))
        3.0
        """
        del accept_options
        tensors = tuple(feed_tensors(self._graph, {t: 0.0 for t in feed_list or ()}))
        entry = _Entry(FetchPlan(self._graph, fetches), tensors, [])
        n = len(tensors)

        def run(*values: Any, **_: Any) -> Any:
            if len(values) != n:
                raise FeedError(
                    f"the callable takes {n} values, got {len(values)}", loc=loc.caller()
                )
            with self._lock:
                if self._closed:
                    raise UsageError("the session is closed", loc=loc.caller())
                return self._run(entry, values)

        with self._lock:
            self._entries[object()] = entry
        return run

    # ---- life
    def close(self) -> None:
        """Release what the session holds; it cannot run any more."""
        with self._lock:
            self._closed = True
            self._entries.clear()
            self._store = Store()

    def as_default(self) -> Any:
        """A context in which `eval` and `run` use this session."""
        return _default(self)

    def executables(self) -> list[Executable]:
        """Everything compiled so far."""
        return [e for entry in self._entries.values() for _, e in entry.executables]

    def explain(self, fetches: Any = None, sources: bool = False) -> Explanation:
        """Tell what was compiled and why, what each kernel computes, and the memory of each plan.

        Args:
          fetches: tell only of runs of these fetches; if there was none they are compiled as far
            as their program.
          sources: show the kernels' sources too.

        >>> import staticgraph as tf
        >>> with tf.Graph().as_default(), tf.Session() as sess:
        ...     x = tf.placeholder(tf.float32, [None], name="x")
        ...     y = tf.exp(-x, name="y")
        ...     _ = sess.run(y, {x: [1.0, 2.0]})
        ...     print(sess.explain())
        1 executable, 1 kernel
        executable 0: y:0
          compiled: first run of these fetches; 1 run, each one native call
          feeds x:0: f32[n0]
          steps
            launch k0(%x, mut %y) over n0
              Neg, Exp at ...
          plans
            n0=2: 1 step, 64 bytes of temporaries, 72 planned in all
        """
        with self._lock:
            wanted = None if fetches is None else FetchPlan(self._graph, fetches)
            reports = [
                report(entry.plan, exe)
                for entry in self._entries.values()
                if wanted is None or _needs(entry.plan) == _needs(wanted)
                for _, exe in reversed(entry.executables)
            ]
        if wanted is not None and not reports:
            made = function_stages(self._graph, fetches, optimize=self._optimize)
            assert made.program is not None
            reports = [program_report(wanted, made.program, "no, these fetches were not run", "")]
        return Explanation(tuple(reports), sources)

    def __repr__(self) -> str:
        state = (
            "closed"
            if self._closed
            else f"{len(self._store.arrays)} variables, {len(self.executables())} executables"
        )
        return f"<tf.{type(self).__name__} of {self._graph!r}, {state}>"


@contextmanager
def _default(session: BaseSession) -> Iterator[BaseSession]:
    stack = sessions()
    stack.append(session)
    try:
        yield session
    finally:
        stack.remove(session)


def _needs(plan: FetchPlan) -> set[Any]:
    return {*plan.fetches, *plan.final}


def _array(t: Tensor, value: Any) -> np.ndarray:
    """`feed_array`, with a short way for arrays that already fit."""
    if type(value) is np.ndarray and value.dtype == t.type.dtype.np and t.type.shape is not None:
        shape = value.shape
        if len(shape) == len(t.type.shape):
            for d, w in zip(shape, t.type.shape, strict=True):
                if d != w and isinstance(w, int):
                    break
            else:
                return value
    return feed_array(t, value)


def _admits(type_: TensorType, a: np.ndarray) -> bool:
    """True where an array fits the sizes an executable was compiled for."""
    return (
        type_.shape is not None
        and len(type_.shape) == a.ndim
        and all(not isinstance(w, int) or w == d for d, w in zip(a.shape, type_.shape, strict=True))
    )


def _frozen(x: Any) -> Any:
    if isinstance(x, (list, tuple)):
        return (type(x), *map(_frozen, x))
    if isinstance(x, Mapping):
        return (dict, *((k, _frozen(v)) for k, v in x.items()))
    return x


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
