"""Index lambdas and decompositions of structural ops against their oracle.

Every load must stay inside its tensor, on the side of a `select` that is not taken too: generated
code may evaluate both.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import pytest

import staticgraph.ops  # noqa: F401
from staticgraph.ir import dims as D
from staticgraph.ir.evaluate import bind_sizes, evaluate
from staticgraph.ir.function import Builder
from staticgraph.ir.op import Op, Sample, lookup
from staticgraph.ir.scalar import Index, Lit, Load, Operand, Prim, Reduce, Size
from tests.ops.harness import flat_args, sample_function

NAMES = """
Identity StopGradient IdentityN EnsureShape PlaceholderWithDefault Shape Size Rank Reshape
Transpose ExpandDims Squeeze BroadcastTo BroadcastArgs Fill Range FloatRange LinSpace
InvertPermutation Pack Unpack ConcatV2 ConcatGrad Split SplitV Slice PadLike SliceLike StridedSlice
StridedSliceGrad TakeIndex PutIndex Pad PadV2 MirrorPad MirrorPadGrad Tile TileGrad ReverseV2 Roll
MatrixDiag MatrixDiagPart MatrixSetDiag MatrixBandPart Diag DiagPart SpaceToDepth DepthToSpace
SpaceToBatchND BatchToSpaceND SumToShapeOf BroadcastToShapeOf ReshapeLike SpreadLike ZerosLike
OnesLike"""
CASES = [
    pytest.param(lookup(n), s, id=f"{n}-{i}")
    for n in NAMES.split()
    for i, s in enumerate(lookup(n).samples)
]
FUNCTIONS: dict[str, Any] = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "div": operator.truediv,
    "neg": operator.neg, "lt": operator.lt, "le": operator.le, "gt": operator.gt,
    "ge": operator.ge, "eq": operator.eq, "ne": operator.ne,
    "and": lambda a, b: a and b, "or": lambda a, b: a or b,
    "floordiv": lambda a, b: a // b if b else 0, "mod": lambda a, b: a % b if b else 0,
    "select": lambda c, a, b: a if c else b,
}  # fmt: skip


class _Element:
    """Evaluates the expression of one element."""

    def __init__(self, arrays: list[np.ndarray], sizes: dict[Any, int]) -> None:
        self.arrays, self.sizes = arrays, sizes

    def __call__(self, e: Any, at: dict[str, int]) -> Any:
        match e:
            case Lit():
                return e.value
            case Index():
                return at[e.name]
            case Size():
                return D.evaluate(e.dim, self.sizes)
            case Load():
                index = tuple(int(self(i, at)) for i in e.index)
                array = self.arrays[e.operand]
                if not array.size:  # a part that is empty: nothing of it is used
                    return array.dtype.type(0)
                assert all(0 <= i < n for i, n in zip(index, array.shape, strict=True)), e
                return array[index]
            case Prim(name="cast"):
                return np.asarray(self(e.args[0], at)).astype(e.dtype.np)[()]
            case Prim(name="check_index"):
                i, bound = (self(a, at) for a in e.args)
                assert 0 <= i < bound
                return i
            case Prim():
                return FUNCTIONS[e.name](*(self(a, at) for a in e.args))
        raise TypeError(e)


@pytest.mark.parametrize("symbolic", [False, True], ids=["known", "symbolic"])
@pytest.mark.parametrize(("op", "sample"), CASES)
def test_the_rule_gives_the_oracles_elements(op: Op, sample: Sample, symbolic: bool) -> None:
    args = flat_args(op, sample)
    f = sample_function(op, sample, symbolic)
    node = f.nodes[-1]
    want = evaluate(f, args)[0]
    if any(v.type.shape is None for v in node.outputs):
        return  # decided when sizes are known
    if op.decompose is not None:
        builder = Builder(like=f)
        with builder:
            out = op.decompose(*node.inputs, **node.attrs)
        got = evaluate(builder.finish(out if isinstance(out, list) else [out]), args)[0]
    else:
        got = [_elements(op, node, args, want[0], f)]
    assert len(got) == len(want)
    for g, w in zip(got, want, strict=True):
        assert (g.shape, g.dtype) == (w.shape, w.dtype)
        np.testing.assert_allclose(g.astype(float), w.astype(float), rtol=1e-5, atol=1e-6)


def _elements(op: Op, node: Any, args: list[np.ndarray], want: np.ndarray, f: Any) -> np.ndarray:
    sizes: dict[Any, int] = {}
    for p, a in zip(f.params, args, strict=True):
        bind_sizes(f, p.value, a, sizes)
    type_ = node.outputs[0].type
    assert tuple(D.evaluate(d, sizes) for d in type_.dims) == want.shape
    ix = tuple(Index(f"i{k}") for k in range(type_.rank))
    assert op.lower is not None
    e = op.lower(ix, *(Operand(i, v.type) for i, v in enumerate(node.inputs)), **node.attrs)
    assert e.dtype is type_.dtype
    element = _Element(args, sizes)
    out = np.zeros_like(want)
    for place in np.ndindex(*want.shape):
        at = {f"i{k}": i for k, i in enumerate(place)}
        if isinstance(e, Reduce):
            extents = [D.evaluate(d, sizes) for d in e.extents]
            body = e.body(tuple(Index(f"r{k}") for k in range(len(extents))))
            assert e.kind == "sum"
            out[place] = sum(
                element(body, {**at, **{f"r{k}": i for k, i in enumerate(r)}})
                for r in np.ndindex(*extents)
            )
        else:
            out[place] = element(e, at)
    return out
