"""Softmax and its logarithm along the last axis."""

from __future__ import annotations

from typing import Any

import numpy as np

from staticgraph.ir.dims import Dim
from staticgraph.ir.function import Value, current_builder
from staticgraph.ir.op import ErrorSample, Infer, Op, RuleError, Sample, lookup
from staticgraph.ir.types import TensorType
from staticgraph.ops.reduce import max_, sum_
from staticgraph.ops.rules import FLOATING, floats, ints, same


def known_zeros(g: Any) -> bool:
    """True where a cotangent is there only because the result has other cotangents.

    Leaving its terms out is not only cheaper: zero times infinity would not be zero.
    """
    if isinstance(g, Value):
        recent = current_builder().nodes[-8:]
        return any(n.op.name == "ZerosLike" and n.outputs[0] is g for n in recent)
    op = getattr(g, "op", None)
    return op is not None and op.type == "ZerosLike"


def sum_last(x: Any) -> Any:
    """Sum over the last axis, which stays with size 1."""
    return sum_(x, (-1,), keep_dims=True)


def shifted(x: Any) -> Any:
    """`x` less its maximum along the last axis: no exponential of it overflows."""
    return x - max_(x, (-1,), keep_dims=True)


def np_shifted(x: np.ndarray) -> np.ndarray:
    """The same in numpy, with 16-bit floats widened."""
    wide = x.astype(np.float32) if x.dtype.itemsize == 2 else x
    return np.asarray(wide - np.max(wide, axis=-1, keepdims=True, initial=-np.inf))


def through_softmax(g: Any, y: Any) -> Any:
    """The cotangent of the logits, where `y` is their softmax."""
    return (g - sum_last(g * y)) * y


def _shape(ctx: Infer, logits: TensorType) -> tuple[Dim, ...]:
    if not logits.dims:
        raise RuleError("takes a tensor of rank 1 or more, got a scalar")
    return logits.dims


def _np_softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(np_shifted(x))
    return np.asarray(e / np.sum(e, axis=-1, keepdims=True)).astype(x.dtype)


def _softmax(x: Any) -> Any:
    e = lookup("Exp")(shifted(x))
    return e * lookup("Reciprocal")(sum_last(e))  # one division a row


def _samples() -> tuple[Sample, ...]:
    return (
        Sample((floats(shape=(3, 5), dtype="float64"),)),
        Sample((floats(-50, 50, shape=(2, 17)),), grad=False),
        Sample((floats(shape=(2, 1, 4)),)),
        Sample((floats(shape=(1,)),)),
        Sample((floats(shape=(0, 3)),)),
        Sample((np.array([[1e4, -1e4, 0], [1, 2, np.inf]], np.float32),), grad=False),
        Sample((floats(shape=(2, 3), dtype="float16"),), grad=False, rtol=1e-2),
    )


_ERRORS = (
    ErrorSample((floats(shape=()),), {}, "rank 1 or more, got a scalar"),
    ErrorSample((ints(),), {}, "does not take int32"),
)

softmax: Op = Op(
    "Softmax", ("logits",), same(FLOATING), _shape, _np_softmax,
    lambda g, y, x: (through_softmax(g, y),),
    decompose=_softmax, cheap=False, samples=lambda: _samples(), error_samples=_ERRORS,
    doc="``exp(x) / sum(exp(x))`` along the last axis.",
)  # fmt: skip


def _np_log_softmax(x: np.ndarray) -> np.ndarray:
    z = np_shifted(x)
    return np.asarray(z - np.log(np.sum(np.exp(z), axis=-1, keepdims=True))).astype(x.dtype)


def _log_softmax(x: Any) -> Any:
    z = shifted(x)
    return z - lookup("Log")(sum_last(lookup("Exp")(z)))


log_softmax: Op = Op(
    "LogSoftmax", ("logits",), same(FLOATING), _shape, _np_log_softmax,
    lambda g, y, x: (g - sum_last(g) * lookup("Exp")(y),),
    decompose=_log_softmax, cheap=False, samples=lambda: _samples(), error_samples=_ERRORS,
    doc="``x - log(sum(exp(x)))`` along the last axis.",
)  # fmt: skip
