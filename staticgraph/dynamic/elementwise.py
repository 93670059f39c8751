"""Functions of single elements: arithmetic, comparison, logic, and the functions of calculus."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from staticgraph.dynamic.apply import Taped, not_a_tensor, wrap
from staticgraph.dynamic.direct import binary, single, unary
from staticgraph.dynamic.element_types import INTEGERS, NUMPY, as_numpy, default_float
from staticgraph.dynamic.modes import MODES
from staticgraph.errors import InvalidArgumentError, UsageError
from staticgraph.ir import loc
from staticgraph.ir.op import lookup

if TYPE_CHECKING:
    from staticgraph.dynamic.tensor import Tensor

_select, _clip = lookup("SelectV2"), lookup("ClipByValue")
_cast = single("Cast", DstT="float32")

# ---------------------------------------------------------------- one operand
neg = negative = unary("Neg")
abs = absolute = unary("Abs")  # noqa: A001 - PyTorch's name
sign = unary("Sign")
exp, expm1, log, log1p = unary("Exp"), unary("Expm1"), unary("Log"), unary("Log1p")
sqrt, rsqrt, square, reciprocal = (
    unary("Sqrt"),
    unary("Rsqrt"),
    unary("Square"),
    unary("Reciprocal"),
)
sin, cos, tan = unary("Sin"), unary("Cos"), unary("Tan")
asin, acos, atan = unary("Asin"), unary("Acos"), unary("Atan")
sinh, cosh, tanh = unary("Sinh"), unary("Cosh"), unary("Tanh")
asinh, acosh, atanh = unary("Asinh"), unary("Acosh"), unary("Atanh")
arcsin, arccos, arctan = asin, acos, atan
sigmoid = unary("Sigmoid")
relu = unary("Relu")
erf, erfc, erfinv = unary("Erf"), unary("Erfc"), unary("Erfinv")
lgamma, digamma = unary("Lgamma"), unary("Digamma")
floor, ceil = unary("Floor"), unary("Ceil")
_round = unary("Round")
isnan, isinf, isfinite = unary("IsNan"), unary("IsInf"), unary("IsFinite")
_logical_not, _invert = unary("LogicalNot"), unary("Invert")


def exp2(input: Tensor) -> Tensor:
    """Two to the power of each element."""
    return exp(input * math.log(2.0))  # type: ignore[no-any-return]


def log2(input: Tensor) -> Tensor:
    """The logarithm to base 2."""
    return log(input) / math.log(2.0)  # type: ignore[no-any-return]


def log10(input: Tensor) -> Tensor:
    """The logarithm to base 10."""
    return log(input) / math.log(10.0)  # type: ignore[no-any-return]


def round(input: Tensor, *, decimals: int = 0) -> Tensor:  # noqa: A001 - PyTorch's name
    """To the nearest integer (or decimal place), halves to the even one."""
    if decimals:
        scale = 10.0**decimals
        return _round(input * scale) / scale  # type: ignore[no-any-return]
    return _round(input)  # type: ignore[no-any-return]


def trunc(input: Tensor) -> Tensor:
    """Without the fraction."""
    return where(input < 0, ceil(input), floor(input))  # type: ignore[no-any-return]


def logical_not(input: Tensor) -> Tensor:
    """Whether an element is false or zero."""
    return _logical_not(truth(input))  # type: ignore[no-any-return]


def bitwise_not(input: Tensor) -> Tensor:
    """Every bit turned; of truth values, the negation."""
    if input._array.dtype == np.bool_:
        return _logical_not(input)  # type: ignore[no-any-return]
    return _invert(input)  # type: ignore[no-any-return]


def truth(input: Tensor) -> Tensor:
    """Elements as truth values."""
    return input if input._array.dtype == np.bool_ else cast(input, np.bool_)


def cast(input: Tensor, dtype: object) -> Tensor:
    """Elements as another type; the same tensor where it has that type."""
    wanted = as_numpy(dtype)
    return input if input._array.dtype == wanted else _cast(input, {"DstT": NUMPY[wanted]})


# ---------------------------------------------------------------- two operands
_add, _radd = (binary("Add", r, of_bools="LogicalOr") for r in (False, True))
_sub, _rsub = binary("Sub"), binary("Sub", reflected=True)
_mul, _rmul = (binary("Mul", r, of_bools="LogicalAnd") for r in (False, True))
_div, _rdiv = binary("RealDiv"), binary("RealDiv", reflected=True)
_floordiv, _rfloordiv = binary("FloorDiv"), binary("FloorDiv", reflected=True)
_mod, _rmod = binary("FloorMod"), binary("FloorMod", reflected=True)
_fmod = binary("TruncateMod")
_power, _rpower = binary("Pow"), binary("Pow", reflected=True)
_maximum, _minimum = binary("Maximum"), binary("Minimum")
_atan2 = binary("Atan2")
_eq, _ne = binary("Equal"), binary("NotEqual")
_lt, _le, _gt, _ge = (binary(n) for n in ("Less", "LessEqual", "Greater", "GreaterEqual"))
_and, _or, _xor = binary("LogicalAnd"), binary("LogicalOr"), binary("LogicalXor")
_bits = {n: binary(f"Bitwise{n}") for n in ("And", "Or", "Xor")}
_left, _right = binary("LeftShift"), binary("RightShift")


def _floating(x: Any) -> Any:
    """Integers as floats, for operations that give fractions."""
    if x._array.dtype in INTEGERS or x._array.dtype == np.bool_:
        return _cast(x, {"DstT": NUMPY[default_float()]})
    return x


def true_div(x: Any, y: Any) -> Any:
    """``x / y`` of a tensor and another one or a number."""
    return _div(_floating(x), y)


def reflected_div(x: Any, y: Any) -> Any:
    """``y / x`` of a tensor and a number."""
    return _rdiv(_floating(x), y)


def _whole(x: Any) -> bool:
    return x._array.dtype in INTEGERS if isinstance(x, Taped) else type(x) is int


def _pow(x: Any, y: Any) -> Any:
    """``x ** y`` of a tensor and another one or a number."""
    known = MODES.tracer is None
    if (
        known
        and _whole(x)
        and _whole(y)
        and (y._array if isinstance(y, Taped) else np.asarray(y)).min() < 0
    ):
        raise InvalidArgumentError(
            "Pow: an integer to a negative integer power is no integer", loc=loc.caller(),
            hint="convert first: x.float()",
        )  # fmt: skip
    return _power(x, y)


def _rpow(x: Any, y: Any) -> Any:
    """``y ** x`` of a tensor and a number."""
    return _pow(wrap(np.asarray(y)), x) if _whole(x) and _whole(y) else _rpower(x, y)


def bits_or_logic(kind: str) -> Any:
    """``&``, ``|`` or ``^``: of bits, or of truth values."""
    bits, logic = _bits[kind], {"And": _and, "Or": _or, "Xor": _xor}[kind]

    def method(x: Any, y: Any) -> Any:
        other = y._array.dtype if isinstance(y, Taped) else type(y)
        if x._array.dtype == np.bool_ and other in (np.dtype(np.bool_), bool):
            return logic(x, y)
        return bits(x, y)

    return method


bitwise_and, bitwise_or, bitwise_xor = map(bits_or_logic, ("And", "Or", "Xor"))


def _called(method: Any, reflected: Any, x: Any, y: Any, name: str) -> Any:
    if isinstance(x, Taped):
        out = method(x, y)
    elif isinstance(y, Taped):
        out = reflected(y, x)
    else:
        raise not_a_tensor(name, x)
    if out is NotImplemented:
        raise not_a_tensor(name, y)
    return out


def add(input: Any, other: Any, *, alpha: float = 1) -> Tensor:
    """``input + alpha * other``.

    >>> import staticgraph.dynamic as torch
    >>> torch.add(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 1.0]), alpha=10)
    tensor([11., 12.])
    """
    return _called(_add, _radd, input, other if alpha == 1 else other * alpha, "add")  # type: ignore[no-any-return]


def sub(input: Any, other: Any, *, alpha: float = 1) -> Tensor:
    """``input - alpha * other``."""
    return _called(_sub, _rsub, input, other if alpha == 1 else other * alpha, "sub")  # type: ignore[no-any-return]


def mul(input: Any, other: Any) -> Tensor:
    """``input * other``."""
    return _called(_mul, _rmul, input, other, "mul")  # type: ignore[no-any-return]


def div(input: Any, other: Any, *, rounding_mode: str | None = None) -> Tensor:
    """``input / other``; rounded down ("floor") or towards zero ("trunc") on request."""
    if rounding_mode == "floor":
        return floor_divide(input, other)
    out: Tensor = _called(true_div, reflected_div, input, other, "div")
    if rounding_mode == "trunc":
        whole = isinstance(input, Taped) and input._array.dtype in INTEGERS
        return trunc(out) if not whole else cast(trunc(out), input._array.dtype)
    if rounding_mode is not None:
        raise UsageError(
            f"rounding_mode is None, 'floor' or 'trunc', got {rounding_mode!r}", loc=loc.caller()
        )
    return out


def floor_divide(input: Any, other: Any) -> Tensor:
    """``input // other``."""
    return _called(_floordiv, _rfloordiv, input, other, "floor_divide")  # type: ignore[no-any-return]


