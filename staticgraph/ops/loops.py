"""Loops inside the graph: ``Scan`` over a known number of steps, ``While`` a predicate holds.

Both have the same form.  Operands are `carries` initial carries, `sequences` arrays of which each
iteration gets one slice along the first axis, and any number of invariants; ``While`` has a bool
scalar as its first carry and goes on as long as it holds, looking before each iteration.

    body(carries, slices, invariants) -> new carries, outputs

Results are the carries at the end; the number of iterations (int64; ``While`` only); each output
stacked along a new first axis; and the *histories*: the carries with the numbers in `histories`
as they were at the start of each iteration, stacked.  Histories are what reverse mode needs, so
no loop has to be run, or built, again to be differentiated.  `reverse` goes through sequences
from the last slice to the first; outputs and histories stand where the slices stood.

`length` is the number of iterations, for ``While`` the most there may be (-1: no limit).

A loop over segments of another one, which is there to need less memory, has the attribute
`SEGMENTS`.  What its iterations compute is then not made for all of them at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from staticgraph.errors import StaticGraphError
from staticgraph.ir import dims as D
from staticgraph.ir import dtypes
from staticgraph.ir.dims import Dim
from staticgraph.ir.dtypes import DType
from staticgraph.ir.equalities import Equalities, own_equalities
from staticgraph.ir.function import Builder, Function
from staticgraph.ir.op import REQUIRED, ErrorSample, Infer, Op, RuleError, Sample
from staticgraph.ir.types import ConstantArray, TensorType
from staticgraph.ops.arithmetic import add, mul
from staticgraph.ops.comparison import less
from staticgraph.ops.constant import const
from staticgraph.ops.iteration import counted

SEGMENTS = "_segments"


def count_results(
    body: Any, carries: int, histories: Sequence[int], conditional: bool, **_: Any
) -> int:
    """How many results a loop has."""
    return len(body.result_types) + conditional + len(histories)


def outside(ctx: Infer, type_: TensorType, body: Any, sizes: Sequence[Dim]) -> TensorType:
    """A type of a body as the enclosing function sees it: what it cannot know is open."""
    if type_.shape is None:
        return type_
    known = body.bound(sizes)
    if known is None:  # a graph, whose sizes are those of the graph around it
        return type_
    dims = [
        D.substitute(d, known) if D.symbols_of(d) <= known.keys() else ctx.fresh("m")
        for d in type_.shape
    ]
    return TensorType(type_.dtype, tuple(dims))


def check_passed(
    ctx: Infer, types: Sequence[TensorType], params: Sequence[TensorType], body: Any,
    sizes: Sequence[Dim],
) -> None:  # fmt: skip
    """Refuse operands that are not what a body takes; assume that open sizes agree.

    Those that the body's own guards make equal are for the body to check, where it runs.
    """
    if len(types) != len(params):
        raise RuleError(f"the body takes {len(params)} values, {len(types)} are given")
    known = body.bound(sizes)
    own: Equalities | None = None
    for k, (t, p) in enumerate(zip(types, params, strict=True)):
        if t.dtype.base is not p.dtype.base:
            raise RuleError(
                f"value {k} is {t.dtype.base.name}, the body takes {p.dtype.base.name}",
                kind="dtype",
            )
        if known is None or t.shape is None or p.shape is None:
            continue
        if len(t.shape) != len(p.shape):
            raise RuleError(f"value {k} is {t.public()}, the body takes {p.public()}")
        for a, b in zip(t.shape, p.shape, strict=True):
            if a != b and D.symbols_of(b) <= known.keys():
                want = D.substitute(b, known)
                if a != want and body.guards:
                    own = own or own_equalities(body, known)
                    if own.equal(a, want):
                        continue
                message = f"value {k} has size {{a}}, the body takes {{b}}"
                ctx.equal(a, want, message)


def _slice(t: TensorType) -> TensorType:
    return TensorType(t.dtype, None if t.shape is None else t.shape[1:])


def check_carries(body: Any, carries: int) -> None:
    """Refuse a body whose new carries are of other dtypes than those that enter."""
    for k, (p, r) in enumerate(
        zip(body.param_types[:carries], body.result_types[:carries], strict=True)
    ):
        if p.dtype.base is not r.dtype.base:
            raise RuleError(
                f"carry {k} enters as {p.dtype.base.name} and leaves as {r.dtype.base.name}",
                kind="dtype",
            )


def _dtypes(
    *types: DType, body: Any, carries: int, histories: Sequence[int], conditional: bool, **_: Any
) -> tuple[DType, ...]:
    results = [t.dtype.base for t in body.result_types]
    kept = [body.param_types[k].dtype.base for k in histories]
    trips = [dtypes.int64] if conditional else []
    return (*results[:carries], *trips, *results[carries:], *kept)


def _shape(
    ctx: Infer, *types: TensorType, length: Dim | None, body: Any, sizes: Sequence[Dim],
    carries: int, sequences: int, histories: Sequence[int], conditional: bool, **_: Any,
) -> tuple[Any, ...]:  # fmt: skip
    check_carries(body, carries)
    if len(set(histories)) != len(histories):
        raise RuleError(f"a history is asked for twice: {list(histories)}")
    if conditional and (
        body.param_types[0].dtype.base is not dtypes.bool_ or body.param_types[0].shape != ()
    ):
        raise RuleError(f"the predicate must be a bool scalar, got {body.param_types[0].public()}")
    trips: Dim = ctx.fresh("t") if conditional or length is None else length
    for k, t in enumerate(types[carries : carries + sequences]):
        if t.shape is not None and not t.shape:
            raise RuleError(f"sequence {k} is a scalar, it has no steps")
        if t.shape is not None and not conditional and length is not None:
            ctx.equal(t.shape[0], length, f"sequence {k} has {{a}} steps, the loop {{b}}")
    passed = [_slice(t) if carries <= k < carries + sequences else t for k, t in enumerate(types)]
    check_passed(ctx, passed, body.param_types, body, sizes)
    finals: list[Any] = []
    for k in range(carries):
        p, r = body.param_types[k], body.result_types[k]
        if p.shape is not None and r.shape is not None and len(p.shape) != len(r.shape):
            raise RuleError(
                f"carry {k} enters with the shape {p.public()} and leaves with {r.public()}"
            )
        finals.append(outside(ctx, p, body, sizes).shape)
    stacked = [*body.result_types[carries:], *(body.param_types[k] for k in histories)]
    out: list[Any] = []
    for t in stacked:
        t = outside(ctx, t, body, sizes)
        out.append(None if t.shape is None else (trips, *t.shape))
    return (*finals, *([()] if conditional else []), *out)


def _run(
    *arrays: np.ndarray, length: int, body: Any, sizes: Sequence[int], carries: int,
    sequences: int, reverse: bool, histories: Sequence[int], conditional: bool, **_: Any,
) -> tuple[np.ndarray, ...]:  # fmt: skip
    """The meaning of a loop; `body` takes a list of arrays and gives one."""
    del sizes
    state = list(arrays[:carries])
    xs = arrays[carries : carries + sequences]
    rest = arrays[carries + sequences :]
    outputs: list[list[np.ndarray]] = [[] for _ in range(body.count - carries)]
    kept: list[list[np.ndarray]] = [[] for _ in histories]
    limit = length if length >= 0 else None
    if conditional and xs:
        shortest = min(len(x) for x in xs)
        limit = shortest if limit is None else min(limit, shortest)
    k = 0
    with counted() as numbers:
        while (limit is None or k < limit) and (not conditional or bool(state[0])):
            at = length - 1 - k if reverse else k
            numbers[-1] = k
            for store, c in zip(kept, histories, strict=True):
                store.append(state[c])
            try:
                out = body([*state, *(x[at] for x in xs), *rest])
            except StaticGraphError as e:
                raise in_iteration(e, k) from e.__cause__
            except Exception as e:  # of a user's function
                e.add_note(f"in iteration {k} of a loop")
                raise
            state = list(out[:carries])
            for store, y in zip(outputs, out[carries:], strict=True):
                store.append(y)
            k += 1
    stacks = [
        _stack(ys[::-1] if reverse else ys, body.nothing(carries + i))
        for i, ys in enumerate(outputs)
    ]
    stacks += [
        _stack(
            ys[::-1] if reverse else ys,
            np.zeros((0, *arrays[c].shape), arrays[c].dtype),
            "say with shape_invariants which rank the loop variable has",
        )
        for c, ys in zip(histories, kept, strict=True)
    ]
    return (*state, *([np.asarray(k, np.int64)] if conditional else []), *stacks)


def _stack(
    values: Sequence[np.ndarray], nothing: np.ndarray, hint: str | None = None
) -> np.ndarray:  # fmt: skip
    if not values:
        return nothing
    shapes = {np.shape(v) for v in values}
    if len(shapes) > 1:
        a, b = sorted(shapes)[:2]
        raise RuleError(f"values of shapes {list(a)} and {list(b)} cannot be stacked", hint=hint)
    return np.stack(values)


def in_iteration(e: StaticGraphError, k: int) -> StaticGraphError:
    """The error `e` with the iteration it happened in, counted from 0."""
    return type(e)(
        e.message, loc=e.loc, operands=(*e.operands, f"in iteration {k} of a loop"), hint=e.hint
    )


SCAN_ATTRS = {
    "body": REQUIRED, "sizes": (), "carries": REQUIRED, "sequences": 0, "reverse": False,
    "histories": (), "conditional": False,
}  # fmt: skip


def gradient(g: Any, y: Any, *inputs: Any, **attrs: Any) -> Any:
    """The cotangents of a loop's operands; the graph that the body is knows how to build them."""
    body = attrs["body"]
    if isinstance(body, Function):
        raise RuleError("a loop is differentiated in the graph, before a run is closed")
    return body.gradient("loop", g, y, inputs, attrs)


