"""Functions whose kernels the CUDA tests print, compile and run; nothing here needs CUDA."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import staticgraph.ops  # noqa: F401  (fills the registry)
from staticgraph.ir import dtypes
from staticgraph.ir.dims import Dim, symbol
from staticgraph.ir.dtypes import DType
from staticgraph.ir.function import Builder, Function, SizeOf
from staticgraph.ir.op import lookup
from staticgraph.ir.program import Program
from staticgraph.ir.types import TensorType
from staticgraph.passes.autodiff import vjp
from staticgraph.passes.cleanup import Decompose, Fold, Prune, Share
from staticgraph.passes.fusion import fuse
from staticgraph.passes.lower import lower
from staticgraph.passes.simplify import Simplify

N, M, K = symbol("n"), symbol("m"), symbol("k")
F32, I32 = dtypes.float32, dtypes.int32


@dataclass(frozen=True)
class Case:
    """A function of tensors of these shapes; `lanes` says that some loads are of 16 bytes."""

    shapes: tuple[tuple[Dim, ...], ...]
    make: Callable[..., Any]
    lanes: bool = False
    dtypes: tuple[DType, ...] = ()
    gradient: bool = False


def function(case: Case, name: str = "f") -> Function:
    """The function of a case."""
    b = Builder(name)
    values = []
    for i, shape in enumerate(case.shapes):
        dtype = case.dtypes[i] if case.dtypes else F32
        v = b.param("feed", f"x{i}", TensorType(dtype, shape))
        for axis, d in enumerate(shape):
            if not isinstance(d, int):
                b.define(d, SizeOf(v, axis))
        values.append(v)
    with b:
        out = case.make(*values)
    f = b.finish(out if isinstance(out, list | tuple) else [out])
    return vjp(f) if case.gradient else f


def compiled(f: Function) -> Program:
    """A function's kernels, steps and buffers."""
    for step in (Decompose(), Fold(), Simplify(), Share(), Prune()):
        f = step(f)
    return lower(f, fuse(f))


def op(name: str, *args: Any, **attrs: Any) -> Any:
    """Apply an op."""
    return lookup(name)(*args, **attrs)


def _layer_norm(x: Any) -> Any:
    centred = x - op("Mean", x, (1,), keep_dims=True)
    variance = op("Mean", centred * centred, (1,), keep_dims=True)
    return centred * op("Rsqrt", variance + 1e-5)


def _total(axes: Sequence[int], kind: str = "Sum") -> Callable[..., Any]:
    return lambda x: op(kind, x, tuple(axes), keep_dims=False)


def _all_above(x: Any) -> Any:
    return op("All", op("Greater", x, -2.0), (1,), keep_dims=False)


def _sum_over_swapped_axes(x: Any) -> Any:
    return op("Sum", op("Transpose", x, (2, 1, 0)), (0, 2), keep_dims=False)


def _mean_of_squares(x: Any) -> Any:
    return op("Mean", x * x, (0,), keep_dims=False)


def _sigmoid_of_division(x: Any, w: Any) -> Any:
    return op("Tanh", x) / (1 + op("Exp", -w))


def _loop(x: Any, start: Any) -> Any:
    """A recurrence over rows of three."""
    b = Builder("body")
    row = TensorType(F32, (3,))
    c, v = b.param("feed", "c", row), b.param("feed", "v", row)
    with b:
        after, product = op("Tanh", c) * 0.5 + v, c * v
    body = b.finish([after, after, product])
    return op("Scan", N, [start, x], body=body, carries=1, sequences=1, reverse=True,
              histories=(0,))  # fmt: skip


CASES = {
    "chain": Case(((N,), (N,)), _sigmoid_of_division, lanes=True),
    "chain_of_matrices": Case(((N, M), (N, M)), _sigmoid_of_division, lanes=True),
    "integers": Case(((N,), (N,)), lambda x, y: x * 3 - y, lanes=True, dtypes=(I32, I32)),
    "bias_relu": Case(((N, M), (M,)), lambda x, b: op("Relu", x + b)),
    "bias_relu_64": Case(((N, 64), (64,)), lambda x, b: op("Relu", x + b), lanes=True),
    "relu_gradient": Case(((N, M),), lambda x: op("Relu", x), lanes=True, gradient=True),
    "comparison": Case(((N,), (N,)), lambda x, y: op("Greater", x, y)),
    "softmax": Case(((N, M),), lambda x: op("Softmax", x)),
    "softmax_64": Case(((N, 64),), lambda x: op("Softmax", x), lanes=True),
    "layer_norm": Case(((N, M),), _layer_norm),
    "sum_of_all": Case(((N,),), _total([0]), lanes=True),
    "mean_of_squares": Case(((N,),), _mean_of_squares, lanes=True),
    "mean_of_squares_1000": Case(((1000,),), _mean_of_squares, lanes=True),
    "column_sum": Case(((N, M),), _total([0])),
    "column_maximum": Case(((N, M),), _total([0], "Max")),
    "all_of_rows": Case(((N, M),), _all_above),
    "argmax": Case(((N, M),), lambda x: op("ArgMax", x, 1)),
    "argmax_64": Case(((N, 64),), lambda x: op("ArgMax", x, 1), lanes=True),
    "softmax_8192": Case(((N, 8192),), lambda x: op("Softmax", x), lanes=True),
    "nest": Case(((N, M, K),), _sum_over_swapped_axes),
    "short_rows": Case(((N, 7),), lambda x: op("Sum", x * x, (1,), keep_dims=False)),
    "loop": Case(((N, 3), (3,)), _loop),
    "gather": Case(((N, M), (K,)), lambda x, i: op("GatherV2", x, i, 0), dtypes=(F32, I32)),
}
