"""What a program will need and do, told before it runs: its sizes, its memory, each step's cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from staticgraph.ir import dims as D
from staticgraph.ir.dims import Symbol
from staticgraph.ir.program import Branch, Buffer, Host, Program, Repeat, SizeSource
from staticgraph.runtime.footprint import Footprint, Layout
from staticgraph.runtime.stepwise import Segment, read_size, segments
from staticgraph.runtime.store import Store


def sizes_of(
    program: Program, feeds: Mapping[str, np.ndarray], store: Store
) -> dict[Symbol, int]:  # fmt: skip
    """The sizes that feeds and variables tell; those that only a run could tell are left out."""
    arrays: dict[Buffer, np.ndarray] = {}
    for q in program.params:
        found = feeds.get(q.name) if q.kind == "feed" else store.get(q.name)
        if found is not None:
            arrays[q.buffer] = found
    return {
        s: read_size(o, arrays[o.buffer])
        for s, o in program.sizes.items()
        if isinstance(o, SizeSource) and o.buffer in arrays
    }


def footprint(program: Program, env: Mapping[Symbol, int], store: Store) -> Footprint | None:
    """The memory that a run of a program takes; None where only the run itself tells sizes.

    A program with host steps is counted segment by segment; see `runtime.stepwise`.
    """
    items = segments(program, hands_out=True)
    if not all(_known(b, env) for b in program.buffers):
        return None
    if any(isinstance(item, Repeat | Branch) for item in items):  # run step by step
        return None
    layout = Layout.of(program, env, store, wanted=frozenset(program.results))
    whole = layout.footprint(program, store)
    if not any(isinstance(item, Host) for item in items):
        return whole
    parts = [
        Layout.of(item.program, env, store, wanted=item.handing.wanted).footprint(
            item.program, store
        )
        for item in items
        if isinstance(item, Segment)
    ]
    made = sum(layout.bytes_of(b) for s in program.steps if isinstance(s, Host) for b in s.outputs)
    return replace(
        whole,
        arena=made + sum(p.arena for p in parts),
        staging=sum(p.staging for p in parts),
        reserved=sum(p.reserved for p in parts),
        results=sum(map(layout.bytes_of, program.results)),
    )


def _known(b: Buffer, env: Mapping[Symbol, int]) -> bool:
    return b.dims is not None and all(D.symbols_of(d) <= env.keys() for d in b.dims)


__all__ = ["footprint", "sizes_of"]