def _sample_body(conditional: bool) -> Function:
    """``c, x, w -> c * w + x, c * x``, with a counter and a predicate before it for ``While``."""
    b = Builder("body")
    f32, i32 = dtypes.float32, dtypes.int32
    if conditional:
        b.param("feed", "go", TensorType(dtypes.bool_, ()))
        k = b.param("feed", "k", TensorType(i32, ()))
    c, x, w = (b.param("feed", n, TensorType(f32, (3,))) for n in "cxw")
    with b:
        results = [add(mul(c, w), x), mul(c, x)]
        if conditional:
            one, three = (
                b.apply(const, (), {"value": ConstantArray(np.array(n, np.int32)), "dtype": i32})
                for n in (1, 3)
            )
            after = add(k, one)
            results = [less(after, three), after, *results]
    return b.finish(results)


_C, _X, _W = (np.array(v, np.float32) for v in ([1, -2, 0.5], [[1, 2, 3]] * 4, [0.5, 0.25, -1]))
_COUNT = (np.array(True), np.array(0, np.int32))
_SAMPLE = {"body": _sample_body(False), "carries": 1, "sequences": 1}

scan = Op(
    "Scan",
    ("@length", "*inputs"),
    _dtypes,
    _shape,
    _run,
    gradient,
    library="loop",
    attrs=SCAN_ATTRS,
    operand_dtypes={"inputs": None},
    results=lambda **attrs: count_results(**attrs),
    control=True,
    samples=lambda: (
        Sample(([_C, _X, _W],), {**_SAMPLE, "length": 4}, grad=False),
        Sample(
            ([_C, _X, _W],),
            {**_SAMPLE, "length": 4, "reverse": True, "histories": (0,)},
            grad=False,
        ),
        Sample(([_C, _X[:0], _W],), {**_SAMPLE, "length": 0, "histories": (0,)}, grad=False),
    ),
    error_samples=lambda: (
        ErrorSample(([_C, _X, _W],), {**_SAMPLE, "length": 3}, "sequence 0 has 4 steps"),
        ErrorSample(([_C, _X],), {**_SAMPLE, "length": 4}, "takes 3 values, 2 are given"),
    ),
    doc="Repeat a body `length` times.",
)

while_ = Op(
    "While",
    ("@length", "*inputs"),
    _dtypes,
    _shape,
    _run,
    gradient,
    library="loop",
    attrs={**SCAN_ATTRS, "conditional": True},
    operand_dtypes={"inputs": None},
    results=lambda **attrs: count_results(**attrs),
    control=True,
    samples=lambda: (
        Sample(
            ([*_COUNT, _C, _X, _W],),
            {
                "length": -1,
                "body": _sample_body(True),
                "carries": 3,
                "sequences": 1,
                "histories": (1, 2),
            },
            grad=False,
        ),
    ),
    error_samples=lambda: (
        ErrorSample(([_C, _X, _W],), {**_SAMPLE, "length": 4}, "the predicate must be a bool"),
    ),
    doc="Repeat a body while its first carry holds.",
)
