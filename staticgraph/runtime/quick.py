"""Native runs: what the function of `codegen.entry` has to know of a session and its plans.

The second time that fetches and feeds come with the same sizes, their plan is described in blocks
of words, and an entry for them goes into a table of the session; plans for other sizes join it when
they come.  From then on `Session.run`, or what `make_callable` returned, is one native function
that finds the entry and the plan for the shapes of the feeds, takes these where they are, walks the
plan and makes the results.  Whatever it does not know it leaves to the Python code in `session` and
`executable`, which gives the same results.

`STATICGRAPH_CALLS=python` does without; so do runs that are profiled.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from staticgraph.codegen import entry_blocks as blocks
from staticgraph.codegen.driver import walk_address
from staticgraph.codegen.entry import Entry, available, slot_of
from staticgraph.errors import CompileError, CompileFallbackWarning
from staticgraph.ir import loc
from staticgraph.ir.program import Buffer
from staticgraph.runtime.fetches import FetchPlan
from staticgraph.runtime.footprint import DIRECT_FEED
from staticgraph.runtime.plan import Plan, failure, step_failure
from staticgraph.runtime.store import Store, address
from staticgraph.runtime.table import Table
from staticgraph.runtime.threads import KEEP_LOCK

if TYPE_CHECKING:
    from staticgraph.runtime.entries import RunEntry
    from staticgraph.runtime.executable import Executable

STATE_WORDS = blocks.STATE.index("table") + blocks.TABLE
BUSY, ASIDE, SEEN = (blocks.STATE.index(word) for word in ("busy", "aside", "seen"))
_NUMBERS = {"float32": blocks.FLOAT32, "float64": blocks.FLOAT64}


class Lock(Protocol):
    """A lock whose methods native code calls."""

    def acquire(self, blocking: bool = True) -> bool:
        """Take the lock."""
        ...

    def release(self) -> None:
        """Give it back."""
        ...


def wanted() -> bool:
    """True unless $STATICGRAPH_CALLS is ``python``, or this is no Python that native calls know."""
    return os.environ.get("STATICGRAPH_CALLS", "") != "python" and available()


def state_words() -> np.ndarray:
    """A session's words, before anything runs natively."""
    return np.zeros(STATE_WORDS, np.int64)


@cache
def native_entry(cls: type, slot: str, python_run: Callable[..., Any]) -> Entry | None:
    """The native function, which is `cls.run` from now on; None where it cannot be made.

    Args:
      cls: the class of sessions.
      slot: what holds their words.
      python_run: the method that does all that the native one does not.
    """
    try:
        made = Entry(slot_of(cls, slot), python_run)
    except CompileError as e:
        loc.warn(
            CompileFallbackWarning(
                f"{e.message}; runs are called through Python, which takes longer"
            )
        )
        return None
    text = f"run($self, /, {_ARGUMENTS})\n--\n\n{python_run.__doc__}"
    setattr(cls, python_run.__name__, made.method(cls, python_run.__name__, text))
    return made


_ARGUMENTS = "fetches, feed_dict=None, options=None, run_metadata=None"