def remainder(input: Any, other: Any) -> Tensor:
    """``input % other``, with the sign of `other`."""
    return _called(_mod, _rmod, input, other, "remainder")  # type: ignore[no-any-return]


def fmod(input: Tensor, other: Any) -> Tensor:
    """The remainder with the sign of `input`."""
    return _called(_fmod, None, input, other, "fmod")  # type: ignore[no-any-return]


def pow(input: Any, exponent: Any) -> Tensor:  # noqa: A001 - PyTorch's name
    """``input ** exponent``."""
    return _called(_pow, _rpow, input, exponent, "pow")  # type: ignore[no-any-return]


def maximum(input: Tensor, other: Tensor) -> Tensor:
    """The greater of two elements."""
    return _called(_maximum, _maximum, input, other, "maximum")  # type: ignore[no-any-return]


def minimum(input: Tensor, other: Tensor) -> Tensor:
    """The lesser of two elements."""
    return _called(_minimum, _minimum, input, other, "minimum")  # type: ignore[no-any-return]


def atan2(input: Tensor, other: Tensor) -> Tensor:
    """The angle of the point (other, input)."""
    return _called(_atan2, None, _floating(input), other, "atan2")  # type: ignore[no-any-return]


def eq(input: Tensor, other: Any) -> Tensor:
    """Where two elements are equal."""
    return _called(_eq, _eq, input, other, "eq")  # type: ignore[no-any-return]


