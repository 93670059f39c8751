"""Matrix products through BLAS, as functions that a plan can hold.

The functions have a kernel's signature.  Their arguments are these 64-bit words:

===== =====================================================================
 0    address of the BLAS routine, from `blas_address`
 1-3  addresses of A, B and C
 4-6  M, N, K: C is M by N, the sum runs over K; all matrices are row-major
 7, 8 1 where A or B is stored transposed (A as K by M, B as N by K), else 0
 9    alpha, as the bits of a double
 10   beta, as the bits of a double; C is not read where it is 0
 11   number of products in the batch
12-14 elements from one A, B and C of the batch to the next; 0 repeats one
===== =====================================================================

``C[i] = alpha * A[i] @ B[i] + beta * C[i]`` for i in ``[lo, hi)``.
"""

from __future__ import annotations

import ctypes
import glob
import importlib
import importlib.util
import os
import sys
from functools import cache
from typing import Any, Literal, NamedTuple

from staticgraph.codegen.cache import ir_address
from staticgraph.errors import CompileError

ARGUMENT_WORDS = 15
TOO_LARGE = -2  # status: a size does not fit the integers of the BLAS
Kind = Literal["f32", "f64"]

# Fortran takes every argument by address.  An int64 in memory is also an int32 with the same value
# on a little-endian machine, which all targets are, so one text serves both widths of BLAS.
_SOURCE = """\
define i64 @entry(ptr noalias readonly %args, i64 %lo, i64 %hi) {{
start:
  %m.p = alloca i64
  %n.p = alloca i64
  %k.p = alloca i64
  %lda.p = alloca i64
  %ldb.p = alloca i64
  %ldc.p = alloca i64
  %ta.p = alloca i8
  %tb.p = alloca i8
  %alpha.p = alloca {t}
  %beta.p = alloca {t}
{loads}
  %blas = inttoptr i64 %w0 to ptr
  %a = inttoptr i64 %w1 to ptr
  %b = inttoptr i64 %w2 to ptr
  %c = inttoptr i64 %w3 to ptr
  %ta = icmp ne i64 %w7, 0
  %tb = icmp ne i64 %w8, 0
  %lda.0 = select i1 %ta, i64 %w4, i64 %w6
  %ldb.0 = select i1 %tb, i64 %w6, i64 %w5
  %lda = call i64 @llvm.smax.i64(i64 %lda.0, i64 1)
  %ldb = call i64 @llvm.smax.i64(i64 %ldb.0, i64 1)
  %ldc = call i64 @llvm.smax.i64(i64 %w5, i64 1)
  %alpha.d = bitcast i64 %w9 to double
  %beta.d = bitcast i64 %w10 to double
  %alpha = {narrow} %alpha.d to {t}
  %beta = {narrow} %beta.d to {t}
  %mn = mul i64 %w4, %w5
  %empty = icmp sle i64 %mn, 0
  %none = icmp sge i64 %lo, %hi
  %nothing = or i1 %empty, %none
  br i1 %nothing, label %done, label %sizes
sizes:
  %most.0 = call i64 @llvm.smax.i64(i64 %lda, i64 %ldb)
  %most.1 = call i64 @llvm.smax.i64(i64 %ldc, i64 %w4)
  %most.2 = call i64 @llvm.smax.i64(i64 %most.0, i64 %w6)
  %most = call i64 @llvm.smax.i64(i64 %most.1, i64 %most.2)
  %large = icmp sgt i64 %most, {largest}
  br i1 %large, label %refuse, label %prepare
refuse:
  ret i64 {too_large}
prepare:
  store i64 %w4, ptr %m.p
  store i64 %w5, ptr %n.p
  store i64 %w6, ptr %k.p
  store i64 %lda, ptr %lda.p
  store i64 %ldb, ptr %ldb.p
  store i64 %ldc, ptr %ldc.p
  %ta.c = select i1 %ta, i8 84, i8 78
  %tb.c = select i1 %tb, i8 84, i8 78
  store i8 %ta.c, ptr %ta.p
  store i8 %tb.c, ptr %tb.p
  store {t} %alpha, ptr %alpha.p
  store {t} %beta, ptr %beta.p
  %no.sum = icmp sle i64 %w6, 0
  br label %product
product:
  %i = phi i64 [ %lo, %prepare ], [ %i.next, %advance ]
  %off.a = mul i64 %i, %w12
  %off.b = mul i64 %i, %w13
  %off.c = mul i64 %i, %w14
  %a.i = getelementptr {t}, ptr %a, i64 %off.a
  %b.i = getelementptr {t}, ptr %b, i64 %off.b
  %c.i = getelementptr {t}, ptr %c, i64 %off.c
  br i1 %no.sum, label %scale, label %multiply
multiply:
  call void %blas(ptr %tb.p, ptr %ta.p, ptr %n.p, ptr %m.p, ptr %k.p, ptr %alpha.p, \
ptr %b.i, ptr %ldb.p, ptr %a.i, ptr %lda.p, ptr %beta.p, ptr %c.i, ptr %ldc.p, i64 1, i64 1)
  br label %advance
scale:
  %j = phi i64 [ 0, %product ], [ %j.next, %scale ]
  %c.j = getelementptr {t}, ptr %c.i, i64 %j
  %old = load {t}, ptr %c.j
  %scaled = fmul {t} %old, %beta
  %forget = fcmp oeq {t} %beta, 0.0
  %new = select i1 %forget, {t} 0.0, {t} %scaled
  store {t} %new, ptr %c.j
  %j.next = add i64 %j, 1
  %j.more = icmp slt i64 %j.next, %mn
  br i1 %j.more, label %scale, label %advance
advance:
  %i.next = add i64 %i, 1
  %more = icmp slt i64 %i.next, %hi
  br i1 %more, label %product, label %done
done:
  ret i64 0
}}
declare i64 @llvm.smax.i64(i64, i64)
"""


