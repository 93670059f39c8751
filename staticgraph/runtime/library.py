"""Library calls: for every kind, the code it needs and the table rows it becomes.

Anything that can fail stands in a row of its own before the rows that write: a scatter's indices
are checked before its first store.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from staticgraph.codegen import library_source, philox_source
from staticgraph.ir import dims as D
from staticgraph.ir import philox
from staticgraph.ir.dims import Dim
from staticgraph.ir.program import Buffer, Library
from staticgraph.ir.record import record
from staticgraph.runtime import convolution
from staticgraph.runtime.products import OPEN, Operand, matrix_product, tile_texts
from staticgraph.runtime.row import AddressOf, Row, Sizes, count, nbytes, whole

Addresses = Mapping[str, int]  # of functions, by source text
RANDOM_OPS = {
    "PhiloxUniform": "RandomUniform", "PhiloxNormal": "RandomStandardNormal",
    "PhiloxTruncatedNormal": "TruncatedNormal", "PhiloxUniformInt": "RandomUniformInt",
}  # fmt: skip
COUNTER_WORDS = 4  # position of the counter in a random kernel's argument block


@record(frozen=True, slots=True)
class Kind:
    """One kind of library call.

    Args:
      sources: the texts of the kernels a call needs.
      rows: the rows of a call, given its position among the steps and the kernels' addresses.
      machinery: LLVM IR that a call needs beside them, whatever the program.
      later: the same, for sizes that may come some day.
    """

    sources: Callable[[Library], tuple[str, ...]]
    rows: Callable[[Library, int, Addresses, Sizes, AddressOf], list[Row]]
    machinery: Callable[[Library], tuple[str, ...]] = lambda _: ()
    later: Callable[[Library], tuple[str, ...]] = lambda _: ()


def _copy(
    source: Buffer, target: Buffer, index: int, code: Addresses, env: Sizes, at: AddressOf
) -> list[Row]:
    """The row that copies a buffer, unless the two are one place."""
    if at(source) == at(target):
        return []
    words = (at(source), at(target))
    function = code[library_source.copy(target.dtype)]
    n, work = count(target.dims, env), 2 * nbytes(target, env)
    return [Row(function, words, n, index, whole((0, source), (1, target)), work, splits=True)]


# ---------------------------------------------------------------- random draws
def _random_source(step: Library) -> str:
    return philox_source.SOURCES[RANDOM_OPS[step.attrs["op"]], step.outputs[0].dtype.name]


def _random(step: Library, index: int, code: Addresses, env: Sizes, at: AddressOf) -> list[Row]:
    attrs, out = step.attrs, step.outputs[0]
    n = count(out.dims, env)
    seeds = (philox.signed_word(attrs[k]) for k in ("seed", "seed2"))
    words = [at(out), n, *seeds, 0, 0]
    if attrs["op"] == "PhiloxUniformInt":
        lo, hi = (int(np.asarray(b.data)) for b in step.inputs[1:])
        words += [philox.signed_word(lo), philox.signed_word(hi - lo)]
    groups = philox_source.groups(n)
    row = Row(
        code[_random_source(step)], tuple(words), groups, index, whole((0, out)), n * 16, True
    )
    return [row]


def draws(step: Library, env: Sizes) -> int:
    """How many counter steps one run of a random draw uses."""
    return philox.reserve(RANDOM_OPS[step.attrs["op"]], count(step.outputs[0].dims, env))


# ---------------------------------------------------------------- scatter
def _look(
    check: int, step: Library, indices: Buffer, bound: int, n: int, index: int, env: Sizes,
    at: AddressOf,
) -> Row:  # fmt: skip
    """The row that looks for an index out of range."""
    words = (at(indices), bound, int(step.attrs["skip_negative"]), 0, 0)
    return Row(check, words, n, index, whole((0, indices)), nbytes(indices, env))


def _scatter_sources(step: Library) -> tuple[str, ...]:
    dtype, index = step.outputs[0].dtype, step.inputs[1].dtype
    return (
        library_source.copy(dtype), library_source.index_check(index),
        library_source.scatter(step.attrs["kind"], dtype, index),
    )  # fmt: skip


def _scatter(step: Library, index: int, code: Addresses, env: Sizes, at: AddressOf) -> list[Row]:
    base, indices, updates = step.inputs
    (out,) = step.outputs
    b, m, r, s, n = (D.evaluate(d, env) for d in step.attrs["sizes"])
    _, check, combine = (code[text] for text in _scatter_sources(step))
    blocks = library_source.blocks(s)
    work = nbytes(indices, env)
    looks = [] if step.attrs["checked"] else [_look(check, step, indices, r, b * n, index, env, at)]
    return [
        *looks,
        *_copy(base, out, index, code, env, at),
        Row(
            combine, (at(out), at(indices), at(updates), m, r, s, n, blocks), b * m * blocks, index,
            whole((0, out), (1, indices), (2, updates)), work + 3 * nbytes(updates, env), True,
        ),
    ]  # fmt: skip


# ---------------------------------------------------------------- distinct rows
def _distinct_sources(step: Library) -> tuple[str, ...]:
    kinds = dict.fromkeys(b.dtype for b in step.inputs)
    looks = (library_source.index_check(d) for d in kinds)
    return (library_source.NO_ROWS, *looks, *map(library_source.distinct_rows, kinds))


def _distinct(step: Library, index: int, code: Addresses, env: Sizes, at: AddressOf) -> list[Row]:
    rows, *places, table = step.outputs
    bound, m = D.evaluate(step.attrs["bound"], env), count(rows.dims, env)
    words = count(table.dims, env)
    looks, finds = [], []
    for ids, place in zip(step.inputs, places, strict=True):
        n, check = count(ids.dims, env), code[library_source.index_check(ids.dtype)]
        looks.append(_look(check, step, ids, bound, n, index, env, at))
        finds.append(Row(
            code[library_source.distinct_rows(ids.dtype)],
            (at(ids), at(place), at(rows), at(table), n, words // 2, int(bound <= words // 2)),
            int(n > 0), index, whole((0, ids), (1, place), (2, rows), (3, table)), 32 * n,
        ))  # fmt: skip
    clear = Row(
        code[library_source.NO_ROWS], (at(rows), at(table), m, words), 1, index,
        whole((0, rows), (1, table)), 8 * (m + words),
    )  # fmt: skip
    return [*looks, clear, *finds]


# ---------------------------------------------------------------- cumulative operations
def _cumulative_source(step: Library) -> str:
    return library_source.cumulative(step.attrs["op"], step.outputs[0].dtype)


def _cumulative(step: Library, index: int, code: Addresses, env: Sizes, at: AddressOf) -> list[Row]:
    (x,), (out,) = step.inputs, step.outputs
    sizes = [D.evaluate(d, env) for d in out.dims or ()]
    axis = step.attrs["axis"] % len(sizes)
    outer, n, inner = math.prod(sizes[:axis]), sizes[axis], math.prod(sizes[axis + 1 :])
    blocks = library_source.blocks(inner)
    flags = (int(step.attrs["reverse"]), int(step.attrs["exclusive"]))
    words = (at(out), at(x), n, inner, blocks, *flags)
    extent = outer * blocks if n else 0
    places = whole((0, out), (1, x))
    function, work = code[_cumulative_source(step)], 2 * nbytes(out, env)
    return [Row(function, words, extent, index, places, work, splits=True)]


# ---------------------------------------------------------------- matrix products
def _matmul_sources(step: Library) -> tuple[str, ...]:
    return (library_source.copy(step.outputs[0].dtype),) if step.attrs["op"] == "GemmAdd" else ()


def _matmul_machinery(step: Library, opened: int = OPEN) -> tuple[str, ...]:
    """What the sizes need, with a guess at those that are open."""
    out = step.outputs[0]
    transposed = _transposed(step)
    m, n, k = (d if type(d) is int else opened for d in _sizes_of(step))
    product = matrix_product(out.dtype, (m, n, k), transposed)
    if type(_sizes_of(step)[0 if product.swapped else 1]) is int:
        return product.texts()
    return product.texts() + tile_texts(out.dtype, None)


def _matmul_later(step: Library) -> tuple[str, ...]:
    """What open sizes need where there is a single row, or a few."""
    if all(type(d) is int for d in _sizes_of(step)):
        return ()
    return _matmul_machinery(step, 1) + _matmul_machinery(step, 2)


def _sizes_of(step: Library) -> tuple[Dim, ...]:
    """Rows and columns of the result, and how many products are added up."""
    depth = step.shape(len(step.inputs) - 2)[-2 if _transposed(step)[0] else -1]
    return *(step.outputs[0].dims or ())[-2:], depth


def _transposed(step: Library) -> tuple[bool, bool]:
    attrs = step.attrs
    names = ("transpose_a", "transpose_b") if "transpose_a" in attrs else ("adj_x", "adj_y")
    return bool(attrs[names[0]]), bool(attrs[names[1]])


def _matmul(step: Library, index: int, code: Addresses, env: Sizes, at: AddressOf) -> list[Row]:
    attrs, out = step.attrs, step.outputs[0]
    a, b = step.inputs[-2:]
    ta, tb = _transposed(step)
    sizes = (step.shape(len(step.inputs) - 2), step.shape(len(step.inputs) - 1), out.dims or ())
    shapes = [[d if type(d) is int else D.evaluate(d, env) for d in dims] for dims in sizes]
    m, n = shapes[2][-2:]
    k = shapes[0][-2] if ta else shapes[0][-1]
    made: list[Row] = []
    alpha, beta = 1.0, 0.0
    if attrs["op"] == "GemmAdd":
        alpha, beta = float(attrs["alpha"]), 1.0
        made += _copy(step.inputs[0], out, index, code, env, at)
    size = out.dtype.size
    for batch, offsets, (sa, sb, sc) in _batches(shapes):
        product = matrix_product(out.dtype, (m, n, k), (ta, tb), alpha, beta, batch, (sa, sb, sc))
        places = zip((a, b, out), offsets, strict=True)
        operands = [Operand(x, at(x) + o * size, o * size) for x, o in places]
        made.append(product.row(operands, index))
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
    out: list[tuple[int, tuple[int, ...], tuple[int, ...]]] = []
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


LIBRARY: Mapping[str, Kind] = {
    "matmul": Kind(_matmul_sources, _matmul, _matmul_machinery, _matmul_later),
    "philox": Kind(lambda step: (_random_source(step),), _random),
    "scatter": Kind(_scatter_sources, _scatter),
    "distinct": Kind(_distinct_sources, _distinct),
    "cumulative": Kind(lambda step: (_cumulative_source(step),), _cumulative),
    "conv": Kind(convolution.sources, convolution.rows, convolution.machinery),
}
