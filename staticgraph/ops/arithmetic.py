"""Addition, multiplication and their kin, rounding, and Python's true division.

Integer division (`FloorDiv`, `FloorMod`, `TruncateDiv`, `TruncateMod`) by zero gives 0, in
kernels and in numpy rules alike; an integer power with a negative exponent gives 0 too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from staticgraph.ir import dims, dtypes, operators
from staticgraph.ir.build import convert, is_tensor_like
from staticgraph.ir.dims import Dim
from staticgraph.ir.graph import Tensor, get_default_graph
from staticgraph.ir.op import ErrorSample, Infer, Op, Sample, lookup
from staticgraph.ir.scalar import Expr, Operand, s
from staticgraph.ir.types import TensorType, UnknownRankError
from staticgraph.ops.rules import FLOATING, NUMERIC, binary, floats, ints, on_kind, same, unary

SIGNED = (*FLOATING, dtypes.int8, dtypes.int16, dtypes.int32, dtypes.int64)


def choose(condition: Any, t: Any, e: Any) -> Any:
    """Elements of `t` where `condition` holds, else of `e`; for gradient rules."""
    return lookup("SelectV2")(condition, t, e)


# ---------------------------------------------------------------- sums and products
add: Op = binary("Add", np.add, lambda a, b: a + b, lambda g, y, a, b: (g, g), folds=True)
add_v2: Op = binary("AddV2", np.add, lambda a, b: a + b, lambda g, y, a, b: (g, g), folds=True)
sub: Op = binary("Sub", np.subtract, lambda a, b: a - b, lambda g, y, a, b: (g, neg(g)), folds=True)
mul: Op = binary(
    "Mul", np.multiply, lambda a, b: a * b, lambda g, y, a, b: (g * b, g * a), folds=True
)
neg: Op = Op(
    "Neg", ("x",), same(NUMERIC),
    lambda ctx, x: x.dims, on_kind(lambda x, **_: np.negative(x), lambda _: np.negative),
    lambda g, y, x, **_: (neg(g),),
    lower=lambda ix, x: -x.at(ix), folds=True,
    samples=lambda: (
        Sample((floats(shape=(3, 5), dtype="float64"),)), Sample((floats(shape=(17,)),)),
        Sample((floats(shape=(0, 2)),)), Sample((floats(shape=()),)),
        Sample((ints(),), grad=False), Sample((ints(dtype="int64"),), grad=False),
    ),
    error_samples=lambda: (ErrorSample((np.zeros(2, bool),), {}, "does not take bool"),),
)  # fmt: skip
square: Op = unary(
    "Square", np.square, lambda x: x * x, lambda g, y, x: g * (x * 2), allowed=NUMERIC, cheap=True
)
squared_difference: Op = binary(
    "SquaredDifference", lambda a, b: np.square(a - b), lambda a, b: (a - b) * (a - b),
    lambda g, y, a, b: _squared_difference_grad(g * ((a - b) * 2)),
)  # fmt: skip


def _squared_difference_grad(d: Any) -> tuple[Any, Any]:
    return d, neg(d)


def one_shape(ctx: Infer, *types: TensorType, **_: Any) -> tuple[Dim, ...]:
    """One shape for all operands, without broadcasting; operands of unknown rank agree."""
    known = [t.dims for t in types if t.shape is not None]
    if not known:
        raise UnknownRankError
    out = known[0]
    for other in known[1:]:
        if len(other) != len(out):
            ctx.equal(len(out), len(other), "ranks differ, {a} and {b}")
        out = tuple(
            ctx.equal(a, b, f"sizes of axis {i} differ, {{a}} and {{b}}")
            for i, (a, b) in enumerate(zip(out, other, strict=True))
        )
    return out


def _np_add_n(*xs: np.ndarray, **_: Any) -> np.ndarray:
    total = xs[0]
    for x in xs[1:]:
        total = total + x
    return total


def _lower_add_n(ix: tuple[Expr, ...], *xs: Operand, **_: Any) -> Expr:
    total: Expr = xs[0].at(ix)
    for x in xs[1:]:
        total = total + x.at(ix)
    return total


add_n: Op = Op(
    "AddN", ("*inputs",), same(NUMERIC), one_shape, _np_add_n,
    lambda g, y, *xs, **_: (g,) * len(xs), lower=_lower_add_n, folds=True,
    samples=lambda: (
        Sample(([floats(shape=(3, 4), seed=i, dtype="float64") for i in range(3)],)),
        Sample(([floats(shape=(17,), seed=i) for i in range(2)],)),
        Sample(([floats(shape=(2, 0))],)),
        Sample(([ints(seed=i) for i in range(2)],), grad=False),
    ),
    error_samples=lambda: (
        ErrorSample(([np.zeros((2, 3)), np.zeros((2, 4))],), {}, "sizes of axis 1 differ, 3 and 4"),
        ErrorSample(([np.zeros(2), np.zeros((2, 2))],), {}, "ranks differ, 1 and 2"),
        ErrorSample(([np.zeros(2, bool)],), {}, "does not take bool"),
    ),
    doc="The sum of tensors of one shape.",
)  # fmt: skip

mul_no_nan: Op = binary(
    "MulNoNan", lambda a, b: np.where(b == 0, b * 0, a * b).astype(a.dtype),
    lambda a, b: s.select(b.eq(0), 0, a * b),
    lambda g, y, a, b: (mul_no_nan(g, b), mul_no_nan(a, g)), allowed=FLOATING,
    extra=(
        Sample(
            (np.array([np.inf, np.nan, 2, 3], "float32"), np.array([0, 0, 0, 4], "float32")),
            grad=False,
        ),
    ),
    doc="The product, 0 wherever the second operand is 0, even times infinity or NaN.",
)  # fmt: skip


# ---------------------------------------------------------------- division
real_div: Op = binary(
    "RealDiv", np.true_divide, lambda a, b: a / b,
    lambda g, y, a, b: (real_div(g, b), neg(real_div(g * y, b))),
    allowed=FLOATING, domain=(0.5, 2.0), cheap=False,
)  # fmt: skip


def _np_truncdiv(a: np.ndarray, b: np.ndarray) -> Any:
    if np.issubdtype(a.dtype, np.integer):
        quotient = np.floor_divide(a, b)
        up = (np.mod(a, b) != 0) & ((a < 0) != (b < 0))
        return (quotient + up).astype(a.dtype)
    return np.trunc(a / b)


def _np_div(a: np.ndarray, b: np.ndarray) -> Any:
    return _np_truncdiv(a, b) if np.issubdtype(a.dtype, np.integer) else np.true_divide(a, b)


def _np_fold(fn: Callable[[Any, Any], Any], sizes: Callable[[Dim, Dim], Dim]) -> Callable[..., Any]:
    """A numpy rule that also works on arrays of sizes, where comparison needs `sizes`."""
    on_sizes = np.frompyfunc(sizes, 2, 1)
    return on_kind(
        lambda a, b: on_sizes(a, b) if a.dtype == object or b.dtype == object else fn(a, b),
        lambda kind: None if kind == object else fn,
    )


_BY_ZERO = (
    Sample((np.array([-7, 7, 0, -7, 7], "int32"), np.array([0, 0, 0, 2, -2], "int32")), grad=False),
)
div: Op = binary(
    "Div", _np_div, lambda a, b: a / b if a.dtype.is_floating else s.truncdiv(a, b),
    lambda g, y, a, b: (real_div(g, b), neg(real_div(g * y, b))),
    domain=(0.5, 2.0), cheap=False, extra=_BY_ZERO,
    doc="Division; of integers, rounded towards zero.",
)  # fmt: skip
floor_div: Op = binary(
    "FloorDiv", _np_fold(np.floor_divide, dims.floordiv), lambda a, b: s.floordiv(a, b), None,
    domain=(0.5, 2.0), cheap=False, folds=True, extra=_BY_ZERO,
)  # fmt: skip
truncate_div: Op = binary(
    "TruncateDiv", _np_truncdiv, lambda a, b: s.truncdiv(a, b), None,
    domain=(0.5, 2.0), cheap=False, extra=_BY_ZERO,
)  # fmt: skip
floor_mod: Op = binary(
    "FloorMod", _np_fold(np.mod, dims.mod), lambda a, b: s.mod(a, b),
    lambda g, y, a, b: (g, neg(g * floor_div(a, b))),
    domain=(0.5, 2.0), cheap=False, folds=True, extra=_BY_ZERO,
)  # fmt: skip


def _truncate_mod_grad(g: Any, y: Any, a: Any, b: Any) -> tuple[Any, Any]:
    return g, neg(g * truncate_div(a, b))


truncate_mod: Op = binary(
    "TruncateMod", np.fmod, lambda a, b: s.truncmod(a, b), _truncate_mod_grad,
    domain=(0.5, 2.0), cheap=False, extra=_BY_ZERO,
)  # fmt: skip
mod: Op = binary(
    "Mod", np.fmod, lambda a, b: s.truncmod(a, b), _truncate_mod_grad,
    domain=(0.5, 2.0), cheap=False, extra=_BY_ZERO,
)  # fmt: skip
div_no_nan: Op = binary(
    "DivNoNan", lambda a, b: np.where(b == 0, b * 0, a / b).astype(a.dtype),
    lambda a, b: s.select(b.eq(0), 0, a / b),
    lambda g, y, a, b: (div_no_nan(g, b), neg(div_no_nan(g * y, b))),
    allowed=FLOATING, domain=(0.5, 2.0), cheap=False,
    extra=(Sample((floats(shape=(4,)), np.array([0, 1, -0.0, 2], "float32")), grad=False),),
    doc="The quotient, 0 where the divisor is 0.",
)  # fmt: skip
reciprocal: Op = unary(
    "Reciprocal",
    np.reciprocal,
    lambda x: 1 / x,
    lambda g, y, x: neg(g * (y * y)),
    domain=(0.5, 2.0),
)
inv: Op = unary(
    "Inv", np.reciprocal, lambda x: 1 / x, lambda g, y, x: neg(g * (y * y)), domain=(0.5, 2.0)
)

# True division of integers: small ones fit float32 exactly, as in TensorFlow.
_QUOTIENT = {
    dtypes.int8: dtypes.float32, dtypes.uint8: dtypes.float32,
    dtypes.int16: dtypes.float32, dtypes.uint16: dtypes.float32,
    dtypes.int32: dtypes.float64, dtypes.int64: dtypes.float64,
    dtypes.uint32: dtypes.float64, dtypes.uint64: dtypes.float64,
}  # fmt: skip


def true_divide(x: Any, y: Any, name: str | None = None) -> Any:
    """``x / y`` as in Python 3: integers are converted to floating point first."""
    applicable = [t for t in (x, y) if isinstance(t, operators.Operators)]
    if applicable and not any(map(is_tensor_like, (x, y))):
        wide = _QUOTIENT.get(applicable[0].dtype.base)  # type: ignore[attr-defined]
        if wide is not None:
            x, y = (
                lookup("Cast")(t, DstT=wide) if isinstance(t, operators.Operators) else t
                for t in (x, y)
            )
        return real_div(x, y, name=name)
    x, y = (t.as_graph_tensor() if hasattr(t, "as_graph_tensor") else t for t in (x, y))
    graph = get_default_graph()  # or that of the operands, where this is no body in theirs
    owners = [t.graph for t in (x, y) if isinstance(t, Tensor)]
    if owners and not any(map(graph.within, owners)):
        graph = owners[0]
    with graph.as_default(), graph.name_scope(name or "truediv") as scope:
        if isinstance(y, Tensor):
            x = x if isinstance(x, Tensor) else convert(x, y.dtype, name="x")
        else:
            x = convert(x, name="x")
            y = convert(y, x.dtype, name="y")
        wide = _QUOTIENT.get(x.dtype.base)
        if wide is not None and x.dtype.base is y.dtype.base:
            x, y = lookup("Cast")(x, DstT=wide), lookup("Cast")(y, DstT=wide)
        return real_div(x, y, name=scope)


operators.set_true_division(true_divide)


# ---------------------------------------------------------------- powers
def _np_pow(a: np.ndarray, b: np.ndarray) -> Any:
    if np.issubdtype(a.dtype, np.integer):
        return np.where(b < 0, 0, np.power(a, np.maximum(b, 0))).astype(a.dtype)
    return _np_float_pow(a, b)


def _np_float_pow(a: np.ndarray, b: np.ndarray) -> Any:
    if np.ndim(b) == 0:  # numpy's power takes its time, for negative bases above all
        if b == 2:
            return np.square(a)
        if b == 3:
            return a * a * a
    return np.power(a, b)


def constant_of(x: Any) -> np.ndarray | None:
    """The value of a constant; None of every other tensor.

    A constant of a graph is its operation's; other kinds of tensors tell by `constant_value`.
    """
    tell = getattr(x, "constant_value", None)
    if tell is not None:
        told: np.ndarray | None = tell()
        return told
    op = getattr(x, "op", None)
    if op is None or op.record.name != "Const":
        return None
    array = op.attrs["value"].array
    return array if isinstance(array, np.ndarray) else None


def _pow_grad(g: Any, y: Any, a: Any, b: Any) -> tuple[Any, Any]:
    """b * a**(b-1) and a**b * log(a), neither NaN at 0**0 nor for a negative base."""
    known = constant_of(b)
    if known is not None and known.ndim == 0 and known == 2:
        slope = a * 2
    else:
        down = b - 1
        if known is None or not known.all():
            both_zero = lookup("LogicalAnd")(lookup("Equal")(a, 0), lookup("Equal")(b, 0))
            down = choose(both_zero, 1, down)  # 0 * 0**1, where 0 * 0**-1 is NaN
        slope = b * power(a, down)
    positive = lookup("Greater")(a, 0)
    log = choose(positive, lookup("Log")(choose(positive, a, 1)), 0)
    return g * slope, g * (y * log)


power: Op = binary(
    "Pow",
    on_kind(_np_pow, lambda kind: _np_float_pow if kind.kind == "f" else None),
    lambda a, b: s.pow(a, b),
    _pow_grad,
    domain=(0.5, 2.0),
    cheap=False,
    extra=(
        Sample(
            (np.array([-2, 2, 0, 0, 3], "int32"), np.array([3, -1, 0, 2, 5], "int32")), grad=False
        ),
        Sample(
            (np.array([0, 0, -2, 4], "float32"), np.array([0, 2, 3, 0.5], "float32")), grad=False
        ),
    ),
)


# ---------------------------------------------------------------- sign, extremes, rounding
def _keep_ints(fn: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda x: x if np.issubdtype(x.dtype, np.integer) else fn(x)


abs_: Op = unary("Abs", np.abs, s.abs, lambda g, y, x: g * sign(x), allowed=SIGNED, cheap=True)
sign: Op = unary(
    "Sign", np.sign, s.sign, lambda g, y, x: lookup("ZerosLike")(x), allowed=SIGNED, cheap=True
)
maximum: Op = binary(
    "Maximum", _np_fold(np.maximum, dims.maximum), lambda a, b: s.maximum(a, b),
    lambda g, y, a, b: _by_side(lookup("GreaterEqual")(a, b), g), folds=True,
)  # fmt: skip
minimum: Op = binary(
    "Minimum", _np_fold(np.minimum, dims.minimum), lambda a, b: s.minimum(a, b),
    lambda g, y, a, b: _by_side(lookup("LessEqual")(a, b), g), folds=True,
)  # fmt: skip


def _by_side(first: Any, g: Any) -> tuple[Any, Any]:
    return choose(first, g, 0), choose(first, 0, g)


floor: Op = unary("Floor", np.floor, s.floor, None, cheap=True)
ceil: Op = unary("Ceil", np.ceil, s.ceil, None, cheap=True)
rint: Op = unary("Rint", np.rint, s.rint, None, cheap=True)
round_: Op = unary(
    "Round", _keep_ints(np.rint), lambda x: s.rint(x) if x.dtype.is_floating else x, None,
    allowed=NUMERIC, cheap=True, samples=(
        Sample((np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 2.4, np.inf], "float32"),), grad=False),
        Sample((ints(),), grad=False),
    ), doc="To the nearest integer, halves to the even one.",
)  # fmt: skip