class Call:
    """A plan as native code sees it: a block, and what it points to.

    Args:
      runs: three words that count runs, steps and walks.
    """

    def __init__(self, plan: Plan, store: Store, runs: np.ndarray) -> None:
        self._kept: list[Any] = []
        self._patches: dict[Buffer, list[tuple[int, int]]] = {
            b: [(address(plan.words) + 8 * word, offset) for word, offset in pointers]
            for b, pointers in plan.pointers.items()
        }
        results = self._results(plan)
        copies = self._copies(plan, store)
        self._placed(plan, results)
        feeds = self._feeds(plan)
        streams = np.array(
            [(address(plan.words) + 8 * word, address(store.counters.words(name)), n)
             for word, name, n in plan.counters], np.int64,
        )  # fmt: skip
        ends = np.array([address(plan.words) + 8 * end for end in plan.ends], np.int64)
        fail = partial(_fail, plan.top, plan.words)
        self._kept += [results, copies, feeds, streams, ends, fail, runs, store.counters]
        self.block = _block(
            blocks.PLAN, table=address(plan.table), rows=len(plan.rows),
            failed=address(plan.failed), walk=walk_address(),
            release=sum(r.work for r in plan.rows) > KEEP_LOCK,
            feeds=len(feeds), fed=address(feeds), results=len(results), shown=address(results),
            copies=len(copies), copied=address(copies), streams=len(streams),
            drawn=address(streams), generation=plan.generation, runs=address(runs),
            ends=address(ends), fail=id(fail),
        )  # fmt: skip

    @property
    def arrays(self) -> list[np.ndarray]:
        """What it keeps, the plan's views and variables among them."""
        return [self.block, *(a for a in self._kept if isinstance(a, np.ndarray))]

    def retire(self) -> None:
        """Leave all runs of the plan to Python from now on."""
        self.block[blocks.PLAN.index("generation")] = -1

    @staticmethod
    def possible(plan: Plan, store: Store) -> bool:
        """True where native code can do all that a run of this plan takes."""
        if len(plan.walks) > 1 or len(plan.places) > blocks.MOST_FEEDS:
            return False
        if plan.long or plan.refuses or plan.tight or plan.before:
            return False
        if any(keeper is None for keeper in plan.keepers.values()):
            return False  # whose arrays only Python can make
        arrays = (store.get(name) for name, _ in plan.commits)
        views = (plan.views[b] for _, b in plan.commits)
        return all(
            a is not None and (a.shape, a.dtype) == (v.shape, v.dtype)
            for a, v in zip(arrays, views, strict=True)
        )

    def _sizes(self, shape: Sequence[int]) -> int:
        sizes = np.array(shape, np.int64)
        self._kept.append(sizes)
        return address(sizes)

    def _results(self, plan: Plan) -> np.ndarray:
        self._kept += plan.results
        out = _blocks(
            [
                _block(
                    blocks.RESULT, type=id(v.dtype), rank=v.ndim, sizes=self._sizes(v.shape),
                    bytes=v.nbytes, source=address(v), keeper=0, capsule=0, make=0, patches=0,
                    patched=0,
                )
                for v in plan.results
            ],
            blocks.RESULT,
        )  # fmt: skip
        self._moving(plan.program.results, out, blocks.RESULT)
        return out

    def _placed(self, plan: Plan, results: np.ndarray) -> None:
        """Tell of results that are written in place; what is fetched twice is copied once."""
        for b, keeper in plan.keepers.items():
            assert keeper is not None
            patches = np.array(self._patches[b], np.int64)
            words = {
                "keeper": keeper.address, "capsule": id(keeper.capsule), "make": keeper.make,
                "patches": len(patches), "patched": address(patches),
            }  # fmt: skip
            result = results[plan.program.results.index(b)]
            for word, value in words.items():
                result[blocks.RESULT.index(word)] = value
            self._kept += [patches, keeper]

    def _copies(self, plan: Plan, store: Store) -> np.ndarray:
        """What is assigned when all is done: copied first where another variable holds it."""
        held = {q.buffer for q in plan.program.params if q.kind == "variable"}
        early, late = [], []
        sources: list[Buffer | None] = []
        for name, b in plan.commits:
            to, view, source = store.arrays[name], plan.views[b], b if b in self._patches else None
            if address(to) == address(view):
                continue
            if len(plan.commits) > 1 and b in held:
                between = np.empty_like(view)
                self._kept.append(between)
                early.append(_copy(address(between), address(view), view.nbytes))
                view = between
            late.append(_copy(address(to), address(view), view.nbytes))
            sources.append(source)
            self._kept += [to, view]
        out = _blocks([*early, *late], blocks.COPY)
        self._moving([None] * len(early) + sources, out, blocks.COPY)
        return out

    def _moving(
        self, read: Sequence[Buffer | None], found: np.ndarray, words: Sequence[str]
    ) -> None:
        """Note where sources are feeds, whose addresses change."""
        for i, b in enumerate(read):
            if b is not None and b in self._patches:
                at = i * len(words) + words.index("source")
                self._patches[b].append((address(found) + 8 * at, 0))

    def _feeds(self, plan: Plan) -> np.ndarray:
        made = []
        for b, view, dtype, shape, *_ in plan.places:
            patches = np.array(self._patches[b], np.int64)
            self._kept += [view, dtype, patches]
            code = scalar = low = high = 0
            if not shape:
                patches = patches[:0]  # what has one element is copied
                kind = b.dtype.kind
                if dtype.isbuiltin == 1 and dtype.kind in "biufc":
                    scalar = id(dtype.type)
                if kind in ("int", "uint"):
                    code, limits = blocks.INTEGER, np.iinfo(dtype)
                    low, high = int(limits.min), min(int(limits.max), 2**63 - 1)
                elif kind == "bool":
                    code = blocks.BOOL
                else:
                    code = _NUMBERS.get(dtype.name, blocks.NONE)
            rounds = dtype.name == "float32" and view.nbytes <= DIRECT_FEED
            size = plan.told.get(b)
            made.append(
                _block(
                    blocks.FEED, type=id(dtype), rank=len(shape), sizes=self._sizes(shape),
                    bytes=view.nbytes, place=address(view), patches=len(patches),
                    patched=address(patches), rounds=rounds, scalar=scalar, code=code, low=low,
                    high=high, size=size is not None, value=size or 0,
                )
            )  # fmt: skip
        return _blocks(made, blocks.FEED)


