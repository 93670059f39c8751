"""The functions that generated CUDA kernels call.

A kernel's source begins ``from numba import cuda`` and
``from staticgraph.codegen import cuda_intrinsics as gpu`` and then uses ``gpu.load4``,
``gpu.block_sum`` and, from the table in ``cuda_math``, ``gpu.exp``.

Importing this module imports the CUDA compiler; only generated sources do so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]  # llvmlite ships no stubs

from staticgraph.codegen.cuda_compile import load_numba_cuda
from staticgraph.codegen.cuda_math import CUDA_FUNCTIONS as CUDA_FUNCTIONS
from staticgraph.codegen.cuda_math import bitcast, constant, typed

cuda, types = load_numba_cuda(), load_numba_cuda("types")
intrinsic = load_numba_cuda("extending").intrinsic

WARP = 32
EVERY_LANE = 0xFFFFFFFF


# --- memory -------------------------------------------------------------------------------------


def _vector_pointer(context: Any, builder: Any, pointer: Any, args: Any) -> tuple[Any, int]:
    """Address of the ``i``-th group of four elements, and the alignment such a group has."""
    element = context.get_data_type(pointer.dtype)
    vector = ir.VectorType(element, 4).as_pointer()
    size = context.get_abi_sizeof(element)
    return builder.gep(builder.bitcast(args[0], vector), [args[1]]), min(16, 4 * size)


def _read_only(builder: Any, load: Any) -> Any:
    """Mark a load as reading memory that nobody writes during the launch (``ld.global.nc``)."""
    load.set_metadata("invariant.load", builder.module.add_metadata([]))
    return load


def _load4(read_only: bool, doc: str) -> Any:
    def load4(typing: Any, pointer: Any, i: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            address, align = _vector_pointer(context, builder, pointer, args)
            vector = builder.load(address, align=align)
            if read_only:
                _read_only(builder, vector)
            lanes = [builder.extract_element(vector, ir.IntType(32)(k)) for k in range(4)]
            model = context.data_model_manager[pointer.dtype]
            lanes = [model.from_data(builder, lane) for lane in lanes]
            return context.make_tuple(builder, sig.return_type, lanes)

        return types.UniTuple(pointer.dtype, 4)(pointer, types.int64), codegen

    load4.__doc__ = doc
    return intrinsic(load4)


load4 = _load4(False, "Elements ``4 * i`` to ``4 * i + 3`` of ``pointer``, in one 16-byte load.")
load4_readonly = _load4(True, "``load4`` through the read-only cache; nobody may write the array.")


def _store4(typing: Any, pointer: Any, i: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
    """Store elements ``4 * i`` to ``4 * i + 3`` of ``pointer``, in one 16-byte store."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        address, align = _vector_pointer(context, builder, pointer, args)
        model = context.data_model_manager[pointer.dtype]
        vector = ir.Constant(address.type.pointee, ir.Undefined)
        for k, lane in enumerate(args[2:]):
            data = model.as_data(builder, lane)
            vector = builder.insert_element(vector, data, ir.IntType(32)(k))
        builder.store(vector, address, align=align)
        return context.get_dummy_value()

    return types.void(pointer, types.int64, *[pointer.dtype] * 4), codegen


store4 = intrinsic(_store4)