def ne(input: Tensor, other: Any) -> Tensor:
    """Where two elements differ."""
    return _called(_ne, _ne, input, other, "ne")  # type: ignore[no-any-return]


def lt(input: Tensor, other: Any) -> Tensor:
    """Where `input` is less."""
    return _called(_lt, _gt, input, other, "lt")  # type: ignore[no-any-return]


def le(input: Tensor, other: Any) -> Tensor:
    """Where `input` is less or equal."""
    return _called(_le, _ge, input, other, "le")  # type: ignore[no-any-return]


def gt(input: Tensor, other: Any) -> Tensor:
    """Where `input` is greater."""
    return _called(_gt, _lt, input, other, "gt")  # type: ignore[no-any-return]


def ge(input: Tensor, other: Any) -> Tensor:
    """Where `input` is greater or equal."""
    return _called(_ge, _le, input, other, "ge")  # type: ignore[no-any-return]


def logical_and(input: Tensor, other: Tensor) -> Tensor:
    """Where both elements are true (or not zero)."""
    return _and(truth(input), truth(other))  # type: ignore[no-any-return]


def logical_or(input: Tensor, other: Tensor) -> Tensor:
    """Where one element at least is true (or not zero)."""
    return _or(truth(input), truth(other))  # type: ignore[no-any-return]


