"""Rows of convolutions: products of matrices whose windows are read where they are.

A place in the output and a place in a window both lie at fixed distances in the input, so windows
are a matrix with axes of their own; see `runtime.products`.  Where windows reach over the ends,
some images at a time are first copied with zeros around them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from staticgraph.codegen import conv_source
from staticgraph.ir import dims as D
from staticgraph.ir.program import Buffer, Library
from staticgraph.ir.record import record
from staticgraph.runtime.products import Axes, Operand, Product, matrix_product, tile_texts
from staticgraph.runtime.row import AddressOf, Row, Sizes, count, nbytes, whole

Addresses = Mapping[str, int]  # of functions, by source text


def sources(step: Library) -> tuple[str, ...]:
    """The texts of the kernels that a call needs."""
    dtype = step.outputs[0].dtype
    if step.attrs["op"] == "ConvByInput":
        return conv_source.back(dtype), conv_source.zero(dtype)
    return (conv_source.frame(dtype),)


def machinery(step: Library) -> tuple[str, ...]:
    """The LLVM IR of the products that a call is made of."""
    if step.attrs["op"] == "ConvByInput":
        columns = (step.inputs[0].dims or ())[:-1]  # those of a window
    elif step.attrs["op"] == "ConvForward":
        columns = (step.inputs[1].dims or ())[-1:]
    else:
        columns = (step.outputs[0].dims or ())[-1:]
    known = [d for d in columns if type(d) is int]
    every = len(known) == len(columns)
    return tile_texts(step.outputs[0].dtype, math.prod(known) if every else None)


@record(frozen=True, slots=True)
class _Call:
    """A call's sizes, on three axes; fewer have leading ones of a single element.

    Args:
      first: the first axis that the call has.
    """

    image: tuple[int, ...]
    channels: int
    out: tuple[int, ...]
    kernel: tuple[int, ...]
    features: int
    images: int
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]
    first: int

    @property
    def columns(self) -> int:
        """Elements of a window."""
        return math.prod(self.kernel) * self.channels

    def reached(self, out: tuple[int, ...]) -> tuple[int, ...]:
        """The places from the first to the last that so many windows read."""
        parts = zip(out, self.strides, self.kernel, self.dilations, strict=True)
        return tuple((o - 1) * s + (k - 1) * r + 1 for o, s, k, r in parts)

    def steps(self, image: tuple[int, ...]) -> tuple[int, int, int]:
        """Elements from a place to the next one on each axis."""
        line = image[2] * self.channels
        return image[1] * line, line, self.channels

    def places(self, images: int, out: tuple[int, ...], image: tuple[int, ...]) -> Axes:
        """The axes of the windows, through images of this size."""
        steps = [n * s for n, s in zip(self.steps(image), self.strides, strict=True)]
        return [(images, math.prod(image) * self.channels), *zip(out, steps, strict=True)]

    def inside(self, image: tuple[int, ...]) -> Axes:
        """The axes of what is in a window."""
        steps = [n * r for n, r in zip(self.steps(image), self.dilations, strict=True)]
        return [*zip(self.kernel, steps, strict=True), (self.channels, 1)]


def _three(values: tuple[int, ...], fill: int) -> tuple[int, ...]:
    return (fill,) * (3 - len(values)) + values


def _call(step: Library, env: Sizes, image: Buffer, windows: Buffer, filters: Buffer) -> _Call:
    def known(values: object) -> tuple[int, ...]:
        return tuple(D.evaluate(d, env) for d in values)  # type: ignore[attr-defined]

    attrs = step.attrs
    xs, ys, ws = (known(b.dims) for b in (image, windows, filters))
    return _Call(
        _three(xs[1:-1], 1), xs[-1], _three(ys[1:-1], 1), _three(ws[:-2], 1), ws[-1], xs[0],
        _three(attrs["strides"], 1), _three(attrs["dilations"], 1),
        _three(known(attrs["before"]), 0), 3 - len(attrs["strides"]),
    )  # fmt: skip


def rows(step: Library, index: int, code: Addresses, env: Sizes, at: AddressOf) -> list[Row]:
    """The table rows of a call."""
    one, two = step.inputs
    out, _scratch = step.outputs
    match step.attrs["op"]:
        case "ConvForward":
            call = _call(step, env, one, out, two)
            return _Rows(step, index, code, env, at, call).forward(one, two)
        case "ConvByFilter":
            call = _call(step, env, one, two, out)
            return _Rows(step, index, code, env, at, call).by_filter(one, two)
        case _:
            call = _call(step, env, out, two, one)
            return _Rows(step, index, code, env, at, call).by_input(one, two)


@record(frozen=True, slots=True)
class _Part:
    """Some of the images, and some of the places on the first axis."""

    number: int
    images: int
    start: int
    out: tuple[int, ...]


@record(frozen=True, slots=True)
class _Rows:
    step: Library
    index: int
    code: Addresses
    env: Sizes
    at: AddressOf
    call: _Call

    def at_element(self, b: Buffer, n: int = 0) -> Operand:
        """An operand that begins at element `n` of a buffer."""
        return Operand(b, self.at(b) + n * b.dtype.size, n * b.dtype.size)

    # ---------------------------------------------------------------- windows read where they are
    def parts(self) -> list[_Part]:
        """What is done at once: everything, where windows are all inside the input."""
        call = self.call
        if not call.images * math.prod(call.out):
            return []
        if not self.framed:
            return [_Part(0, call.images, 0, call.out)]
        block, slab = (D.evaluate(self.step.attrs[k], self.env) for k in ("block", "slab"))
        length, found = call.out[call.first], list[_Part]()
        block = block if slab >= length else 1  # parts of images one by one
        for n in range(0, call.images, block):
            for start in range(0, length, slab):
                out = list(call.out)
                out[call.first] = min(slab, length - start)
                found.append(_Part(n, min(block, call.images - n), start, tuple(out)))
        return found

    @property
    def framed(self) -> bool:
        """True where a window reaches over an end."""
        call = self.call
        ends = zip(call.before, call.reached(call.out), call.image, strict=True)
        return any(before or reached > size for before, reached, size in ends)

    def input(self, part: _Part, x: Buffer) -> tuple[list[Row], Operand, tuple[int, ...]]:
        """What copies a part's images, where they are then, and of which size."""
        call = self.call
        if not self.framed:
            return [], self.at_element(x), call.image
        scratch, image = self.step.outputs[1], call.reached(part.out)
        before = list(call.before)
        before[call.first] -= part.start * call.strides[call.first]
        words = (
            self.at(scratch), self.at(x), part.number, *image, *call.image, call.channels, *before,
        )  # fmt: skip
        lines = part.images * image[0] * image[1]
        work = 2 * lines * image[2] * call.channels * x.dtype.size
        function = self.code[sources(self.step)[0]]
        places = whole((0, scratch), (1, x))
        row = Row(function, words, lines, self.index, places, work, splits=True)
        return [row], self.at_element(scratch), image

    def pixel(self, part: _Part) -> int:
        """The number of a part's first window."""
        call = self.call
        within = part.start * math.prod(call.out[call.first + 1 :])
        return part.number * math.prod(call.out) + within

    def forward(self, x: Buffer, w: Buffer) -> list[Row]:
        call, out = self.call, self.step.outputs[0]
        features, made = call.features, list[Row]()
        for part in self.parts():
            copies, a, image = self.input(part, x)
            places = call.places(part.images, part.out, image)
            product = Product(out.dtype, places, call.inside(image), features, (features, 1))
            c = self.at_element(out, self.pixel(part) * features)
            made += [*copies, product.row((a, self.at_element(w), c), self.index)]
        return made

    def by_filter(self, x: Buffer, dy: Buffer) -> list[Row]:
        call, out = self.call, self.step.outputs[0]
        features, parts = call.features, self.parts()
        if not parts:
            empty = matrix_product(out.dtype, (call.columns, features, 0), (False, False))
            operands = [self.at_element(b) for b in (x, dy, out)]
            return [empty.row(operands, self.index)]
        made: list[Row] = []
        for part in parts:
            copies, a, image = self.input(part, x)
            places = call.places(part.images, part.out, image)
            product = Product(
                out.dtype, call.inside(image), places, features, (features, 1),
                beta=0.0 if part is parts[0] else 1.0,
            )  # fmt: skip
            b = self.at_element(dy, self.pixel(part) * features)
            made += [*copies, product.row((a, b, self.at_element(out)), self.index)]
        return made

    # ---------------------------------------------------------------- windows added up
    def by_input(self, w: Buffer, dy: Buffer) -> list[Row]:
        call, (out, scratch) = self.call, self.step.outputs
        back, zero = (self.code[text] for text in sources(self.step))
        n = count(out.dims, self.env)
        clears = Row(
            zero, (self.at(out),), n, self.index, whole((0, out)), nbytes(out, self.env), True
        )
        made = [clears]
        height = call.out[0] * call.out[1]
        lines, block = call.images * height, D.evaluate(self.step.attrs["block"], self.env)
        for first in range(0, lines if call.out[2] else 0, block):
            some = min(block, lines - first)
            m = some * call.out[2]
            product = matrix_product(out.dtype, (m, call.columns, call.features), (False, True))
            pixel = self.at_element(dy, first * call.out[2] * call.features)
            operands = (pixel, self.at_element(w), self.at_element(scratch))
            made.append(product.row(operands, self.index))
            image = first // height
            images = (first + some - 1) // height - image + 1
            words = (
                self.at(out), self.at(scratch), first, some, image, *call.out, *call.kernel,
                *call.image, call.channels, *call.strides, *call.dilations, *call.before,
            )  # fmt: skip
            extent = images * call.image[0] * call.image[1]
            work = 3 * m * call.columns * out.dtype.size
            places = whole((0, out), (1, scratch))
            made.append(Row(back, words, extent, self.index, places, work, splits=True))
        return made