def _copy(to: int, source: int, n: int) -> np.ndarray:
    return _block(blocks.COPY, to=to, source=source, bytes=n)


def _block(words: Sequence[str], **values: int) -> np.ndarray:
    """A block with these words in their order."""
    return np.array([values.pop(word) for word in words], np.int64)


def _blocks(found: Sequence[np.ndarray], words: Sequence[str]) -> np.ndarray:
    return np.array(found, np.int64).reshape(len(found), len(words))


def _fail(table: Table, words: np.ndarray, row: int, status: int, index: int, bound: int) -> None:
    """Raise what a row's status means."""
    if row in table.inside:
        raise failure(table, row, status, words)
    raise step_failure(table.step(row), status, index, bound)


class QuickEntry:
    """Fetches and feeds as native code sees them.

    Args:
      state: the session's words.
      plan: the fetches.
      written, keys: how they and the feeds were written.
    """

    def __init__(
        self, state: np.ndarray, plan: FetchPlan, written: Any, keys: Sequence[Any]
    ) -> None:
        n = len(plan.fetches) - len(plan.operations) + len(plan.final)
        slots = plan.slots
        if slots is None:
            form, slots = blocks.REBUILT, tuple(range(n))
        elif type(written) in (list, tuple):
            form = blocks.LIST if type(written) is list else blocks.TUPLE
        else:
            form = blocks.ONE
        fetched = list(written) if form in (blocks.LIST, blocks.TUPLE) else [written]
        self._plans: list[Plan] = []
        self._bound = np.zeros(0, np.int64)
        self.first = place_of(fetched, keys)
        places = np.array(slots, np.int64)
        what = np.array([id(x) for x in fetched], np.int64)
        by = np.array([id(k) for k in keys], np.int64)
        self._kept = [places, what, by, fetched, tuple(keys), plan.rebuild, state]
        self.block = _block(
            blocks.ENTRY, plans=0, bound=0, state=address(state), form=form, filled=len(slots),
            slots=address(places), fetched=address(what), keys=len(keys), keyed=address(by),
            slow=0, rebuild=id(plan.rebuild), owner=id(self),
        )  # fmt: skip

    @property
    def arrays(self) -> list[np.ndarray]:
        """What it keeps."""
        kept = (a for a in self._kept if isinstance(a, np.ndarray))
        return [self.block, self._bound, *kept]

    def point(self, exe: Executable, store: Store) -> None:
        """Let native code run the plans of an executable, first of all the one used last."""
        last = exe.last
        if last is None or last.generation != store.generation:
            return
        if last.call is None and Call.possible(last, store):
            last.call = Call(last, store, exe.quick)
        known = [last, *(p for p in reversed(exe.plans.values()) if p is not last)]
        found = [p for p in known if p.call and p.generation == store.generation]
        at = np.array([address(p.call.block) for p in found if p.call], np.int64)
        for word, value in (("plans", 0), ("bound", address(at)), ("plans", len(found))):
            self.block[blocks.ENTRY.index(word)] = value  # other threads may look at any time
        self._plans, self._bound = found, at  # and those of before may go only now


