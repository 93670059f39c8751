"""The constants of programs: which there are, and the memory they take."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping

import numpy as np

from staticgraph.ir.arrays import owner, taken
from staticgraph.ir.graph import Graph
from staticgraph.ir.program import Branch, Buffer, Program, Repeat
from staticgraph.ir.types import ConstantArray
from staticgraph.runtime.store import aligned, ready

Memory = Mapping[Hashable, int]  # bytes by what lies there, so that nothing counts twice


def constants_in(program: Program) -> Iterator[Buffer]:
    """The constants of a program and of those in it; several may be one array."""
    inner = [p for s in program.every_step() if isinstance(s, Repeat | Branch) for p in s.programs]
    return (b for p in (program, *inner) for b in p.buffers if b.role == "constant")


def constants_of(program: Program) -> dict[Buffer, np.ndarray]:
    """The constants of a program and of those in it, where kernels can read them."""
    there: dict[int, np.ndarray] = {}
    out: dict[Buffer, np.ndarray] = {}
    for b in constants_in(program):
        if id(b.data) not in there:
            data = np.asarray(b.data)
            there[id(b.data)] = data if data.dtype == object else aligned(data)
        out[b] = there[id(b.data)]
    return out


def memory_of(arrays: Iterable[np.ndarray]) -> Memory:
    """What some arrays take, with what else lies in the memory that they share."""
    return {id(o): o.nbytes for o in map(owner, arrays)}


def program_memory(program: Program) -> Memory:
    """What the constants of a program take, and the copies that `constants_of` has to make."""
    out: dict[Hashable, int] = {}
    for b in constants_in(program):
        data = np.asarray(b.data)
        out |= memory_of([data])
        if data.dtype != object and not ready(data):
            out[id(program), id(b.data)] = taken(data.shape, data.dtype)
    return out


def graph_memory(graph: Graph) -> Memory:
    """What the constants of a graph take."""
    held = (v for op in graph.get_operations() for v in op.attrs.values())
    return memory_of(v.array for v in held if isinstance(v, ConstantArray))


__all__ = [
    "Memory", "constants_in", "constants_of", "graph_memory", "memory_of", "program_memory",
]  # fmt: skip
