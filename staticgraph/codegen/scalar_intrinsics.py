"""The Numba face of `scalar_emit`: intrinsics under the names that kernel sources use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]  # llvmlite ships no stubs
from numba import types
from numba.extending import intrinsic

from staticgraph.codegen import scalar_emit


def _named(name: str, function: Callable[..., Any]) -> Any:
    function.__name__ = function.__qualname__ = name
    return intrinsic(function)


def _integers(name: str, emit: Callable[[Any, Any, Any, bool], Any]) -> Any:
    def generate(context: Any, b: Any, signature: Any, args: Any) -> Any:
        return emit(b, args[0], args[1], signature.args[0].signed)

    def typer(typing_context: Any, x: Any, y: Any) -> Any:
        return (x(x, y), generate) if isinstance(x, types.Integer) and x == y else None

    return _named(name, typer)


def _floats(name: str) -> Any:
    def generate(context: Any, b: Any, signature: Any, args: Any) -> Any:
        return scalar_emit.float_division(b, name, *args)

    def typer(typing_context: Any, x: Any, y: Any) -> Any:
        return (x(x, y), generate) if isinstance(x, types.Float) and x == y else None

    return _named(name, typer)


def _to_integer(name: str, target: Any) -> Any:
    def generate(context: Any, b: Any, signature: Any, args: Any) -> Any:
        source = signature.args[0]
        if isinstance(source, types.Float):
            return scalar_emit.float_to_int(b, args[0], target.bitwidth, target.signed)
        if isinstance(source, types.Boolean):
            return context.cast(b, args[0], source, target)
        return scalar_emit.resize(b, args[0], target.bitwidth, source.signed)

    def typer(typing_context: Any, x: Any) -> Any:
        known = isinstance(x, types.Float | types.Integer | types.Boolean)
        return (target(x), generate) if known else None

    return _named(name, typer)


def _rounding(name: str, emit: Callable[[Any, Any], Any]) -> Any:
    def generate(context: Any, b: Any, signature: Any, args: Any) -> Any:
        return emit(b, args[0])

    def typer(typing_context: Any, x: Any) -> Any:
        return (types.float32(types.float32), generate) if x == types.float32 else None

    return _named(name, typer)


def _load_bf16(typing_context: Any, pointer: Any, index: Any) -> Any:
    def generate(context: Any, b: Any, signature: Any, args: Any) -> Any:
        half = ir.IntType(16)
        value = b.load(b.gep(args[0], [args[1]], source_etype=half), typ=half)
        return scalar_emit.from_bf16_bits(b, b.zext(value, ir.IntType(32)))

    return types.float32(pointer, types.int64), generate


def _store_bf16(typing_context: Any, pointer: Any, index: Any, value: Any) -> Any:
    def generate(context: Any, b: Any, signature: Any, args: Any) -> Any:
        bits = b.trunc(scalar_emit.bf16_bits(b, args[2]), ir.IntType(16))
        b.store(bits, b.gep(args[0], [args[1]], source_etype=ir.IntType(16)))
        return context.get_dummy_value()

    return types.void(pointer, types.int64, types.float32), generate


def _division(kind: str) -> Callable[[Any, Any, Any, bool], Any]:
    return lambda b, x, y, signed: scalar_emit.int_division(b, kind, x, y, signed)


_INTEGERS = {
    "i8": types.int8, "i16": types.int16, "i32": types.int32, "i64": types.int64,
    "u8": types.uint8, "u16": types.uint16, "u32": types.uint32, "u64": types.uint64,
}  # fmt: skip

SCALAR_FUNCTIONS: dict[str, Any] = {
    **{
        f"int_{k}": _integers(f"int_{k}", _division(k))
        for k in ("floordiv", "mod", "truncdiv", "truncmod")
    },
    **{k: _floats(k) for k in ("floor_divide", "floor_mod", "trunc_mod")},
    **{f"to_{short}": _to_integer(f"to_{short}", t) for short, t in _INTEGERS.items()},
    "int_pow": _integers("int_pow", scalar_emit.int_pow),
    "round_f16": _rounding("round_f16", scalar_emit.round_f16),
    "round_bf16": _rounding("round_bf16", scalar_emit.round_bf16),
    "load_bf16": _named("load_bf16", _load_bf16),
    "store_bf16": _named("store_bf16", _store_bf16),
}
