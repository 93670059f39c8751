"""Rows of convolutions: blocks of windows are copied and multiplied in turn.

One block of windows is small enough to stay in the cache until the product has read it.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from staticgraph.codegen import conv_source, gemm
from staticgraph.ir import dims as D
from staticgraph.ir import dtypes
from staticgraph.ir.dtypes import DType
from staticgraph.ir.program import Buffer, Library
from staticgraph.runtime.row import AddressOf, Row, Sizes, count, nbytes, whole

Addresses = Mapping[str, int]  # of functions, by source text


def sources(step: Library) -> tuple[str, ...]:
    """The texts of the kernels that a call needs."""
    dtype = step.outputs[0].dtype
    product(dtype)  # a BLAS that is not there is found out now
    if step.attrs["op"] == "ConvByInput":
        return conv_source.back(dtype), conv_source.zero(dtype)
    return ((conv_source.columns if step.attrs["turned"] else conv_source.rows)(dtype),)


def product(dtype: DType) -> tuple[int, int]:
    """Addresses of the matrix product and of the BLAS routine that it calls."""
    kind: gemm.Kind = "f32" if dtype is dtypes.float32 else "f64"
    return gemm.gemm_address(kind), gemm.blas_address(kind)


@dataclass(frozen=True, slots=True)
class _Call:
    """A call's sizes: images are [*spatial, channels], `out` counts windows per axis."""

    image: tuple[int, ...]  # three axes
    channels: int
    out: tuple[int, ...]
    kernel: tuple[int, ...]
    features: int
    lines: int
    block: int
    geometry: tuple[int, ...]  # strides, dilations, before

    @property
    def columns(self) -> int:
        """Elements of a window."""
        return math.prod(self.kernel) * self.channels

    def copy_words(self, first: int, lines: int) -> tuple[int, ...]:
        """The words of a copying kernel after its two addresses."""
        return (first, lines, *self.out, *self.kernel, *self.image, self.channels, *self.geometry)


def _three(values: tuple[int, ...], fill: int) -> tuple[int, ...]:
    return (fill,) * (3 - len(values)) + values


def _call(step: Library, env: Sizes, image: Buffer, windows: Buffer, filters: Buffer) -> _Call:
    def known(values: object) -> tuple[int, ...]:
        return tuple(D.evaluate(d, env) for d in values)  # type: ignore[attr-defined]

    attrs = step.attrs
    xs, ys, ws = (known(b.dims) for b in (image, windows, filters))
    geometry = (
        *_three(attrs["strides"], 1),
        *_three(attrs["dilations"], 1),
        *_three(known(attrs["before"]), 0),
    )
    return _Call(
        _three(xs[1:-1], 1), xs[-1], _three(ys[1:-1], 1), _three(ws[:-2], 1), ws[-1],
        math.prod(ys[:-2]), D.evaluate(attrs["block"], env), geometry,
    )  # fmt: skip


def _bits(x: float) -> int:
    return int(struct.unpack("<q", struct.pack("<d", x))[0])


def rows(step: Library, index: int, code: Addresses, env: Sizes, at: AddressOf) -> list[Row]:
    """The table rows of a call."""
    one, two = step.inputs
    out, _scratch = step.outputs
    match step.attrs["op"]:
        case "ConvForward":
            return _Rows(step, index, code, env, at, _call(step, env, one, out, two)).forward(
                one, two
            )
        case "ConvByFilter":
            return _Rows(step, index, code, env, at, _call(step, env, one, two, out)).by_filter(
                one, two
            )
        case _:
            return _Rows(step, index, code, env, at, _call(step, env, out, two, one)).by_input(
                one, two
            )


@dataclass(frozen=True, slots=True)
class _Rows:
    step: Library
    index: int
    code: Addresses
    env: Sizes
    at: AddressOf
    call: _Call

    def blocks(self) -> list[tuple[int, int]]:
        """First line and number of lines of each block."""
        lines, block = self.call.lines, self.call.block
        if not math.prod(self.call.out[2:]):
            return []
        return [(i, min(block, lines - i)) for i in range(0, lines, block)]

    def copy(self, source: Buffer, first: int, lines: int) -> Row:
        """Windows of a block to the scratch."""
        text, scratch = sources(self.step)[0], self.step.outputs[1]
        words = (self.at(scratch), self.at(source), *self.call.copy_words(first, lines))
        work = 2 * lines * self.call.out[2] * self.call.columns * scratch.dtype.size
        return Row(
            self.code[text], words, lines, self.index, whole((0, scratch), (1, source)), work
        )

    def multiply(
        self, a: tuple[Buffer, int], b: tuple[Buffer, int], c: tuple[Buffer, int],
        sizes: tuple[int, int, int], turned: tuple[bool, bool], beta: float,
    ) -> Row:  # fmt: skip
        """``c = a @ b + beta * c``; buffers with offsets in elements."""
        m, n, k = sizes
        size = c[0].dtype.size
        places = tuple((i + 1, t, o * size) for i, (t, o) in enumerate((a, b, c)))
        function, blas = product(c[0].dtype)
        words = (
            blas, *(self.at(t) + o for _, t, o in places), m, n, k, *map(int, turned), _bits(1.0),
            _bits(beta), 1, 0, 0, 0,
        )  # fmt: skip
        work = 2 * m * n * k // 16 + (m * n + m * k + k * n) * size
        return Row(function, words, 1, self.index, places, work)

    def forward(self, x: Buffer, w: Buffer) -> list[Row]:
        call, (out, scratch) = self.call, self.step.outputs
        made = []
        for first, lines in self.blocks():
            m, place = lines * call.out[2], first * call.out[2] * call.features
            made.append(self.copy(x, first, lines))
            made.append(self.multiply(
                (scratch, 0), (w, 0), (out, place), (m, call.features, call.columns),
                (bool(self.step.attrs["turned"]), False), 0.0,
            ))  # fmt: skip
        return made

    def by_filter(self, x: Buffer, dy: Buffer) -> list[Row]:
        call, (out, scratch) = self.call, self.step.outputs
        turned = (not self.step.attrs["turned"], False)
        made: list[Row] = []
        for first, lines in self.blocks() or [(0, 0)]:
            m, place = lines * call.out[2], first * call.out[2] * call.features
            made.append(self.copy(x, first, lines))
            made.append(self.multiply(
                (scratch, 0), (dy, place), (out, 0), (call.columns, call.features, m), turned,
                0.0 if first == 0 else 1.0,
            ))  # fmt: skip
        return made

    def by_input(self, w: Buffer, dy: Buffer) -> list[Row]:
        call, (out, scratch) = self.call, self.step.outputs
        back, zero = (self.code[text] for text in sources(self.step))
        n = count(out.dims, self.env)
        made = [Row(zero, (self.at(out),), n, self.index, whole((0, out)), nbytes(out, self.env))]
        for first, lines in self.blocks():
            m, place = lines * call.out[2], first * call.out[2] * call.features
            made.append(
                self.multiply(
                    (dy, place),
                    (w, 0),
                    (scratch, 0),
                    (m, call.columns, call.features),
                    (False, True),
                    0.0,
                )
            )
            words = (self.at(out), self.at(scratch), *call.copy_words(first, lines))
            work = 3 * m * call.columns * out.dtype.size
            made.append(Row(back, words, 1, self.index, whole((0, out), (1, scratch)), work))
        return made
