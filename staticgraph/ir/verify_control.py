"""The verifier of loops and branches: what a step passes and takes is what its programs do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from staticgraph.ir import dims as D
from staticgraph.ir import dtypes
from staticgraph.ir.dims import Dim
from staticgraph.ir.dtypes import DType
from staticgraph.ir.equalities import Equalities, own_equalities
from staticgraph.ir.function import Given
from staticgraph.ir.program import Branch, Buffer, Program, Repeat

Dims = tuple[Dim, ...] | None


def control_fault(s: Repeat | Branch) -> str | None:
    """What is wrong with a loop or branch, if anything is: counts, dtypes, ranks, known sizes."""
    return next(_loop(s) if isinstance(s, Repeat) else _branch(s), None)


def _loop(s: Repeat) -> Iterator[str]:
    body, carries, histories = s.body, s.attrs["carries"], s.attrs["histories"]
    yield from _program(body, len(s.inputs), s.attrs["sizes"])
    if not 0 <= carries <= min(len(s.inputs), len(body.results)):
        yield f"the loop has {carries} carries, its body {len(body.results)} results"
    elif not all(0 <= k < carries for k in histories):
        yield f"histories {list(histories)} of {carries} carries"
    else:
        yield from _passed(s, [q.buffer for q in body.params])
        yield from _made(s, [q.buffer for q in body.params])


def _passed(s: Repeat, params: Sequence[Buffer]) -> Iterator[str]:
    body, carries, sizes = s.body, s.attrs["carries"], s.attrs["sizes"]
    for k, (a, p) in enumerate(zip(s.inputs, params, strict=True)):
        dims = s.shape(k)
        if carries <= k < carries + s.attrs["sequences"]:
            if dims == ():
                yield f"input {k} is a scalar, it has no steps"
            dims = dims[1:] if dims else None
        yield from _same(f"input {k}", (a.dtype, dims), p, body, sizes)
    for k, (p, r) in enumerate(zip(params[:carries], body.results, strict=False)):
        yield from _same(f"carry {k}", (r.dtype, r.dims), p, body, sizes)
    if s.conditional and (not carries or params[0].dtype is not dtypes.bool_ or params[0].dims):
        yield "the first carry of a while is no bool scalar"


def _made(s: Repeat, params: Sequence[Buffer]) -> Iterator[str]:
    body, carries, sizes = s.body, s.attrs["carries"], s.attrs["sizes"]
    stacked = [*body.results[carries:], *(params[k] for k in s.attrs["histories"])]
    count = carries + s.conditional + len(stacked)
    if len(s.outputs) != count:
        yield f"the loop has {count} results, the step {len(s.outputs)}"
        return
    for k, (b, r) in enumerate(zip(s.outputs, body.results[:carries], strict=False)):
        yield from _same(f"result {k}", (b.dtype, b.dims), r, body, sizes)
    trips = s.outputs[carries] if s.conditional else None
    if trips is not None and (trips.dtype is not dtypes.int64 or trips.dims != ()):
        yield f"the number of iterations is {trips}"
    first = carries + s.conditional
    for k, (b, r) in enumerate(zip(s.outputs[first:], stacked, strict=True), first):
        yield from _same(f"result {k}", (b.dtype, b.dims and b.dims[1:]), r, body, sizes)


def _branch(s: Branch) -> Iterator[str]:
    if not s.inputs or s.inputs[0].dtype is not dtypes.int32 or s.inputs[0].dims:
        yield "the index of a branch is no int32 scalar"
        return
    for p in s.programs:
        yield from _program(p, len(s.inputs) - 1, s.attrs["sizes"])
        for k, (a, q) in enumerate(zip(s.inputs[1:], p.params, strict=True)):
            what = f"{p.name}: input {k}"
            yield from _same(what, (a.dtype, a.dims), q.buffer, p, s.attrs["sizes"])
        if len(p.results) != len(s.outputs):
            yield f"{p.name} has {len(p.results)} results, the step {len(s.outputs)}"
            return
        for k, (b, r) in enumerate(zip(s.outputs, p.results, strict=True)):
            what = f"{p.name}: result {k}"
            yield from _same(what, (b.dtype, b.dims), r, p, s.attrs["sizes"])


def _program(p: Program, given: int, sizes: Sequence[Dim]) -> Iterator[str]:
    if len(p.params) != given:
        yield f"{p.name} takes {len(p.params)} values, {given} are given"
    if p.updates:
        yield f"{p.name} assigns {', '.join(map(repr, p.updates))}, which a body cannot"
    for name, o in p.sizes.items():
        if isinstance(o, Given) and not 0 <= o.index < len(sizes):
            yield f"{p.name}: {name} is size {o.index} of {len(sizes)}"


def _same(
    what: str, given: tuple[DType, Dims], b: Buffer, body: Program, sizes: Sequence[Dim]
) -> Iterator[str]:
    """Compare with a buffer of a body; sizes that are open may turn out to be equal."""
    dtype, dims = given
    if dtype is not b.dtype:
        yield f"{what} is {dtype.name}, the body has {b.dtype.name}"
    if dims is None or b.dims is None:
        return
    if len(dims) != len(b.dims):
        yield f"{what} has {len(dims)} axes, the body has {len(b.dims)}"
        return
    known = body.bound(sizes)
    own: Equalities | None = None
    for axis, (m, n) in enumerate(zip(dims, b.dims, strict=True)):
        if D.symbols_of(n) <= known.keys():
            n = D.substitute(n, known)
        if isinstance(m, int) and isinstance(n, int) and m != n:
            own = own or own_equalities(body, known)
            if own.equal(m, n):  # which the body checks
                continue
            yield f"{what} has the size {m} in axis {axis}, the body has {n}"


__all__ = ["control_fault"]
