"""Rules that many records share: dtype and shape rules, and makers of whole families."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from staticgraph.ir import dtypes
from staticgraph.ir.dims import Dim
from staticgraph.ir.dtypes import DType
from staticgraph.ir.op import ErrorSample, Infer, Op, RuleError, Sample, lookup
from staticgraph.ir.scalar import Expr, Operand
from staticgraph.ir.types import TensorType

FLOATING = (dtypes.float16, dtypes.bfloat16, dtypes.float32, dtypes.float64)
INTEGER = (
    dtypes.int8, dtypes.int16, dtypes.int32, dtypes.int64,
    dtypes.uint8, dtypes.uint16, dtypes.uint32, dtypes.uint64,
)  # fmt: skip
NUMERIC = FLOATING + INTEGER
ALL = (*NUMERIC, dtypes.bool_)
ANY = (*ALL, dtypes.complex64, dtypes.complex128, dtypes.string)


# ---------------------------------------------------------------- dtype rules
def same(allowed: Sequence[DType], result: DType | None = None) -> Callable[..., DType]:
    """All operands share one dtype out of `allowed`; the result has it, or `result`."""

    def rule(*inputs: DType, **_: Any) -> DType:
        first = inputs[0]
        for d in inputs[1:]:
            if d is not first:
                raise RuleError(
                    f"dtypes differ, {first.name} and {d.name}",
                    hint=f"convert one with tf.cast(x, tf.{first.name})",
                    kind="dtype",
                )
        if first not in allowed:
            names = ", ".join(d.name for d in allowed)
            raise RuleError(f"does not take {first.name}; it takes {names}", kind="dtype")
        return result or first

    return rule


def by_attr(name: str = "dtype") -> Callable[..., DType]:
    """The result has the dtype in attribute `name`."""

    def rule(*_: DType, **attrs: Any) -> DType:
        return dtypes.as_dtype(attrs[name])

    return rule


# ---------------------------------------------------------------- shape rules
def broadcast_shape(ctx: Infer, *types: TensorType, **_: Any) -> tuple[Dim, ...]:
    """numpy's broadcasting."""
    return ctx.broadcast(*(t.dims for t in types))


def first_shape(ctx: Infer, x: TensorType, *_: TensorType, **__: Any) -> tuple[Dim, ...]:
    """The shape of the first operand."""
    return x.dims


# ---------------------------------------------------------------- gradients
def sum_to(g: Any, x: Any) -> Any:
    """Undo broadcasting: sum `g` to the shape of `x`.

    Where both shapes are known and equal nothing is built.
    """
    if g.type.shape is not None and g.type.shape == x.type.shape:
        return g
    return lookup("SumToShapeOf")(g, x)


def zeros_like(x: Any) -> Any:
    """Zeros of the type of `x`."""
    return lookup("ZerosLike")(x)


# ---------------------------------------------------------------- samples
@cache
def _table() -> np.ndarray:
    """One table: a generator per sample takes long."""
    return np.random.default_rng(20).random(1 << 13)


