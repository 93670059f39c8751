"""`Specialising`: which executable takes the sizes at hand, and what is compiled where none does.

An executable is compiled for open sizes, with guards on what was assumed of them.  Sizes that
break a guard get another one, in which they are numbers: there a 1 broadcasts, and what cannot be
done at all is an error at the user's line.  Two things may not be errors though the sizes do not
fit: a branch that is not chosen, which checks its guards itself where it runs, and a loop that goes
through no iteration.  Of loops the guards are checked before the run, because work that is done
before a loop relies on them; where that is in the way, the run gets an executable in which loops
check them, and nothing is done before them.  There a size that is 1 in some iterations of a loop,
and not in others, is broadcast as it comes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from staticgraph.errors import FeedError, StaticGraphError
from staticgraph.ir.evaluate import BrokenGuardError
from staticgraph.ir.function import Function, bodies
from staticgraph.ir.graph import Graph
from staticgraph.ir.types import TensorType
from staticgraph.passes.close import OpenRankError, close
from staticgraph.runtime.compile import compile_function, specialised_types
from staticgraph.runtime.entries import RunEntry
from staticgraph.runtime.executable import Executable
from staticgraph.runtime.fetches import admits, feed_type
from staticgraph.runtime.store import Store

Types = tuple[TensorType, ...]


class Specialising:
    """What a session does to run an entry on given arrays."""

    __slots__ = ()

    _graph: Graph
    _store: Store
    _entries: dict[Any, RunEntry]
    _optimize: bool
    _threads: int

    def _execute(self, entry: RunEntry, arrays: Sequence[np.ndarray]) -> list[Any]:
        """Run the first executable that takes the arrays, or a new one."""
        broken: list[tuple[Types, Executable, BrokenGuardError]] = []
        for types, exe in entry.executables:
            if not all(admits(t, a) for t, a in zip(types, arrays, strict=True)):
                continue
            if exe.asked and any(self._store.rank(v) != rank for v, rank in exe.asked.items()):
                continue
            try:
                results = exe.run(arrays, self._store)
            except BrokenGuardError as e:
                exe.counts.runs -= 1  # it is run by another one
                broken.append((types, exe, e))
            else:
                entry.last = exe
                return results
        if broken:
            return self._execute_broken(entry, arrays, broken)
        types = tuple(feed_type(t, a) for t, a in zip(entry.tensors, arrays, strict=True))
        exe = self._add(entry, types, arrays, self._reason(entry, arrays))
        return self._first_run(entry, exe, arrays)

    def _reason(self, entry: RunEntry, arrays: Sequence[np.ndarray]) -> str:
        """Why nothing that was compiled takes the arrays."""
        if not entry.executables:
            needs = entry.plan.needs
            same = any(e.executables and e.plan.needs == needs for e in self._entries.values())
            like = " with feeds that are given like this" if same else ""
            return f"first run of these fetches{like}"
        for k, (t, a) in enumerate(zip(entry.tensors, arrays, strict=True)):
            if not any(admits(types[k], a) for types, _ in entry.executables):
                return f"first run with {t.name} of the shape {list(a.shape)}"
        for v in {v for _, exe in entry.executables for v in exe.asked}:
            rank = self._store.rank(v)
            if all(exe.asked.get(v, rank) != rank for _, exe in entry.executables):
                return f"first run with the variable {v!r} of the rank {rank}"
        return "first run with these shapes"

    def _execute_broken(
        self, entry: RunEntry, arrays: Sequence[np.ndarray],
        broken: Sequence[tuple[Types, Executable, BrokenGuardError]],
    ) -> list[Any]:  # fmt: skip
        """Run with sizes that break what executables assume; the most special one comes first."""
        error: StaticGraphError | None = None
        tried = {types for types, _ in entry.executables}
        for before, exe, e in broken:
            fixed = specialised_types(
                exe.function, entry.tensors, dict(zip(entry.tensors, before, strict=True)), arrays,
                e,
            )  # fmt: skip
            types = tuple(fixed[t] for t in entry.tensors)
            error = error or e.error or _refusal(exe, e)
            if e.error is None and types not in tried:
                try:
                    new = self._add(entry, types, arrays, f"sizes broke the assumption {e}")
                except StaticGraphError as found:
                    error = found
                    break
                refusal = None if e.ahead else _refusal(new, e)
                if refusal is not None:  # of the branch that was chosen
                    del entry.executables[0]
                    raise refusal
                return self._first_run(entry, new, arrays)
            if e.ahead:  # no other sizes can be fixed: the branch itself will tell
                exe.looks_ahead = False
                return self._execute(entry, arrays)
        error = error or FeedError(broken[0][2].message, loc=broken[0][2].sites[0].loc)
        before, exe, e = next((b for b in broken if _within(b[1], b[2])), broken[-1])
        return self._execute_careful(entry, before, arrays, exe, e, error)

    def _add(
        self, entry: RunEntry, types: Types, arrays: Sequence[np.ndarray], reason: str
    ) -> Executable:
        """Compile for feeds of these types."""
        try:
            exe = self._compile(entry, types, reason)
        except OpenRankError:
            fixed = tuple(TensorType(t.dtype, a.shape) for t, a in zip(types, arrays, strict=True))
            if types == fixed:
                raise
            types = fixed
            exe = self._compile(entry, types, "a rank hangs on the sizes")
        entry.executables.insert(0, (types, exe))
        return exe

    def _first_run(
        self, entry: RunEntry, exe: Executable, arrays: Sequence[np.ndarray]
    ) -> list[Any]:
        """Run what has just been compiled."""
        try:
            results = exe.run(arrays, self._store)
        except BrokenGuardError as e:
            exe.counts.runs -= 1
            error = None if e.ahead else _refusal(exe, e)
            if error is not None:  # the branch is chosen that cannot take them
                del entry.executables[0]
                raise error from None
            if _within(exe, e):  # where there may have been effects
                types = next(t for t, x in entry.executables if x is exe)
                return self._execute_broken(entry, arrays, [(types, exe, e)])
            return self._execute(entry, arrays)
        entry.last = exe
        return results

    def _execute_careful(
        self, entry: RunEntry, types: Types, arrays: Sequence[np.ndarray], before: Executable,
        broken: BrokenGuardError, error: StaticGraphError,
    ) -> list[Any]:  # fmt: skip
        """Run with sizes that the bodies of loops cannot take, which may not run at all.

        Or they can, because a size is 1 in some iterations and is broadcast there.

        Raises:
          StaticGraphError: `error`, if they do and cannot; and where the run has had effects
            before that was known, which must not happen twice.
        """
        within = _within(before, broken)
        known = any(exe.careful and types == t for t, exe in entry.executables)
        begun = within and _has_effects(before.function)
        if known or begun or not (within or _all_lifted(broken)):
            raise error from None
        exe = self._compile(entry, types, f"without the assumption {broken}", True)
        entry.executables.append((types, exe))
        try:
            results = exe.run(arrays, self._store)
        except BrokenGuardError:
            raise error from None
        if within and not before.counts.runs:  # which would break in the middle of each run
            entry.executables.insert(0, entry.executables.pop())
        entry.last = exe
        return results

    def _compile(
        self, entry: RunEntry, types: Types, reason: str, careful: bool = False
    ) -> Executable:
        """Close and compile; with `careful`, loops check what they assume."""
        feeds = dict(zip(entry.tensors, types, strict=True))
        asked: dict[str, int | None] = {}
        refused: list[tuple[str, StaticGraphError]] = []
        closed = close(
            self._graph, entry.plan.fetches, feeds, tuple(entry.plan.final),
            values=self._store.arrays, asked=asked, lift=not careful, refused=refused,
        )  # fmt: skip
        optimize = self._optimize and not careful  # nothing is taken out of loops
        exe = compile_function(closed, optimize, reason=reason, threads=self._threads)
        exe.asked, exe.refused, exe.careful = asked, refused, careful
        for p in closed.params:  # a stream without a seed starts anywhere
            if p.kind != "counter" or p.name in self._store.counters:
                continue
            if self._graph.draws[p.name].attrs.get("nondeterministic"):
                self._store.counters[p.name] = int.from_bytes(os.urandom(5), "little") << 16
        return exe


def _all_lifted(broken: BrokenGuardError) -> bool:
    return all(site.lifted for site in broken.sites)


def _within(exe: Executable, broken: BrokenGuardError) -> bool:
    """True where an iteration or a branch has told, and no assumption made before the run."""
    return not any(site in exe.function.guards for site in broken.sites)


def _has_effects(f: Function) -> bool:
    return any(n.op.effect == "io" or any(map(_has_effects, bodies(n))) for n in f.nodes)


def _refusal(exe: Executable, broken: BrokenGuardError) -> StaticGraphError | None:
    """What closing said of the operation whose guard is broken, if it is in a branch."""
    names = {site.name for site in broken.sites}
    return next((e for name, e in exe.refused if name in names), None)


__all__ = ["Specialising"]
