"""LLVM IR of the innermost part of a product of matrices: tiles of the result kept in registers.

A tile is up to eight rows by up to four vectors of columns.  Its sums stay in registers while k
runs; in each step it loads vectors of one row of B and spreads single elements of A over vectors.
How many rows and vectors there are is a matter of how many registers the processor has.

Every element of the result is added up in the same order whatever tile it falls into, so that
neither the number of threads nor the way the result is divided changes a bit of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Literal

from staticgraph.codegen.target import vectors
from staticgraph.ir.record import record

Kind = Literal["f32", "f64"]


MANY = (4, (6, 2)), (3, (8, 2)), (2, (8, 2)), (1, (8, 4))
"""Tiles for 32 registers: vectors, and rows that tiles of so many may have."""

FEW = (2, (6, 2)), (1, (8, 4))
"""Tiles for 16 registers."""

HIGHEST = 8  # rows


@record(frozen=True, slots=True)
class Shape:
    """What tiles look like on a processor.

    Attributes:
      element: LLVM's name of the type.
      size: its bytes.
      lanes: elements of a vector.
      tiles: rows that tiles of so many vectors may have, the widest and the highest first.
    """

    element: str
    size: int
    lanes: int
    tiles: tuple[tuple[int, tuple[int, ...]], ...]

    @property
    def vector(self) -> str:
        """LLVM's name of a vector."""
        return f"<{self.lanes} x {self.element}>"

    @property
    def suffix(self) -> str:
        """The vector in the names of LLVM's intrinsics."""
        return f"v{self.lanes}f{8 * self.size}"

    @property
    def columns(self) -> int:
        """Columns of the widest tile."""
        return self.tiles[0][0] * self.lanes

    def widths(self, columns: int) -> set[int]:
        """The widths of tiles that a result of so many columns has, in vectors."""
        whole, rest = divmod(columns, self.columns)
        widest = {self.tiles[0][0]} if whole else set()
        return widest | ({-(-rest // self.lanes)} if rest else set())

    def rows(self, columns: int) -> int:
        """Rows of the highest tiles that a result of so many columns has."""
        vectors = -(-columns // self.lanes)
        return next((heights[0] for width, heights in self.tiles if width <= vectors), 1)


@cache
def shape(kind: Kind) -> Shape:
    """The tiles for the processor that code is made for."""
    machine, has = vectors()
    bytes_ = 64 if "avx512f" in has else 32 if "avx" in has else 16
    many = "avx512f" in has or machine.startswith(("aarch64", "arm64"))
    size = 4 if kind == "f32" else 8
    return Shape("float" if size == 4 else "double", size, bytes_ // size, MANY if many else FEW)


class Text:
    """LLVM IR, written line by line: values get numbers, loops and conditions their labels."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._count = 0

    def __call__(self, line: str) -> None:
        self.lines.append(line)

    def value(self, expression: str) -> str:
        """The name of a new value."""
        self._count += 1
        self.lines.append(f"  %v{self._count} = {expression}")
        return f"%v{self._count}"

    def number(self, operation: str, a: str | int, b: str | int) -> str:
        """The name of what an operation on two int64 gives."""
        return self.value(f"{operation} i64 {a}, {b}")

    def least(self, a: str | int, b: str | int) -> str:
        """The lesser of two int64."""
        return self.value(f"call i64 @llvm.smin.i64(i64 {a}, i64 {b})")

    @contextmanager
    def function(self, head: str) -> Iterator[None]:
        """The body of a function."""
        self(f"define {head} {{\nstart:")
        yield
        self("}")

    @contextmanager
    def loop(self, start: str | int, stop: str | int, step: str | int = 1) -> Iterator[str]:
        """A loop over ``range(start, stop, step)``; gives the variable."""
        self._count += 1
        n = self._count
        self(
            f"  br label %before{n}\nbefore{n}:\n"
            f"  %some{n} = icmp slt i64 {start}, {stop}\n"
            f"  br i1 %some{n}, label %body{n}, label %end{n}\nbody{n}:\n"
            f"  %i{n} = phi i64 [ {start}, %before{n} ], [ %next{n}, %again{n} ]"
        )
        yield f"%i{n}"
        self(
            f"  br label %again{n}\nagain{n}:\n  %next{n} = add nsw i64 %i{n}, {step}\n"
            f"  %more{n} = icmp slt i64 %next{n}, {stop}\n"
            f"  br i1 %more{n}, label %body{n}, label %end{n}\nend{n}:"
        )

    @contextmanager
    def when(self, condition: str, unless: bool = False, returns: bool = False) -> Iterator[None]:
        """What is done under a condition, and that the function then is over, if it `returns`."""
        self._count += 1
        n = self._count
        ways = f"label %end{n}, label %then{n}" if unless else f"label %then{n}, label %end{n}"
        self(f"  br i1 {condition}, {ways}\nthen{n}:")
        yield
        self(f"  ret void\nend{n}:" if returns else f"  br label %end{n}\nend{n}:")


class Vectors(Text):
    """Text about vectors and the arrays they come from.

    Args:
      shape: the vectors.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape

    def at(self, pointer: str, *steps: str | int) -> str:
        """A pointer so many elements further on."""
        for n in steps:
            pointer = self.value(f"getelementptr {self.shape.element}, ptr {pointer}, i64 {n}")
        return pointer

    def times(self, pointer: str, n: str | int, stride: str | int) -> str:
        """A pointer to element number n of those so many elements apart."""
        return self.at(pointer, self.number("mul", n, stride))

    def load(self, pointer: str) -> str:
        """A vector that lies anywhere."""
        return self.value(f"load {self.shape.vector}, ptr {pointer}, align {self.shape.size}")

    def store(self, v: str, pointer: str) -> None:
        """Write a vector to anywhere."""
        self(f"  store {self.shape.vector} {v}, ptr {pointer}, align {self.shape.size}")

    def load_some(self, pointer: str, mask: str) -> str:
        """The lanes of a mask; zeros for the others, which are not read."""
        s = self.shape
        return self.value(
            f"call {s.vector} @llvm.masked.load.{s.suffix}.p0(ptr {pointer}, i32 {s.size}, "
            f"<{s.lanes} x i1> {mask}, {s.vector} zeroinitializer)"
        )

    def store_some(self, v: str, pointer: str, mask: str) -> None:
        """Write the lanes of a mask."""
        s = self.shape
        self(
            f"  call void @llvm.masked.store.{s.suffix}.p0({s.vector} {v}, ptr {pointer}, "
            f"i32 {s.size}, <{s.lanes} x i1> {mask})"
        )

    def spread(self, scalar: str) -> str:
        """A vector of one number."""
        return self._spread(scalar, self.shape.element)

    def _spread(self, scalar: str, kind: str) -> str:
        v = f"<{self.shape.lanes} x {kind}>"
        one = self.value(f"insertelement {v} poison, {kind} {scalar}, i32 0")
        zeros = f"<{self.shape.lanes} x i32> zeroinitializer"
        return self.value(f"shufflevector {v} {one}, {v} poison, {zeros}")

    def first(self, count: str) -> str:
        """The mask of the first lanes."""
        n = self.shape.lanes
        count = self._spread(self.value(f"trunc i64 {count} to i32"), "i32")
        numbers = ", ".join(f"i32 {i}" for i in range(n))
        return self.value(f"icmp slt <{n} x i32> <{numbers}>, {count}")

    def multiply_add(self, a: str, b: str, c: str) -> str:
        """``a * b + c``, rounded once where the processor can."""
        v = self.shape.vector
        call = f"call {v} @llvm.fmuladd.{self.shape.suffix}"
        return self.value(f"{call}({v} {a}, {v} {b}, {v} {c})")

    def multiply(self, a: str, b: str) -> str:
        """``a * b``."""
        return self.value(f"fmul {self.shape.vector} {a}, {b}")

    def add(self, a: str, b: str) -> str:
        """``a + b``."""
        return self.value(f"fadd {self.shape.vector} {a}, {b}")

    def declare(self) -> None:
        """What is used from LLVM."""
        s = self.shape
        v, mask = s.vector, f"<{s.lanes} x i1>"
        self(f"declare {v} @llvm.fmuladd.{s.suffix}({v}, {v}, {v})")
        self(f"declare {v} @llvm.masked.load.{s.suffix}.p0(ptr, i32, {mask}, {v})")
        self(f"declare void @llvm.masked.store.{s.suffix}.p0({v}, ptr, i32, {mask})")
        self(f"declare {s.element} @llvm.vector.reduce.fadd.{s.suffix}({s.element}, {v})")
        self("declare i64 @llvm.smin.i64(i64, i64)")
        self("declare i64 @llvm.smax.i64(i64, i64)")


TILE = (
    "ptr %offsets, ptr %a, i64 %step, i64 %run, i64 %times, i64 %jump, ptr %b, i64 %line, "
    "ptr %sums, ptr %leave"
)
"""What tiles add up, and the address of the function `leave`.

Elements of A are at ``a + offsets[row] + t * jump + k * step`` for t in ``times`` and k in ``run``;
for each there is a row of B, ``line`` elements apart.
"""

LEAVE = "ptr %c, i64 %ldc, i64 %c_column, {element} %alpha, {element} %beta, i64 %last"
"""What becomes of sums: C becomes alpha times them plus beta times itself.

It is not read where beta is 0.  ``ldc`` and ``c_column`` are elements from one row and one column
to the next; the last vector of a row has ``last`` columns.
"""


def tile(x: Vectors, rows: int, width: int) -> None:
    """The function ``@tile_ROWS_WIDTH``: tiles of `rows` rows and `width` vectors, `stop` rows."""
    s = x.shape
    v = s.vector
    parameters = f"{TILE}, {LEAVE.format(element=s.element)}"
    with x.function(f"internal void @tile_{rows}_{width}({parameters}, i64 %stop) noinline"):
        sums = [[x.value(f"alloca {v}") for _ in range(width)] for _ in range(rows)]
        slots = [slot for row in sums for slot in row]
        place = x.value("alloca ptr")
        fresh = x.value(f"fcmp oeq {s.element} %beta, 0.0")
        plain = x.value(f"and i1 {fresh}, {x.value('icmp eq i64 %c_column, 1')}")
        alpha, mask = x.spread("%alpha"), x.first("%last")
        most = x.number("sub", "%stop", 1)
        with x.loop(0, "%stop", rows) as row:
            # a tile may have rows too many, which then are the last one again
            numbers = [row] + [x.least(x.number("add", row, i), most) for i in range(1, rows)]
            offsets = []
            for i in numbers:
                where = x.value(f"getelementptr i64, ptr %offsets, i64 {i}")
                offsets.append(x.value(f"load i64, ptr {where}"))
            for slot in slots:
                x(f"  store {v} zeroinitializer, ptr {slot}")
            x(f"  store ptr %b, ptr {place}")
            with x.loop(0, "%times") as t:
                _steps(x, x.times("%a", t, "%jump"), offsets, place, sums)
            with x.when(plain):
                for i, line in zip(numbers, sums, strict=True):
                    to = x.times("%c", i, "%ldc")
                    for j, slot in enumerate(line):
                        value = x.multiply(x.value(f"load {v}, ptr {slot}"), alpha)
                        if j == width - 1:
                            x.store_some(value, x.at(to, j * s.lanes), mask)
                        else:
                            x.store(value, x.at(to, j * s.lanes))
            with x.when(plain, unless=True):
                for number, slot in enumerate(slots):
                    x.store(x.value(f"load {v}, ptr {slot}"), x.at("%sums", number * s.lanes))
                c, left = x.times("%c", row, "%ldc"), x.least(x.number("sub", "%stop", row), rows)
                columns = x.number("add", "%last", (width - 1) * s.lanes)
                x(f"  call void %leave(ptr {c}, i64 %ldc, i64 %c_column, {s.element} %alpha, "
                  f"{s.element} %beta, i64 {columns}, i64 {width * s.lanes}, ptr %sums, "
                  f"i64 {left})")  # fmt: skip
        x("  ret void")


def _steps(x: Vectors, here: str, offsets: list[str], place: str, sums: list[list[str]]) -> None:
    """The loop over k.  Two steps of it at a time are no faster, and longer to compile."""
    s = x.shape
    with x.loop(0, "%run") as k:
        a = x.times(here, k, "%step")
        b = x.value(f"load ptr, ptr {place}")
        line = [x.load(x.at(b, i * s.lanes)) for i in range(len(sums[0]))]
        for slots, offset in zip(sums, offsets, strict=True):
            one = x.spread(x.value(f"load {s.element}, ptr {x.at(a, offset)}"))
            for slot, q in zip(slots, line, strict=True):
                old = x.value(f"load {s.vector}, ptr {slot}")
                x(f"  store {s.vector} {x.multiply_add(one, q, old)}, ptr {slot}")
        x(f"  store ptr {x.at(b, '%line')}, ptr {place}")


def rows(x: Vectors, width: int, heights: tuple[int, ...]) -> None:
    """The function ``@entry``: all tiles of a panel of `width` vectors, over some of the depth.

    The highest tiles come first; the last ones may have rows too many.
    """
    outside = LEAVE.format(element=x.shape.element)
    inside = f"{TILE}, {outside}".replace("%offsets", "{offsets}").replace("ptr %c,", "ptr {c},")
    with x.function(f"void @entry({TILE}, {outside}, i64 %m)"):
        start = "0"
        for height in heights:
            left = x.number("sub", "%m", start)
            last = height == heights[-1]
            stop = left if last else x.number("sub", left, x.number("urem", left, height))
            with x.when(x.value(f"icmp sgt i64 {stop}, 0")):
                offsets = x.value(f"getelementptr i64, ptr %offsets, i64 {start}")
                operands = inside.format(offsets=offsets, c=x.times("%c", start, "%ldc"))
                x(f"  call void @tile_{height}_{width}({operands}, i64 {stop})")
            start = x.number("add", start, stop)
        x("  ret void")


def leave(x: Vectors) -> None:
    """The function ``@leave``, for the sums of a tile that are not simply stored.

    ``line`` is elements from one row of them to the next.
    """
    s = x.shape
    parameters = LEAVE.format(element=s.element).replace("%last", "%columns")
    with x.function(
        f"internal void @leave({parameters}, i64 %line, ptr %sums, i64 %rows) noinline"
    ):
        fresh = x.value(f"fcmp oeq {s.element} %beta, 0.0")
        turned = x.value("icmp ne i64 %c_column, 1")
        with x.when(turned), x.loop(0, "%columns") as j:
            column, source = x.times("%c", j, "%c_column"), x.at("%sums", j)
            with x.loop(0, "%rows") as i:
                value = x.value(f"load {s.element}, ptr {x.times(source, i, '%line')}")
                value = x.value(f"fmul {s.element} {value}, %alpha")
                to = x.times(column, i, "%ldc")
                with x.when(fresh):
                    x(f"  store {s.element} {value}, ptr {to}")
                with x.when(fresh, unless=True):
                    old = x.value(f"load {s.element}, ptr {to}")
                    old = x.value(f"fmul {s.element} {old}, %beta")
                    total = x.value(f"fadd {s.element} {value}, {old}")
                    x(f"  store {s.element} {total}, ptr {to}")
        with x.when(turned, unless=True):  # and not fresh
            alpha, beta = x.spread("%alpha"), x.spread("%beta")
            # where vectors reach into the next row, a store of one would hold up the next load:
            # all is read before anything is written
            tight = x.value("icmp slt i64 %ldc, %line")

            def every(add: bool, store: bool) -> None:
                with x.loop(0, "%rows") as i, x.loop(0, "%columns", s.lanes) as j:
                    mask = x.first(x.number("sub", "%columns", j))
                    to = x.at(x.times("%c", i, "%ldc"), j)
                    sums = x.at(x.times("%sums", i, "%line"), j)
                    value = x.load(sums)
                    if add:
                        old = x.multiply(x.load_some(to, mask), beta)
                        value = x.multiply_add(value, alpha, old)
                    if store:
                        x.store_some(value, to, mask)
                    else:
                        x.store(value, sums)

            with x.when(tight):
                every(add=True, store=False)
                every(add=False, store=True)
            with x.when(tight, unless=True):
                every(add=True, store=True)
        x("  ret void")