def logical_xor(input: Tensor, other: Tensor) -> Tensor:
    """Where just one element is true (or not zero)."""
    return _xor(truth(input), truth(other))  # type: ignore[no-any-return]


# ---------------------------------------------------------------- three operands
def where(condition: Tensor, input: Any = None, other: Any = None) -> Any:
    """Elements of `input` where the condition holds, else of `other`.

    With the condition alone: the indices where it holds, one tensor per axis.

    >>> import staticgraph.dynamic as torch
    >>> torch.where(torch.tensor([True, False]), torch.tensor([1, 2]), 0)
    tensor([1, 0])
    """
    if input is None and other is None:
        from staticgraph.dynamic.selection import nonzero

        return nonzero(condition, as_tuple=True)
    return _select(condition, input, other)


def clamp(input: Tensor, min: Any = None, max: Any = None) -> Tensor:  # noqa: A002
    """The nearest element between two bounds, either of which may be left out.

    >>> import staticgraph.dynamic as torch
    >>> torch.tensor([-1.0, 0.5, 2.0]).clamp(min=0, max=1)
    tensor([0.0000, 0.5000, 1.0000])
    """
    if min is None and max is None:
        raise UsageError("clamp needs min, max or both", loc=loc.caller())
    if isinstance(min, Taped) or isinstance(max, Taped):
        out = input if min is None else _called(_maximum, _maximum, input, min, "clamp")
        return out if max is None else _called(_minimum, _minimum, out, max, "clamp")
    if input._array.dtype in INTEGERS and (isinstance(min, float) or isinstance(max, float)):
        input = _cast(input, {"DstT": NUMPY[default_float()]})
    if max is None:
        return _maximum(input, min)  # type: ignore[no-any-return]
    return _minimum(input, max) if min is None else _clip(input, min, max)  # type: ignore[no-any-return]


clip = clamp


def lerp(input: Tensor, end: Tensor, weight: Any) -> Tensor:
    """``input + weight * (end - input)``."""
    return input + weight * (end - input)  # type: ignore[no-any-return]


def addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> Tensor:
    """``input + value * tensor1 * tensor2``."""
    return input + value * (tensor1 * tensor2)  # type: ignore[no-any-return]


def addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> Tensor:
    """``input + value * tensor1 / tensor2``."""
    return input + value * (tensor1 / tensor2)  # type: ignore[no-any-return]


def clone(input: Tensor) -> Tensor:
    """A copy with memory of its own, through which gradients flow.

    >>> import staticgraph.dynamic as torch
    >>> x = torch.zeros(2)
    >>> _ = x.clone().add_(1)
    >>> x
    tensor([0., 0.])
    """
    return lookup("Identity")(input)  # type: ignore[no-any-return]


def nan_to_num(
    input: Tensor, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None
) -> Tensor:
    """With numbers in the place of NaN and of infinities: the greatest and least by default.

    >>> import staticgraph.dynamic as torch
    >>> torch.nan_to_num(torch.tensor([math.nan, 2.0]), nan=1.0)
    tensor([1., 2.])
    """
    kind = NUMPY[input._array.dtype]
    if not kind.is_floating:
        return clone(input)
    most = float(kind.max) if posinf is None else posinf
    least = float(kind.min) if neginf is None else neginf
    out = where(isnan(input), nan, input)
    out = where(_eq(out, math.inf), most, out)
    return where(_eq(out, -math.inf), least, out)  # type: ignore[no-any-return]
