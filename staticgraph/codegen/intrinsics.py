"""The vector math functions and low-level helpers as Numba intrinsics.

Each entry of ``NUMBA_FUNCTIONS`` may be called in a nopython kernel. The code of an intrinsic
is emitted in place, with no function of its own to compile. Elementwise functions return the
type of their first argument; nothing is converted on the way in, so arguments must have the
exact type: a wrong one is a typing error, not a silent detour through double.

Kernels are best compiled with the flag ``contract`` alone. The functions here give the same bits
under any flags, but ``nsz`` and ``arcp`` would change a kernel's own arithmetic: signed zeros
and the rounding of divisions. Reductions do not need ``reassoc`` on the kernel either, since the
``acc_`` steps carry it themselves.

Beside the functions of ``vector_math`` there are

- ``acc_sum``, ``acc_prod``, ``acc_max``, ``acc_min``: ``accumulator = f(accumulator, value)``;
- ``ptr_f32`` and its siblings: an int64 address as a typed pointer, to be indexed;
- ``load_f16(pointer, i)`` and ``store_f16(pointer, i, value)``: float32 to and from half
  precision in memory;
- ``bits_f32``, ``from_bits_f32``, ``bits_f64``, ``from_bits_f64``: reinterpretation as a signed
  integer and back;
- ``add_u32``, ``mul_u32``, ``mulhi_u32``, ``xor_u32``, ``shr_u32``: arithmetic that stays in 32
  bits, where Numba's operators would widen to 64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]  # llvmlite ships no stubs
from numba import types
from numba.extending import intrinsic

from staticgraph.codegen import vector_math

_FLOATS = (types.float32, types.float64)


def _named(name: str, function: Callable[..., Any]) -> object:
    function.__name__ = function.__qualname__ = name
    return intrinsic(function)


def _elementwise(name: str, function: vector_math.VectorFunction) -> object:
    """Make the intrinsic of one vector function."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return function.emit(builder, *args)

    def check(*operands: Any) -> Any:
        kind = operands[0]
        if kind not in _FLOATS or any(other != kind for other in operands):
            return None
        return kind(*operands), generate

    def unary(typing_context: Any, x: Any) -> Any:
        return check(x)

    def binary(typing_context: Any, x: Any, y: Any) -> Any:
        return check(x, y)

    return _named(name, unary if function.arity == 1 else binary)


def _accumulator(operation: str) -> object:
    """Make the intrinsic of one reduction step."""

    def accumulate(typing_context: Any, accumulator: Any, value: Any) -> Any:
        if accumulator != value or not isinstance(value, (types.Float, types.Integer)):
            return None
        signed = getattr(value, "signed", True)

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return vector_math.emit_accumulate(builder, operation, *args, signed=signed)

        return value(accumulator, value), generate

    return _named(f"acc_{operation}", accumulate)


def _pointer(name: str, item: Any) -> object:
    """Make the intrinsic that turns an address into a pointer to ``item``."""

    def point(typing_context: Any, address: Any) -> Any:
        if not isinstance(address, types.Integer):
            return None
        result = _pointer_type(item)

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.inttoptr(args[0], context.get_value_type(result))

        return result(types.int64), generate

    return _named(name, point)


def _pointer_type(item: Any) -> Any:
    return types.CPointer(item)  # type: ignore[no-untyped-call]  # numba is partly typed


_HALF_POINTER = _pointer_type(types.uint16)


def _half_address(builder: Any, pointer: Any, index: Any) -> Any:
    address = builder.gep(pointer, [index])
    return builder.bitcast(address, ir.HalfType().as_pointer())


def _load_f16(typing_context: Any, pointer: Any, index: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        half = builder.load(_half_address(builder, args[0], args[1]), align=2)
        return builder.fpext(half, ir.FloatType())

    if pointer != _HALF_POINTER or not isinstance(index, types.Integer):
        return None
    return types.float32(pointer, types.intp), generate


def _store_f16(typing_context: Any, pointer: Any, index: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        half = builder.fptrunc(args[2], ir.HalfType())
        builder.store(half, _half_address(builder, args[0], args[1]), align=2)
        return context.get_dummy_value()

    if pointer != _HALF_POINTER or not isinstance(index, types.Integer):
        return None
    return types.void(pointer, types.intp, types.float32), generate


def _bitcast(name: str, source: Any, target: Any) -> object:
    """Make the intrinsic that reads the bits of ``source`` as ``target``."""

    def reinterpret(typing_context: Any, x: Any) -> Any:
        if x != source:
            return None

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.bitcast(args[0], context.get_value_type(target))

        return target(source), generate

    return _named(name, reinterpret)


def _mulhi(builder: Any, left: Any, right: Any) -> Any:
    wide = ir.IntType(64)
    product = builder.mul(builder.zext(left, wide), builder.zext(right, wide))
    return builder.trunc(builder.lshr(product, ir.Constant(wide, 32)), ir.IntType(32))


def _unsigned(name: str, emit: Callable[..., Any]) -> object:
    """Make the intrinsic of a binary operation on uint32."""

    def combine(typing_context: Any, left: Any, right: Any) -> Any:
        if not isinstance(left, types.Integer) or not isinstance(right, types.Integer):
            return None

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return emit(builder, *args)

        return types.uint32(types.uint32, types.uint32), generate

    return _named(name, combine)


NUMBA_FUNCTIONS: dict[str, object] = {
    **{name: _elementwise(name, function) for name, function in vector_math.FUNCTIONS.items()},
    **{f"acc_{operation}": _accumulator(operation) for operation in ("sum", "prod", "max", "min")},
    "ptr_f16": _pointer("ptr_f16", types.uint16),
    "ptr_f32": _pointer("ptr_f32", types.float32),
    "ptr_f64": _pointer("ptr_f64", types.float64),
    "ptr_i8": _pointer("ptr_i8", types.int8),
    "ptr_i16": _pointer("ptr_i16", types.int16),
    "ptr_i32": _pointer("ptr_i32", types.int32),
    "ptr_i64": _pointer("ptr_i64", types.int64),
    "ptr_u8": _pointer("ptr_u8", types.uint8),
    "ptr_u16": _pointer("ptr_u16", types.uint16),
    "ptr_u32": _pointer("ptr_u32", types.uint32),
    "ptr_u64": _pointer("ptr_u64", types.uint64),
    "ptr_bool": _pointer("ptr_bool", types.uint8),
    "load_f16": _named("load_f16", _load_f16),
    "store_f16": _named("store_f16", _store_f16),
    "bits_f32": _bitcast("bits_f32", types.float32, types.int32),
    "from_bits_f32": _bitcast("from_bits_f32", types.int32, types.float32),
    "bits_f64": _bitcast("bits_f64", types.float64, types.int64),
    "from_bits_f64": _bitcast("from_bits_f64", types.int64, types.float64),
    "add_u32": _unsigned("add_u32", lambda builder, x, y: builder.add(x, y)),
    "mul_u32": _unsigned("mul_u32", lambda builder, x, y: builder.mul(x, y)),
    "mulhi_u32": _unsigned("mulhi_u32", _mulhi),
    "xor_u32": _unsigned("xor_u32", lambda builder, x, y: builder.xor(x, y)),
    "shr_u32": _unsigned("shr_u32", lambda builder, x, y: builder.lshr(x, y)),
}