def _uniform(seed: object, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers in [0, 1) that depend on `seed` and `shape` alone; at most 4096 of them."""
    n = math.prod(shape)
    table = _table()
    start = zlib.crc32(repr(seed).encode()) % (len(table) - 4096)
    return table[start : start + n].reshape(shape)


def floats(
    lo: float = -2,
    hi: float = 2,
    shape: tuple[int, ...] = (3, 4),
    seed: int = 0,
    dtype: str = "float32",
) -> np.ndarray:
    """Evenly random floats in [lo, hi)."""
    return (lo + (hi - lo) * _uniform((lo, hi, shape, seed), shape)).astype(dtype)


def ints(
    lo: int = -9, hi: int = 10, shape: tuple[int, ...] = (3, 4), seed: int = 0, dtype: str = "int32"
) -> np.ndarray:
    """Evenly random integers in [lo, hi)."""
    drawn: np.ndarray = np.floor(lo + (hi - lo) * _uniform((lo, hi, shape, seed), shape))
    return drawn.astype(dtype)


def bools(shape: tuple[int, ...] = (3, 4), seed: int = 0) -> np.ndarray:
    """Random truth values."""
    return _uniform((shape, seed), shape) < 0.5


# ---------------------------------------------------------------- families
Grad = Callable[..., Any]


_FOR_KIND: dict[Callable[..., Any], Callable[[np.dtype], Callable[..., Any] | None]] = {}


def on_kind(
    rule: Callable[..., Any], choose: Callable[[np.dtype], Callable[..., Any] | None]
) -> Callable[..., Any]:
    """Say what a numpy rule comes down to once the operands' common element type is known.

    `choose` gives a function of the same arguments, without the detours that other types need, or
    None where there is no shorter way.
    """
    _FOR_KIND[rule] = choose
    return rule


def numpy_for(rule: Callable[..., Any], kind: np.dtype) -> Callable[..., Any]:
    """The shortest function that does what the numpy rule does on operands of one type.

    >>> from staticgraph.ops.arithmetic import mul
    >>> numpy_for(mul.numpy, np.dtype("float32"))
    <ufunc 'multiply'>
    """
    while (choose := _FOR_KIND.get(rule)) is not None and (shorter := choose(kind)) is not None:
        rule = shorter
    return rule


def _is_half(kind: np.dtype) -> bool:
    return kind.itemsize == 2 and dtypes.as_dtype(kind) in FLOATING


def in_float32(numpy: Callable[..., Any]) -> Callable[..., Any]:
    """A numpy rule that computes float16 and bfloat16 in float32, as kernels do."""

    def rule(*arrays: Any, **attrs: Any) -> Any:
        kind = arrays[0].dtype
        if kind.itemsize != 2 or dtypes.as_dtype(kind) not in FLOATING:
            return numpy(*arrays, **attrs)
        out = numpy(*(a.astype(np.float32) for a in arrays), **attrs)
        return out if out.dtype == bool else out.astype(kind)

    return on_kind(rule, lambda kind: None if _is_half(kind) else numpy)


def unary(
    name: str, numpy: Callable[..., Any], scalar: Callable[[Expr], Expr], grad: Grad | None, *,
    allowed: Sequence[DType] = FLOATING, result: DType | None = None,
    domain: tuple[float, float] = (-2.0, 2.0), kinks: bool = False, cheap: bool = False,
    samples: tuple[Sample, ...] = (), operand: str = "x", doc: str = "",
) -> Op:  # fmt: skip
    """A record of one elementwise operand.

    Args:
      scalar: the element's expression.
      grad: ``(g, y, x) -> cotangent of x``.
      domain: where samples are drawn.
      kinks: not smooth everywhere in `domain`; derivatives are then not checked numerically.
    """
    lo, hi = domain

    def made() -> tuple[Sample, ...]:
        out: tuple[Sample, ...] = ()
        if dtypes.float32 in allowed:
            out = tuple(
                Sample((floats(lo, hi, shape, dtype=dt),), grad=grad is not None and not kinks)
                for shape, dt in (
                    ((3, 5), "float64"),
                    ((17,), "float32"),
                    ((0, 2), "float32"),
                    ((), "float32"),
                )
            )
        elif dtypes.bool_ in allowed:
            out = (Sample((bools(),), grad=False), Sample((bools((0,)),), grad=False))
        if dtypes.int32 in allowed and (grad is not None or not out):
            a, b = max(int(lo), -9), min(max(int(hi), 3), 9)
            out += (Sample((ints(a, b),), grad=False),)
        return out

    def lower(ix: tuple[Expr, ...], x: Operand, **_: Any) -> Expr:
        return scalar(x.at(ix))

    return Op(
        name, (operand,), same(allowed, result), first_shape,
        in_float32(on_kind(lambda x, **_: numpy(x), lambda _: numpy)),
        None if grad is None else lambda g, y, x, **_: (grad(g, y, x),),
        lower=lower, cheap=cheap, samples=samples or made, doc=doc,
        error_samples=() if dtypes.bool_ in allowed else (
            ErrorSample((np.zeros(2, bool),), {}, "does not take bool"),
        ),
    )  # fmt: skip


def binary(
    name: str,
    numpy: Callable[..., Any],
    scalar: Callable[[Expr, Expr], Expr],
    grad: Grad | None,
    *,
    allowed: Sequence[DType] = NUMERIC,
    result: DType | None = None,
    domain: tuple[float, float] = (-2.0, 2.0),
    kinks: bool = False,
    cheap: bool = True,
    folds: bool = False,
    extra: tuple[Sample, ...] = (),
    operands: tuple[str, str] = ("x", "y"),
    doc: str = "",
) -> Op:
    """A record of two elementwise operands that broadcast.

    Args:
      grad: ``(g, y, a, b) -> (cotangent of a, cotangent of b)`` before broadcasting is undone.
    """
    lo, hi = domain

    @cache
    def samples() -> tuple[Sample, ...]:
        out = extra
        if dtypes.float32 in allowed:
            smooth = grad is not None and not kinks
            for sa, sb, dt in (
                ((3, 4), (3, 4), "float64"), ((3, 4), (4,), "float64"),
                ((2, 1, 3), (4, 1), "float32"), ((17,), (), "float32"),
                ((0, 3), (1, 3), "float32"), ((), (), "float32"),
            ):  # fmt: skip
                out += (
                    Sample((floats(lo, hi, sa, 1, dt), floats(lo, hi, sb, 2, dt)), grad=smooth),
                )
        if dtypes.int32 in allowed:
            out += (
                Sample((ints(), ints(1, 5, seed=3)), grad=False),
                Sample(
                    (ints(shape=(2, 1), dtype="int64"), ints(1, 5, (5,), 3, "int64")), grad=False
                ),
            )
        if dtypes.bool_ in allowed:
            out += (Sample((bools(), bools((4,), 1)), grad=False),)
        return out

    def lower(ix: tuple[Expr, ...], a: Operand, b: Operand, **_: Any) -> Expr:
        return scalar(a.at(ix), b.at(ix))

    def cotangents(g: Any, y: Any, a: Any, b: Any, **_: Any) -> tuple[Any, Any]:
        assert grad is not None
        ga, gb = grad(g, y, a, b)
        return (None if ga is None else sum_to(ga, a), None if gb is None else sum_to(gb, b))

    wrong = "does not take bool" if dtypes.bool_ not in allowed else "do not broadcast"

    def errors() -> tuple[ErrorSample, ...]:
        first = samples()[0].args[0]
        bad = np.zeros((2,), bool if dtypes.bool_ not in allowed else first.dtype)
        other = bad if dtypes.bool_ not in allowed else np.zeros(3, bad.dtype)
        return (
            ErrorSample((first.ravel()[:2], first.ravel()[:3]), {}, "do not broadcast, 2 and 3"),
            ErrorSample((bad, other), {}, wrong),
        )

    return Op(
        name,
        operands,
        same(allowed, result),
        broadcast_shape,
        in_float32(on_kind(lambda x, y, **_: numpy(x, y), lambda _: numpy)),
        None if grad is None else cotangents,
        lower=lower,
        cheap=cheap,
        folds=folds,
        samples=samples,
        doc=doc,
        error_samples=errors,
    )