class Blas(NamedTuple):
    """Where a BLAS is and what its integers are."""

    origin: str
    sgemm: int
    dgemm: int
    wide: bool  # 64-bit integers


def gemm_source(kind: Kind, wide: bool) -> str:
    """The LLVM IR of the product on float32 or float64.

    Args:
      wide: the BLAS takes 64-bit integers; else sizes are checked against 32.
    """
    loads = []
    for i in range(ARGUMENT_WORDS):
        loads.append(f"  %p{i} = getelementptr i64, ptr %args, i64 {i}")
        loads.append(f"  %w{i} = load i64, ptr %p{i}")
    return _SOURCE.format(
        t="float" if kind == "f32" else "double",
        narrow="fptrunc double" if kind == "f32" else "bitcast double",
        loads="\n".join(loads),
        largest=(1 << (63 if wide else 31)) - 1,
        too_large=TOO_LARGE,
    )


@cache
def gemm_address(kind: Kind) -> int:
    """Return the address of the product's function; its first argument is `blas_address`."""
    return ir_address(gemm_source(kind, blas().wide))


def blas_address(kind: Kind) -> int:
    """Return the address of the BLAS routine that `gemm_address` calls."""
    return blas().sgemm if kind == "f32" else blas().dgemm


@cache
def blas() -> Blas:
    """Find a BLAS: the library that numpy has loaded, else scipy's.

    numpy's costs nothing to load and shares its threads with numpy.  A build without a bundled
    OpenBLAS has no symbols to look up; scipy then gives its own BLAS by address.

    Raises:
      CompileError: there is none.
    """
    for package in ("numpy", "scipy"):
        for path in _bundled(package):
            found = _open(path)
            if found is not None:
                return found
    try:
        cython_blas = importlib.import_module("scipy.linalg.cython_blas")
    except ImportError as e:
        raise CompileError("no BLAS found: numpy bundles none and scipy is not installed") from e
    return _from_capsules(cython_blas.__pyx_capi__)


def _bundled(package: str) -> list[str]:
    """Paths of the OpenBLAS that a package's wheel brought along."""
    if package in sys.modules:
        init = sys.modules[package].__file__
    else:
        spec = importlib.util.find_spec(package)
        init = spec.origin if spec is not None else None
    if not init:
        return []
    root = os.path.dirname(init)
    folders = (root + ".libs", os.path.join(root, ".libs"), os.path.join(root, ".dylibs"))
    names = ("lib*openblas*.so*", "lib*openblas*.dylib", "lib*openblas*.dll")
    patterns = [os.path.join(glob.escape(f), name) for f in folders for name in names]
    return [path for pattern in patterns for path in sorted(glob.glob(pattern))]


def _open(path: str) -> Blas | None:
    try:
        library = ctypes.CDLL(path)
    except OSError:
        return None
    for prefix in ("scipy_", ""):
        for suffix, wide in (("_64_", True), ("64_", True), ("_", False)):
            found = [getattr(library, f"{prefix}{x}gemm{suffix}", None) for x in "sd"]
            if None not in found:
                s, d = (ctypes.cast(f, ctypes.c_void_p).value or 0 for f in found)  # type: ignore[arg-type]
                return Blas(path, s, d, wide)
    return None


def _from_capsules(capsules: dict[str, Any]) -> Blas:
    """Take the addresses that scipy publishes for Cython."""
    api = ctypes.pythonapi
    name = ctypes.PYFUNCTYPE(ctypes.c_char_p, ctypes.py_object)(("PyCapsule_GetName", api))
    pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
        ("PyCapsule_GetPointer", api)
    )
    s, d = capsules["sgemm"], capsules["dgemm"]
    signature = name(s)
    narrow = b", int *" in signature
    if not narrow and b"64" not in signature:
        raise CompileError(f"scipy's sgemm has an unknown signature, {signature.decode()}")
    return Blas("scipy.linalg.cython_blas", pointer(s, name(s)), pointer(d, name(d)), not narrow)
