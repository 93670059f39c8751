"""`Plan`: a program bound to concrete sizes; addresses and sizes as data, no code.

The table is walked by one native driver.  Feeds are copied into staging places, or, when large
and suitably laid out, read where they are.  Building a plan compiles nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from staticgraph.codegen.driver import bound
from staticgraph.errors import OpError, OutOfBoundsError, ResourceExhaustedError
from staticgraph.ir import dims as D
from staticgraph.ir import philox
from staticgraph.ir.dims import Symbol
from staticgraph.ir.program import Buffer, Launch, Library, Program, Step
from staticgraph.passes.memory import donations, overwritten, place
from staticgraph.runtime.binding import Code, rows
from staticgraph.runtime.library import COUNTER_WORDS, draws
from staticgraph.runtime.row import Row
from staticgraph.runtime.store import Store, address, aligned_empty, room
from staticgraph.runtime.threads import BLOCK_WORDS, POOL, chunk, launch_address

# What becomes a float without asking: no value changes its kind.
EXACT = frozenset(np.dtype(t) for t in "?bhilqBHILQefd")
SCALARS: dict[str, frozenset[type]] = {
    "float": frozenset({float, int, np.float32, np.float64, np.int32, np.int64}),
    "int": frozenset({int}), "uint": frozenset({int}), "bool": frozenset({bool}),
}  # fmt: skip
# A feed's buffer, its view, dtype and shape, whether it is read in place, and what else it takes:
# dtypes of arrays, types of plain numbers.
Place = tuple[
    Buffer, np.ndarray, np.dtype[Any], tuple[int, ...], bool, frozenset[Any], frozenset[type]
]
DIRECT_FEED = 1 << 16  # bytes: larger feeds are read in place
SLICE_WORK = 200_000_000  # bytes of traffic between looks at signals: some 20 ms


class Plan:
    """A table ready to run.

    Attributes:
      arena_bytes: memory of temporaries.
      peak_bytes: arena, feeds' staging and constants.
      final: the table does everything; no variable or random stream is left to advance.
    """

    def __init__(
        self, program: Program, code: Code, env: Mapping[Symbol, int], store: Store,
        constants: Mapping[Buffer, np.ndarray], threads: int = 1,
    ) -> None:  # fmt: skip
        self.threads = threads
        self.program, self.env, self.generation = program, dict(env), store.generation
        self.views: dict[Buffer, np.ndarray] = {}
        self.direct: dict[Buffer, list[tuple[int, int]]] = {}
        donated = donations(program)
        donated = {new: old for new, old in donated.items() if self._stays(old, program, store)}
        shapes = {b: self._shape(b) for b in program.buffers if b.dims is not None}
        replaced = {
            b: name
            for b, name in overwritten(program).items()
            if _holds(store.get(name), shapes[b], b)
        }
        placement = place(
            program, lambda b: room(shapes[b]) * b.dtype.size,
            frozenset(donated) | frozenset(replaced) | {q.buffer for q in program.params},
        )  # fmt: skip
        self.arena_bytes = placement.size
        try:
            self.arena = aligned_empty((placement.size,), np.dtype(np.uint8))
        except MemoryError:
            raise ResourceExhaustedError(
                f"the run needs {placement.size:,} bytes for temporaries, which cannot be had"
            ) from None
        self._views(program, shapes, placement.offsets, store, constants)
        for new, old in donated.items():
            self.views[new] = self.views[old]
        self.views |= {b: store.arrays[name] for b, name in replaced.items()}
        self.in_place = bool(donated or replaced)
        self.commits = self._commits(program, donated, replaced)
        self.counters: list[tuple[int, str, int]] = []
        lasting = [b for b in program.buffers if b.role == "constant" and b in self.views]
        lasting += [q.buffer for q in program.params if q.kind == "feed"]
        self.peak_bytes = placement.size + sum(self.views[b].nbytes for b in lasting)
        self._table(program, code)
        self.final = not self.counters and not self.commits
        self.results = [self.views[b] for b in program.results]
        self.takes = [v.copy if v.ndim else partial(v.__getitem__, ()) for v in self.results]
        self.places = [self._place(q.buffer) for q in program.params if q.kind == "feed"]

    @staticmethod
    def _stays(old: Buffer, program: Program, store: Store) -> bool:
        name = next(q.name for q in program.params if q.buffer is old)
        return store.get(name) is not None

    def _place(self, b: Buffer) -> Place:
        view, direct = self.views[b], b in self.direct
        convertible = frozenset() if direct or not b.dtype.is_floating else EXACT
        scalars: frozenset[type] = frozenset()
        if view.ndim == 0:
            scalars = SCALARS.get(b.dtype.kind, scalars) | {b.dtype.np.type}
        return b, view, b.dtype.np, view.shape, direct, convertible, scalars

    def _shape(self, b: Buffer) -> tuple[int, ...]:
        return tuple(D.evaluate(d, self.env) for d in b.dims or ())

    def _views(
        self, program: Program, shapes: Mapping[Buffer, tuple[int, ...]],
        offsets: Mapping[Buffer, int], store: Store, constants: Mapping[Buffer, np.ndarray],
    ) -> None:  # fmt: skip
        for b, at in offsets.items():
            shape, dtype = shapes[b], b.dtype.np
            n = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
            self.views[b] = self.arena[at : at + n].view(dtype).reshape(shape)
        for b in program.buffers:
            if b.role == "constant":
                self.views[b] = constants[b]
        for q in program.params:
            if q.kind == "variable":
                have = store.get(q.name)
                if have is not None:
                    self.views[q.buffer] = have
            elif q.buffer in shapes:
                self.views[q.buffer] = aligned_empty(shapes[q.buffer], q.buffer.dtype.np)
                if q.kind == "feed" and self.views[q.buffer].nbytes > DIRECT_FEED:
                    self.direct[q.buffer] = []
        for b in program.buffers:
            if b not in self.views and b in shapes and b.role == "temporary":
                self.views[b] = aligned_empty(shapes[b], b.dtype.np)  # never read or written

    def _commits(
        self, program: Program, donated: Mapping[Buffer, Buffer], replaced: Mapping[Buffer, str]
    ) -> list[tuple[str, Buffer]]:
        """Updates that are copied into the variable after the table has run."""
        counters = {q.name for q in program.params if q.kind == "counter"}
        names = {q.name: q.buffer for q in program.params if q.kind == "variable"}
        out = []
        for name, b in program.updates.items():
            if name.startswith("counter:") and name[8:] in counters:
                continue
            if donated.get(b) is not None and donated[b] is names.get(name):
                continue
            if replaced.get(b) != name:
                out.append((name, b))
        self._own = {id(self.views[b]) for b in replaced}
        return out

    def _table(self, program: Program, code: Code) -> None:
        made = rows(program.steps, code, self.env, lambda b: address(self.views[b]))
        self.rows: list[Row] = made
        self.ends: list[int] = []  # where each row's argument block ends in `words`
        sizes = [len(r.words) for r in made]
        chunks = [chunk(r, self.threads) for r in made]
        shared = sum(map(bool, chunks))
        self.words = np.zeros(max(1, sum(sizes) + BLOCK_WORDS * shared), np.int64)
        table = np.zeros((max(1, len(made)), 4), np.int64)
        base = address(self.words)
        at = 0
        feeds = {q.buffer for q in program.params if q.kind == "feed"}
        for k, r in enumerate(made):
            self.words[at : at + len(r.words)] = r.words
            table[k] = (r.function, base + 8 * at, 0, r.extent)
            self.ends.append(at + len(r.words))
            for word, b, offset in r.pointers:
                if b in feeds and b in self.direct:
                    self.direct[b].append((at + word, offset))
            step = program.steps[r.step]
            if isinstance(step, Library) and step.kind == "philox":
                name = next(q.name for q in program.params if q.buffer is step.inputs[0])
                self.counters.append((at + COUNTER_WORDS, name, draws(step, self.env)))
            at += len(r.words)
        if shared:
            self._share(table, chunks, at)
        self.table = table
        self.failed = np.zeros(1, np.int64)
        self.slices = self._slices(program) if made else []
        self.walks = [
            bound(address(table), first, last, address(self.failed)) for first, last in self.slices
        ]

    def _share(self, table: np.ndarray, chunks: Sequence[int], at: int) -> None:
        """Replace rows that are worth it by rows that share their work between threads."""
        POOL.ensure(self.threads)
        launch, base = launch_address(), address(self.words)
        for k, size in enumerate(chunks):
            if size:
                block = (POOL.address, table[k][0], table[k][1], size, self.threads - 1)
                self.words[at : at + BLOCK_WORDS] = block
                table[k][:2] = (launch, base + 8 * at)
                at += BLOCK_WORDS

    def _slices(self, program: Program) -> list[tuple[int, int]]:
        """Cut the table where signals may be looked at: never after the first update in place."""
        limit = len(self.rows)
        variables = {
            id(self.views[q.buffer])
            for q in program.params
            if q.kind == "variable" and q.buffer in self.views
        } | self._own
        out, start, work = [], 0, 0
        for k, r in enumerate(self.rows):
            if any(id(self.views[b]) in variables for b in program.steps[r.step].writes):
                break
            work += r.work
            if work > SLICE_WORK:
                out.append((start, k + 1))
                start, work = k + 1, 0
        if start < limit or not out:
            out.append((start, limit))
        return out

    def walk(self) -> None:
        """Run the table.

        Raises:
          OpError: a step failed; names the operation and the user's line.
        """
        for walk in self.walks:
            status = walk()
            if status:
                raise self._failure(status)

    @property
    def walked(self) -> bool:
        """True where the last walk came to the end of the table."""
        return bool(self.failed[0] == len(self.rows))

    def _failure(self, status: int) -> OpError:
        k = int(self.failed[0])
        row = self.rows[k]
        end = self.ends[k]
        step = self.program.steps[row.step]
        return step_failure(step, status, int(self.words[end - 2]), int(self.words[end - 1]))

    def set_counters(self, counters: Mapping[str, int]) -> None:
        """Write the random streams' positions into the argument blocks."""
        for word, name, _ in self.counters:
            self.words[word : word + 2] = philox.counter_words(counters.get(name, 0))

    def fill(self, values: Iterable[Any]) -> dict[Buffer, np.ndarray] | None:
        """Place feeds that fit as they are: arrays of just these shapes, plain numbers.

        Returns:
          the arrays that are read where they are, to be kept alive during the run; None where a
          value has to be looked at closer.
        """
        kept: dict[Buffer, np.ndarray] = {}
        try:
            for value, (b, view, dtype, shape, direct, convertible, scalars) in zip(
                values, self.places, strict=True
            ):
                kind = type(value)
                if kind is np.ndarray:
                    if value.shape != shape:
                        return None
                    if value.dtype is not dtype and value.dtype not in convertible:
                        return None
                    if direct:
                        kept[b] = self.feed(b, value)
                    else:
                        view[()] = value
                elif kind in scalars:
                    view[()] = value
                else:
                    return None
        except OverflowError:  # a number that is too large for its type
            return None
        return kept

    def feed(self, b: Buffer, value: np.ndarray) -> np.ndarray:
        """Place a feed; returns the array to keep alive during the run."""
        words = self.direct.get(b)
        if words is None:
            np.copyto(self.views[b], value)
            return value
        if not value.flags.c_contiguous or address(value) % 16:
            np.copyto(self.views[b], value)
            value = self.views[b]
        where = address(value)
        for w, offset in words:
            self.words[w] = where + offset
        return value

    def describe(self) -> str:
        """Sizes, steps and memory in a few lines."""
        sizes = ", ".join(f"{s}={n}" for s, n in self.env.items()) or "fixed sizes"
        return (f"{len(self.rows)} steps, {sizes}, {self.arena_bytes:,} bytes of temporaries, "
                f"{self.peak_bytes:,} planned in all")  # fmt: skip


def _holds(array: np.ndarray | None, shape: tuple[int, ...], b: Buffer) -> bool:
    """True where a variable's array is of the shape and dtype of `b`."""
    return array is not None and array.shape == shape and array.dtype == b.dtype.np


def step_failure(step: Step, status: int, index: int, bound: int) -> OpError:
    """The error of a native step that returned `status`.

    Args:
      index, bound: the last two words of its argument block.
    """
    origin = step.origins[0]
    operands = (f"operation {origin.name!r}",)
    if status < 0:
        return ResourceExhaustedError(
            f"{origin.op}: the sizes are too large for the BLAS", loc=origin.loc, operands=operands
        )
    if isinstance(step, Launch) and step.checks:
        origin = step.checks[min(status, len(step.checks)) - 1]
        operands = (f"operation {origin.name!r}",)
    # the operation's own name: what computes it may be called otherwise inside
    return OutOfBoundsError(
        f"{origin.name or origin.op}: index {index} is outside [0, {bound})", loc=origin.loc
    )
