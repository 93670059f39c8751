"""Rows of products of matrices: what is multiplied, and in which pieces.

The product is `codegen.product_source`'s.  Its pieces are chosen here, by sizes alone; every
element is added up in the same order however they are chosen and whoever does them.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

from staticgraph.codegen.product_source import (
    DEPTH,
    MOST_ROWS,
    PART_OF,
    WAYS,
    product_address,
    product_source,
    rows_address,
    rows_source,
)
from staticgraph.codegen.tile_source import Kind, Shape, shape
from staticgraph.ir import dtypes
from staticgraph.ir.dtypes import DType
from staticgraph.ir.program import Buffer
from staticgraph.ir.record import record
from staticgraph.runtime.row import Row
from staticgraph.runtime.threads import UNIT_FLOPS, UNITS, bytes_like_flops

OPEN = 64  # what a size that is not known yet is taken for, to have code for it
Axes = Sequence[tuple[int, int]]  # sizes and strides, in elements; the last runs fastest
PACKED_ROWS = 36  # of a unit, at least: to lay out a row of B costs as much as two rows take
FEW_ROWS = 24  # for which B is not laid out
DOTS_FROM = 16  # times the columns: sums that are at least so long may be made as dot products
SHORT = 4  # sums that are made without vectors
TURN_FROM = 16  # rows for which columns are laid out one behind the other
CHAINS_ROWS = 3  # that are done one by one where there are few columns, too
TURNED = 4  # columns of which rows are made instead, at most, where A is stored by columns
LEAST_DEPTH = 64  # that a unit counts with: results have to be written, too
LINE_BYTES = 2048, 8192  # of a line of sums: its rows lie apart, and it stays in the first cache
LINE_UNITS = 4  # that a line is divided into, if each is then of some size


def kind_of(dtype: DType) -> Kind:
    """The elements of a product."""
    return "f32" if dtype is dtypes.float32 else "f64"


@record(frozen=True, slots=True)
class Operand:
    """Where a matrix is: a buffer, bytes from its start, and its address with these."""

    buffer: Buffer
    address: int
    offset: int = 0


@record(frozen=True, slots=True)
class Product:
    """``C = alpha * A @ B + beta * C``, for each of a batch.

    Args:
      rows, depth: the axes of A, of its rows and of its columns: at most four of each, when those
        that lie one behind the other are taken together.
      columns: the number of B's columns.
      b: strides of B's rows and columns, one of which is 1.
      batch, strides: how many there are, and elements from each A, B and C to the next.
      swapped: the operands are given as B and A.
      turned: C is stored by columns, `rows` elements apart.
    """

    dtype: DType
    rows: Axes
    depth: Axes
    columns: int
    b: tuple[int, int]
    alpha: float = 1.0
    beta: float = 0.0
    batch: int = 1
    strides: tuple[int, int, int] = (0, 0, 0)
    swapped: bool = False
    turned: bool = False

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Rows and columns of C, and how many products are added up."""
        return _count(self.rows), self.columns, _count(self.depth)

    @property
    def flops(self) -> int:
        """Multiplications and additions."""
        return 2 * self.batch * math.prod(self.sizes)

    def row(self, operands: Sequence[Operand], step: int) -> Row:
        """The row of a plan's table, of step number `step`; the operands are A, B and C."""
        a, b, c = operands = self._ordered(operands)
        kind, size = kind_of(self.dtype), self.dtype.size
        rows, depth, tiles = _four(self.rows), _four(self.depth), shape(kind)
        m, n, k = self.sizes
        way = self._way(rows, depth, tiles)
        direct = way == "tiles" and self._direct(m, tiles)
        unit, span = self._unit(way, direct, tiles)
        down, across = -(-m // unit), -(-n // span)
        ldc, c_column = (1, m) if self.turned else (n, 1)
        (_, row_0), (rows_1, row_1), (rows_2, row_2), (rows_3, row_3) = rows
        (depth_0, step_0), (depth_1, step_1), (depth_2, step_2), (depth_3, step_3) = depth
        times, run = _at_once(depth_2, depth_3)
        widths = tiles.widths(n) if way == "tiles" else ()
        tile_rows = [rows_address(kind, i) if i in widths else 0 for i in (1, 2, 3, 4)]
        words = (
            a.address, b.address, c.address, m, n, *self.strides,
            rows_1, rows_2, rows_3, row_0, row_1, row_2, row_3,
            depth_0, depth_1, depth_2, depth_3, step_0, step_1, step_2, step_3,
            times, run, *self.b, ldc, _bits(self.alpha), _bits(self.beta),
            unit, down, span, across, int(direct), WAYS.index(way), c_column, *tile_rows,
        )  # fmt: skip
        moved = self.batch * (m * n + m * k + k * n) * size
        return Row(
            product_address(kind, way),
            words,
            self.batch * down * across if m and n else 0,
            step,
            tuple((i, o.buffer, o.offset) for i, o in enumerate(operands)),
            moved + bytes_like_flops(2 * self.batch * m * n * k, size),
            splits=True,
        )

    def texts(self) -> tuple[str, ...]:
        """The LLVM IR that the row refers to."""
        kind = kind_of(self.dtype)
        way = self._way(_four(self.rows), _four(self.depth), shape(kind))
        if way == "tiles":
            return tile_texts(self.dtype, self.columns)
        return (product_source(kind, PART_OF[way]),)

    def _ordered(self, operands: Sequence[Operand]) -> Sequence[Operand]:
        a, b, c = operands
        return (b, a, c) if self.swapped else operands

    def _way(self, rows: Axes, depth: Axes, tiles: Shape) -> str:
        """How it is done: one of `WAYS`, by its sizes."""
        (k, step), m, n = depth[3], rows[3][0], self.columns
        if any(size != 1 for size, _ in (*rows[:3], *depth[:3])):
            return "tiles"
        if step <= 1 and (n == 1 or (n <= _few(tiles) and k >= DOTS_FROM * n)):
            if n == 1 and k <= SHORT:
                return "short"
            if self.b[0] == 1 or (m >= TURN_FROM and n * k <= DEPTH * tiles.columns):
                return "dots"
        if self.turned or self.b[1] != 1:
            return "tiles"
        if m <= CHAINS_ROWS and n <= (2 if m == 1 else 1) * tiles.lanes:
            return "chains"
        return "line" if m == 1 and n > tiles.columns else "tiles"

    def _direct(self, m: int, tiles: Shape) -> bool:
        """True where B is read where it is: few rows, or it lies as it would be laid out."""
        few, n = m <= FEW_ROWS, self.columns
        whole = n <= tiles.columns and n % tiles.lanes == 0
        return self.b[1] == 1 and (few or (whole and self.b[0] == n))

    def _unit(self, way: str, direct: bool, tiles: Shape) -> tuple[int, int]:
        """Rows and columns of a unit."""
        m, n, k = self.sizes
        if way == "line":
            least, most = (size // self.dtype.size for size in LINE_BYTES)
            return 1, min(most, max(least, -(-n // (LINE_UNITS * tiles.lanes)) * tiles.lanes))
        wide, tall = (tiles.columns, tiles.rows(n)) if way == "tiles" else (max(n, 1), 4)
        across = -(-n // wide)
        wanted = -(-m * max(1, self.batch * across) // UNITS)
        worth = -(-UNIT_FLOPS // max(1, 2 * max(k, LEAST_DEPTH) * min(n, wide)))
        least = PACKED_ROWS if way == "tiles" and not direct else 1
        most = min(MOST_ROWS, max(m, 1)) if way == "tiles" else max(m, 1)
        unit = min(max(wanted, worth, least), most)
        even = -(-m // max(1, -(-m // unit)))  # units alike, of whole tiles
        return max(1, -(-even // tall)) * tall, wide


def tile_texts(dtype: DType, columns: int | None) -> tuple[str, ...]:
    """The LLVM IR of products that are made of tiles, with so many columns or any number."""
    kind = kind_of(dtype)
    tiles = shape(kind)
    widths = sorted(tiles.widths(columns)) if columns is not None else dict(tiles.tiles)
    return product_source(kind, PART_OF["tiles"]), *(rows_source(kind, i) for i in widths)


def matrix_product(
    dtype: DType, sizes: tuple[int, int, int], transposed: tuple[bool, bool], alpha: float = 1.0,
    beta: float = 0.0, batch: int = 1, strides: tuple[int, int, int] = (0, 0, 0),
) -> Product:  # fmt: skip
    """The product of two matrices, each of which may be stored by columns.

    Args:
      sizes: rows and columns of the result, and how many products are added up.
    """
    m, n, k = sizes
    if _better_swapped(sizes, transposed, _few(shape(kind_of(dtype)))):
        # the transpose of the product of the transposes
        (sa, sb, sc), (ta, tb) = strides, transposed
        by_row, by_column = (1, n) if not tb else (k, 1)
        b = (1, k) if not ta else (m, 1)
        return Product(
            dtype, [(n, by_row)], [(k, by_column)], m, b, alpha, beta, batch, (sb, sa, sc),
            swapped=True, turned=m > 1 and n > 1,
        )  # fmt: skip
    by_row, by_column = (1, m) if transposed[0] else (k, 1)
    b = (1, k) if transposed[1] else (n, 1)
    rows, depth = [(m, by_row)], [(k, by_column)]
    return Product(dtype, rows, depth, n, b, alpha, beta, batch, strides)


def _few(tiles: Shape) -> int:
    """Columns that are made as dot products, at most: tiles of them would be half empty."""
    return max(2, tiles.lanes // 2)


def _better_swapped(
    sizes: tuple[int, int, int], transposed: tuple[bool, bool], few: int
) -> bool:  # fmt: skip
    """True where the small operand is best taken as the other one."""
    (m, n, k), (ta, tb) = sizes, transposed
    if m == 1 or n == 1:  # to the vector's right side
        return m != n and (tb if m == 1 else ta)
    if n <= few and not ta and k >= DOTS_FROM * n:
        return False
    return (m <= few and tb and k >= DOTS_FROM * m) or (
        ta and n <= TURNED and k >= 3 * n and m > CHAINS_ROWS
    )


def _count(axes: Axes) -> int:
    return math.prod([n for n, _ in axes])


def _merged(axes: Axes) -> list[tuple[int, int]]:
    """The same elements in the same order, by as few axes as can be."""
    out: list[tuple[int, int]] = []
    for n, stride in axes:
        if n == 1:
            continue
        if out and out[-1][1] == n * stride:
            out[-1] = (out[-1][0] * n, stride)
        else:
            out.append((n, stride))
    return out


def _four(axes: Axes) -> list[tuple[int, int]]:
    if not _count(axes):
        return [(1, 0), (1, 0), (1, 0), (0, 0)]
    found = _merged(axes)
    assert len(found) <= 4, axes
    return [(1, 0)] * (4 - len(found)) + found


def _at_once(outer: int, inner: int) -> tuple[int, int]:
    """How many of the last two axes of the depth are laid out at once: even shares."""
    if inner > DEPTH:
        return 1, -(-inner // -(-inner // DEPTH))
    fit = max(1, DEPTH // max(1, inner))
    return -(-outer // -(-outer // fit)), max(1, inner)


def _bits(x: float) -> int:
    return int(struct.unpack("<q", struct.pack("<d", x))[0])


__all__ = ["OPEN", "Operand", "Product", "kind_of", "matrix_product", "tile_texts"]
