"""Bind steps to concrete sizes and addresses: what a plan's table is made of.

A table row is (function, argument block, lo, hi).  An argument block is 64-bit words: addresses
and sizes for a kernel, with two spare words for a failed index check; see `codegen`.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from staticgraph.codegen import gemm, philox_source
from staticgraph.codegen.cache import kernel_addresses
from staticgraph.codegen.cpu import SIGNATURE_WORDS, kernel_source
from staticgraph.ir import dims as D
from staticgraph.ir import dtypes, philox
from staticgraph.ir.dims import Dim, Symbol
from staticgraph.ir.dtypes import DType
from staticgraph.ir.kernel import Kernel, Pointer, Store, Temp
from staticgraph.ir.program import Buffer, Launch, Library, Program
from staticgraph.ir.scalar import Load

Sizes = Mapping[Symbol, int]
AddressOf = Callable[[Buffer], int]
RANDOM_OPS = {
    "PhiloxUniform": "RandomUniform", "PhiloxNormal": "RandomStandardNormal",
    "PhiloxTruncatedNormal": "TruncatedNormal", "PhiloxUniformInt": "RandomUniformInt",
}  # fmt: skip
COUNTER_WORDS = 4  # position of the counter in a random kernel's argument block


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table; `pointers` are (word, buffer) pairs that hold addresses."""

    function: int
    words: tuple[int, ...]
    extent: int
    step: int
    pointers: tuple[tuple[int, Buffer], ...]
    work: int


class Code:
    """Machine code of a program's kernels, by step."""

    def __init__(self, program: Program) -> None:
        kernels = program.kernels()
        self.sources: dict[Kernel, str] = {k: kernel_source(k) for k in kernels}
        randoms = {
            _random_key(s) for s in program.steps if isinstance(s, Library) and s.kind == "philox"
        }
        sums = {
            s.outputs[0].dtype for s in program.steps
            if isinstance(s, Library) and s.attrs.get("op") == "GemmAdd"
        }  # fmt: skip
        for d in sorted(sums, key=lambda d: d.name):
            self.sources[copy_kernel(d)] = kernel_source(copy_kernel(d))
        texts = [*self.sources.values(), *(philox_source.SOURCES[k] for k in sorted(randoms))]
        addresses = dict(zip(texts, kernel_addresses(texts), strict=True)) if texts else {}
        self.kernels = {k: addresses[s] for k, s in self.sources.items()}
        self.randoms = {k: addresses[philox_source.SOURCES[k]] for k in randoms}
        self.gemm: dict[str, tuple[int, int]] = {}
        for s in program.steps:
            if isinstance(s, Library) and s.kind == "matmul":
                d = s.outputs[0].dtype
                kind: gemm.Kind = "f32" if d is dtypes.float32 else "f64"
                self.gemm[d.name] = (gemm.gemm_address(kind), gemm.blas_address(kind))


def copy_kernel(dtype: DType) -> Kernel:
    """The kernel that copies one array to another."""
    p = Temp("p", dtypes.int64)
    params = (Pointer(dtype, False), Pointer(dtype, True))
    return Kernel("flat", params, (Store(1, p, Load(0, (p,), dtype)),))


def _random_key(s: Library) -> tuple[str, str]:
    return RANDOM_OPS[s.attrs["op"]], s.outputs[0].dtype.name


def count(dims: Sequence[Dim] | None, env: Sizes) -> int:
    """Number of elements."""
    assert dims is not None
    return math.prod(D.evaluate(d, env) for d in dims)


def rows(step: Launch | Library, index: int, code: Code, env: Sizes, at: AddressOf) -> list[Row]:
    """The table rows of one step."""
    if isinstance(step, Launch):
        return [_launch(step, index, code, env, at)]
    match step.kind:
        case "matmul":
            return _matmul(step, index, code, env, at)
        case "philox":
            return [_random(step, index, code, env, at)]
        case _:
            raise KeyError(step.kind)


def _launch(step: Launch, index: int, code: Code, env: Sizes, at: AddressOf) -> Row:
    words: list[int] = []
    pointers: list[tuple[int, Buffer]] = []
    work = 0
    for i, a in enumerate(step.args):
        if isinstance(a, Buffer):
            pointers.append((i, a))
            words.append(at(a))
            work += count(a.dims, env) * a.dtype.size
        else:
            words.append(D.evaluate(a, env))
    words += [0] * SIGNATURE_WORDS
    extent = D.evaluate(step.extent, env)
    return Row(code.kernels[step.kernel], tuple(words), extent, index, tuple(pointers), work)


