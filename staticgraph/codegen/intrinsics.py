"""The vector math functions and low-level helpers as Numba intrinsics.

Each entry of ``NUMBA_FUNCTIONS`` may be called in a nopython kernel; its result has the type of
its first argument. The code of an intrinsic is emitted in place, with no function of its own to
compile.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import types  # type: ignore[import-untyped]  # no stubs for these modules
from numba.extending import intrinsic  # type: ignore[import-untyped]

from staticgraph.codegen import vector_math


def _elementwise(name: str, function: vector_math.VectorFunction) -> object:
    """The intrinsic of one vector function."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return function.emit(builder, *args)

    def check(*operands: Any) -> Any:
        kind = operands[0]
        if kind not in (types.float32, types.float64) or any(other != kind for other in operands):
            return None
        return kind(*operands), generate

    def unary(typing_context: Any, x: Any) -> Any:
        return check(x)

    def binary(typing_context: Any, x: Any, y: Any) -> Any:
        return check(x, y)

    chosen: Callable[..., Any] = unary if function.arity == 1 else binary
    chosen.__name__ = chosen.__qualname__ = name
    return intrinsic(chosen)


NUMBA_FUNCTIONS: dict[str, object] = {
    name: _elementwise(name, function) for name, function in vector_math.FUNCTIONS.items()
}
