"""`Growing`: loops whose outputs are of a length that only the run tells, run natively in chunks.

There is room for so many iterations; when they are done and the predicate still holds, the loop
goes on from its carries with room for twice as many.  The next run begins with what the last one
took, so that most runs are one native call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from staticgraph.ir import dims as D
from staticgraph.ir.dims import Dim, Symbol, symbol
from staticgraph.ir.loc import UNKNOWN
from staticgraph.ir.program import Buffer, Program, ProgramParam, Repeat, Role
from staticgraph.passes.control import FIRST_ROOM
from staticgraph.runtime.binding import Code
from staticgraph.runtime.plan import RoomError
from staticgraph.runtime.store import Store

if TYPE_CHECKING:
    from staticgraph.runtime.stepwise import RunCounts, Segment

FIRST = FIRST_ROOM
MOST_BYTES = 1 << 28  # of stacked outputs in one chunk
ROOM = Symbol("room")


class Growing:
    """A loop with a predicate and stacked outputs.

    Args:
      make: makes a segment of a program's steps, and of what is read of them.
    """

    def __init__(self, step: Repeat, make: type[Segment]) -> None:
        self.step = step
        attrs = step.attrs
        carries = self.carries = attrs["carries"]
        self.sequences = range(carries, carries + attrs["sequences"])
        room = symbol(ROOM.name)
        self.inputs = [
            self._buffer(k, b, room if k in self.sequences else None)
            for k, b in enumerate(step.inputs)
        ]
        first = len(self.inputs)
        self.outputs = [
            self._buffer(first + k, b, room if k > carries else None)
            for k, b in enumerate(step.outputs)
        ]
        chunk = replace(
            step, inputs=tuple(self.inputs), outputs=tuple(self.outputs),
            attrs={**attrs, "length": room},
        )  # fmt: skip
        params = tuple(ProgramParam("feed", b.name, b, UNKNOWN) for b in self.inputs)
        buffers = (*self.inputs, *self.outputs)
        whole = Program("chunk", buffers, (chunk,), params, tuple(self.outputs))
        self.segment = make(whole, [chunk], set(self.outputs))
        self.room = FIRST

    def _buffer(self, number: int, b: Buffer, room: Dim | None) -> Buffer:
        """A buffer like `b`, with room for the iterations of a chunk along its first axis."""
        role: Role = "param" if number < len(self.step.inputs) else "temporary"
        dims = b.dims or ()
        if room is not None:
            dims = (room, *dims[1:])
        return Buffer(number, b.dtype, dims, role, f"b{number}")

    def run(
        self, arrays: Sequence[np.ndarray], code: Code, env: Mapping[Symbol, int], store: Store,
        constants: Mapping[Buffer, np.ndarray], threads: int, counts: RunCounts,
    ) -> list[np.ndarray]:  # fmt: skip
        """The results; those of a run in one chunk are valid until the next run."""
        carries, limit = self.carries, self._limit(arrays, env)
        state = [np.asarray(a) for a in arrays[:carries]]
        chunks: list[list[np.ndarray]] = []
        most = self._most(env)
        done, room = 0, self.room
        while bool(state[0]) and done < limit:
            size = min(room, limit - done)
            plan, made = self.segment.plan(code, {**env, ROOM: size}, store, constants, threads)
            plan.started = done
            keep = []
            for k, b in enumerate(self.inputs):
                value = state[k] if k < carries else arrays[k]
                value = value[done : done + size] if k in self.sequences else value
                keep.append(plan.feed(b, value))
            try:
                plan.walk()
            except RoomError as e:  # of a loop in the body
                self.segment.grow(e)
                continue
            del keep
            counts.plans += made
            counts.calls += len(plan.walks)
            counts.steps += len(plan.rows)
            n = int(plan.results[carries])
            stacks = [v[:n] for v in plan.results[carries + 1 :]]
            done += n
            state = list(plan.results[:carries])
            if n < size or not bool(state[0]) or done == limit:
                chunks.append(stacks)
                break
            chunks.append([v.copy() for v in stacks])
            state = [v.copy() for v in state]
            room = min(2 * room, most)
        if done:
            self.room = min(max(FIRST, 1 << (done - 1).bit_length()), most)
        return [*state, np.array(done, np.int64), *self._joined(chunks, env)]

    def _limit(self, arrays: Sequence[np.ndarray], env: Mapping[Symbol, int]) -> int:
        length = D.evaluate(self.step.attrs["length"], env)
        most = [len(arrays[k]) for k in self.sequences] + [length] * (length >= 0)
        return min(most, default=1 << 62)

    def _most(self, env: Mapping[Symbol, int]) -> int:
        """The iterations that there may be room for in one chunk."""
        outs = self.step.outputs[self.carries + 1 :]
        each = sum(D.evaluate(D.product((b.dims or ())[1:]), env) * b.dtype.size for b in outs)
        return max(1, MOST_BYTES // max(1, each))

    def _joined(
        self, chunks: Sequence[Sequence[np.ndarray]], env: Mapping[Symbol, int]
    ) -> list[np.ndarray]:
        if len(chunks) == 1:
            return list(chunks[0])
        outs = self.outputs[self.carries + 1 :]
        if not chunks:
            return [
                np.zeros((0, *(D.evaluate(d, env) for d in (b.dims or ())[1:])), b.dtype.np)
                for b in outs
            ]
        return [np.concatenate(parts) for parts in zip(*chunks, strict=True)]