def _random(step: Library, index: int, code: Code, env: Sizes, at: AddressOf) -> Row:
    attrs, out = step.attrs, step.outputs[0]
    n = count(out.dims, env)
    words = [at(out), n, philox.signed_word(attrs["seed"]), philox.signed_word(attrs["seed2"]), 0, 0]
    if attrs["op"] == "PhiloxUniformInt":
        lo, hi = (int(np.asarray(b.data)) for b in step.inputs[1:])
        words += [philox.signed_word(lo), philox.signed_word(hi - lo)]
    function = code.randoms[_random_key(step)]
    groups = philox_source.groups(n)
    return Row(function, tuple(words), groups, index, ((0, out),), n * 16)


def draws(step: Library, env: Sizes) -> int:
    """How many counter steps one run of a random draw uses."""
    return philox.reserve(RANDOM_OPS[step.attrs["op"]], count(step.outputs[0].dims, env))


def _bits(x: float) -> int:
    return int(struct.unpack("<q", struct.pack("<d", x))[0])


def _matmul(step: Library, index: int, code: Code, env: Sizes, at: AddressOf) -> list[Row]:
    attrs, out = step.attrs, step.outputs[0]
    a, b = step.inputs[-2:]
    function, blas = code.gemm[out.dtype.name]
    names = ("transpose_a", "transpose_b") if "transpose_a" in attrs else ("adj_x", "adj_y")
    ta, tb = (bool(attrs[n]) for n in names)
    shapes = [[D.evaluate(d, env) for d in t.dims or ()] for t in (a, b, out)]
    m, n = shapes[2][-2:]
    k = shapes[0][-2] if ta else shapes[0][-1]
    alpha, beta = 1.0, 0.0
    if attrs["op"] == "GemmAdd":
        alpha, beta = float(attrs["alpha"]), 1.0
    size = out.dtype.size
    made = []
    if beta and at(step.inputs[0]) != at(out):
        words = (at(step.inputs[0]), at(out), *[0] * SIGNATURE_WORDS)
        pointers = ((0, step.inputs[0]), (1, out))
        copy = code.kernels[copy_kernel(out.dtype)]
        made.append(Row(copy, words, m * n, index, pointers, 2 * m * n * size))
    for batches, (oa, ob, oc), (sa, sb, sc) in _batches(shapes):
        block = [
            blas, at(a) + oa * size, at(b) + ob * size, at(out) + oc * size, m, n, k, int(ta), int(tb),
            _bits(alpha), _bits(beta), batches, sa, sb, sc,
        ]  # fmt: skip
        work = batches * (2 * m * n * k // 16 + (m * n + m * k + k * n) * size)
        refs = ((1, a), (2, b), (3, out))
        plain = oa == ob == oc == 0
        made.append(Row(function, tuple(block), batches, index, refs if plain else (), work))
    return made


def _batches(shapes: list[list[int]]) -> list[tuple[int, tuple[int, ...], tuple[int, ...]]]:
    """Split broadcast batches into runs with constant strides: (count, offsets, strides)."""
    lead = shapes[2][:-2]
    sizes = [s[-1] * s[-2] for s in shapes]
    total = math.prod(lead)
    steps = []
    for s, size in zip(shapes, sizes, strict=True):
        own = s[:-2]
        n = math.prod(own)
        if n == total:
            steps.append(size)
        elif n == 1:
            steps.append(0)
        else:
            return _general_batches(shapes, sizes, lead)
    return [(total, (0, 0, 0), tuple(steps))]


def _general_batches(
    shapes: list[list[int]], sizes: list[int], lead: list[int]
) -> list[tuple[int, tuple[int, ...], tuple[int, ...]]]:
    out = []
    for index in np.ndindex(*lead):
        offsets = []
        for s, size in zip(shapes, sizes, strict=True):
            own = s[:-2]
            at = 0
            for d, i in zip(own, index[len(lead) - len(own) :], strict=True):
                at = at * d + (0 if d == 1 else i)
            offsets.append(at * size)
        out.append((1, tuple(offsets), (0, 0, 0)))
    return out
