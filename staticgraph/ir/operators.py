"""Python's operators on tensors, shared by graph tensors and dynamic ones.

Each operator is an application of a registered op under the name that TensorFlow gives it, so
that ``x + 1.0`` makes ``add`` and ``add/y``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from staticgraph.ir.op import Applicable, lookup


def _binary(op: str, name: str) -> Callable[[Any, Any], Any]:
    def method(self: Any, other: Any) -> Any:
        return lookup(op)(self, other, name=name)

    return method


def _reflected(op: str, name: str) -> Callable[[Any, Any], Any]:
    def method(self: Any, other: Any) -> Any:
        return lookup(op)(other, self, name=name)

    return method


def _unary(op: str) -> Callable[[Any], Any]:
    def method(self: Any) -> Any:
        return lookup(op)(self)

    return method


_INDEXING: list[Callable[[Any, Any], Any]] = []
_TRUE_DIVISION: list[Callable[[Any, Any], Any]] = []


def set_indexing(index: Callable[[Any, Any], Any]) -> None:
    """Say what ``x[key]`` means (see `ops.index`)."""
    _INDEXING[:] = [index]


def set_true_division(divide: Callable[[Any, Any], Any]) -> None:
    """Say what ``x / y`` means for integers too (see `ops.arithmetic`)."""
    _TRUE_DIVISION[:] = [divide]


class Operators(Applicable):
    """Arithmetic, comparison, logic and indexing by registered ops."""

    __slots__ = ()

    __array_priority__ = 100  # numpy's own operators leave the work to the reflected methods here

    __add__ = _binary("Add", "add")
    __radd__ = _reflected("Add", "add")
    __sub__ = _binary("Sub", "sub")
    __rsub__ = _reflected("Sub", "sub")
    __mul__ = _binary("Mul", "mul")
    __rmul__ = _reflected("Mul", "mul")
    __floordiv__ = _binary("FloorDiv", "floordiv")
    __rfloordiv__ = _reflected("FloorDiv", "floordiv")
    __mod__ = _binary("FloorMod", "mod")
    __rmod__ = _reflected("FloorMod", "mod")
    __pow__ = _binary("Pow", "pow")
    __rpow__ = _reflected("Pow", "pow")
    __matmul__ = _binary("MatMul", "matmul")
    __rmatmul__ = _reflected("MatMul", "matmul")
    __lt__ = _binary("Less", "Less")
    __le__ = _binary("LessEqual", "LessEqual")
    __gt__ = _binary("Greater", "Greater")
    __ge__ = _binary("GreaterEqual", "GreaterEqual")
    __and__ = _binary("LogicalAnd", "and")
    __rand__ = _reflected("LogicalAnd", "and")
    __or__ = _binary("LogicalOr", "or")
    __ror__ = _reflected("LogicalOr", "or")
    __xor__ = _binary("LogicalXor", "xor")
    __rxor__ = _reflected("LogicalXor", "xor")
    __neg__ = _unary("Neg")
    __abs__ = _unary("Abs")
    __invert__ = _unary("LogicalNot")

    def __truediv__(self, other: Any) -> Any:
        return _TRUE_DIVISION[0](self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return _TRUE_DIVISION[0](other, self)

    def __pos__(self) -> Any:
        return self

    def __getitem__(self, key: Any) -> Any:
        return _INDEXING[0](self, key)