def _load_readonly(typing: Any, pointer: Any, i: Any) -> Any:
    """Element ``i`` through the read-only cache; nobody may write the array during the launch."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        load = _read_only(builder, builder.load(builder.gep(args[0], [args[1]])))
        return context.data_model_manager[pointer.dtype].from_data(builder, load)

    return pointer.dtype(pointer, types.int64), codegen


load_readonly = intrinsic(_load_readonly)


_bits = bitcast(types.float32, types.uint32)
_of_bits = bitcast(types.uint32, types.float32)


def _build_to_bf16(dtype: Any) -> Callable[..., Any]:
    half, one, sixteen, quiet = (np.uint32(v) for v in (0x7FFF, 1, 16, 0x40))

    def to_bf16(x: Any) -> Any:  # to nearest, ties to even; NaN stays NaN
        bits = _bits(x)
        if x != x:
            return np.uint16((bits >> sixteen) | quiet)
        return np.uint16((bits + half + ((bits >> sixteen) & one)) >> sixteen)

    return to_bf16


def _build_from_bf16(dtype: Any) -> Callable[..., Any]:
    sixteen = np.uint32(16)
    return lambda x: _of_bits(np.uint32(np.uint32(x) << sixteen))


# bfloat16 has no type in the compiler's signatures: arrays of it hold their bits as uint16.
to_bf16 = typed(_build_to_bf16, 1, types.uint16)
from_bf16 = typed(_build_from_bf16, 1, types.float32)


def __getattr__(name: str) -> Any:
    """Make every function of ``CUDA_FUNCTIONS`` an attribute: ``gpu.exp``."""
    try:
        return CUDA_FUNCTIONS[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None


# --- reductions over the threads of a warp and of a block ---------------------------------------


def _reductions(combine: Any, empty: Callable[[Any], Any]) -> tuple[Any, Any]:
    """The reduction of one value per thread, over a warp and over a block.

    Both return the result to every thread, and add in a fixed order: the result depends on the
    number of threads and on nothing else.
    """

    def build_warp(dtype: Any) -> Callable[..., Any]:
        def warp(value: Any) -> Any:
            lanes = WARP >> 1
            while lanes > 0:
                value = combine(value, dtype(cuda.shfl_xor_sync(EVERY_LANE, value, lanes)))
                lanes >>= 1
            return value

        return warp

    warp_reduce = typed(build_warp, 1)

    def build_block(dtype: Any) -> Callable[..., Any]:
        identity = empty(dtype)

        def block(value: Any) -> Any:
            partial = cuda.shared.array(WARP, dtype)
            thread = np.uint32(cuda.threadIdx.x)
            lane = thread & np.uint32(31)
            value = warp_reduce(value)
            if lane == np.uint32(0):
                partial[thread >> np.uint32(5)] = value
            cuda.syncthreads()
            warps = np.uint32(cuda.blockDim.x) >> np.uint32(5)
            value = warp_reduce(partial[lane] if lane < warps else identity)
            cuda.syncthreads()  # the next reduction writes the same shared array
            return value

        return block

    return warp_reduce, typed(build_block, 1)


def _extreme(sign: int) -> Callable[[Any], Any]:
    """The value below (``sign`` -1) or above (1) all others of a type."""

    def value(dtype: Any) -> Any:
        kind = np.dtype(str(dtype))
        if kind.kind == "f":
            return kind.type(sign * np.inf)
        return kind.type(np.iinfo(kind).max if sign > 0 else np.iinfo(kind).min)

    return value


# For int32, int64, float32, float64. Every thread of the block must call them, and the block is
# one-dimensional, of a multiple of 32 threads (at most 1024).
warp_sum, block_sum = _reductions(CUDA_FUNCTIONS["add"], lambda dtype: constant(dtype, 0))
warp_prod, block_prod = _reductions(CUDA_FUNCTIONS["mul"], lambda dtype: constant(dtype, 1))
warp_max, block_max = _reductions(CUDA_FUNCTIONS["maximum"], _extreme(-1))
warp_min, block_min = _reductions(CUDA_FUNCTIONS["minimum"], _extreme(1))


def _shuffle(function: Callable[..., Any], doc: str) -> Any:
    def shuffle(typing: Any, value: Any, lanes: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return context.compile_internal(builder, function, sig, args)

        return value(value, types.int32), codegen

    shuffle.__doc__ = doc
    return intrinsic(shuffle)


warp_shuffle_down = _shuffle(
    lambda value, lanes: cuda.shfl_down_sync(EVERY_LANE, value, lanes),
    "The value of the thread ``lanes`` further on in the warp.",
)
warp_shuffle_xor = _shuffle(
    lambda value, lanes: cuda.shfl_xor_sync(EVERY_LANE, value, lanes),
    "The value of the thread whose lane differs in the bits ``lanes``.",
)