def place_of(fetched: Sequence[Any], keys: Sequence[Any]) -> int:
    """Where in a session's table an entry may be, first of all."""
    first = id(fetched[0]) if fetched else 0
    return blocks.place_of(first, len(keys), id(keys[0]) if keys else 0)


class Quick:
    """What makes the runs of one session native.

    Args:
      state: the session's words.
      lock: what its runs take in turn.
      operations: the list of the graph's operations.
      native: gives the native function.
    """

    def __init__(
        self, state: np.ndarray, lock: Lock, operations: list[Any], store: Store,
        native: Callable[[], Entry | None],
    ) -> None:  # fmt: skip
        self._state, self._lock, self._operations = state, lock, operations
        self._store, self._native = store, native
        self._entry: Entry | None = None
        self._turn = 0
        self._owners: dict[int, RunEntry] = {}

    def _ready(self) -> bool:
        """True where there is a native function, and it knows the session."""
        if self._entry is None and wanted():
            self._entry = self._native()
            acquire, release, mark = self._lock.acquire, self._lock.release, self._store.mark
            self._kept = [acquire, release, mark]
            known = {
                "generation": address(mark), "acquire": id(acquire), "release": id(release),
                "operations": id(self._operations),
            }  # fmt: skip
            for word, value in known.items():
                self._state[blocks.STATE.index(word)] = value
        return self._entry is not None

    def show(self, entry: RunEntry, exe: Executable) -> None:
        """Let native code do from now on what `exe` has done last for `entry`."""
        entry.shown = exe.last
        if entry.quick is None:
            if not entry.plain or entry.plan.slots is None or not self._ready():
                return
            entry.quick = QuickEntry(self._state, entry.plan, entry.written, entry.keys)
            self._enter(entry, entry.quick)
        entry.quick.point(exe, self._store)

    def _enter(self, entry: RunEntry, quick: QuickEntry) -> None:
        """Let `Session.run` find an entry, in the place of another one if need be."""
        at = [(quick.first + k) % blocks.TABLE for k in range(blocks.PROBES)]
        place = next((a for a in at if a not in self._owners), None)
        if place is None:
            self._turn += 1
            place = at[self._turn % blocks.PROBES]
            gone = self._owners[place]
            gone.quick = gone.shown = None  # it comes back when it runs again
        self._owners[place] = entry
        self._state[blocks.STATE.index("table") + place] = address(quick.block)

    def close(self) -> None:
        """Leave everything to Python from now on, and keep nothing."""
        self._state[ASIDE] += 1
        self._state[blocks.STATE.index("table") :] = 0
        self._owners.clear()

    def function(self, entry: RunEntry, python: Callable[..., Any]) -> Callable[..., Any] | None:
        """A native function of the feeds' values; `python` is the same in Python."""
        if not self._ready():
            return None
        assert self._entry is not None
        quick = entry.quick = QuickEntry(self._state, entry.plan, entry.written, entry.keys)
        quick.block[blocks.ENTRY.index("slow")] = id(python)
        return self._entry.function((quick.block, python, quick))
