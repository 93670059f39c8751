"""LLVM IR of products of matrices, with or without a convolution's windows.

One function serves all of them: ``C = alpha * A @ B + beta * C``, for each of a batch.  B and C are
matrices; A is anything whose rows and columns are each numbered by up to four axes with strides,
so that the windows over an image are read where they are.

The result is divided into *units* of some rows by the columns of one panel.  For a panel, a few
hundred rows of B at a time are laid out one behind the other (in the stack's memory), where tiles
read them; see `codegen.tile_source`.  A unit does its own packing and needs nothing of others: the
units are what threads share.

The argument block is the words in `WORDS`: addresses of A, B and C; sizes; strides in elements.
"""

from __future__ import annotations

from functools import cache

from staticgraph.codegen.cache import ir_address
from staticgraph.codegen.narrow_source import chains, dots, line, short, turn
from staticgraph.codegen.tile_source import (
    HIGHEST,
    Kind,
    Vectors,
    leave,
    rows,
    shape,
    tile,
)

DEPTH = 256
"""Rows of B that are packed at once: with the widest panel, 64 KiB."""

MOST_ROWS = 504
"""Rows of a unit."""

WORDS = (
    "a", "b", "c", "m", "n", "batch_a", "batch_b", "batch_c",
    "rows_1", "rows_2", "rows_3", "row_0", "row_1", "row_2", "row_3",
    "depth_0", "depth_1", "depth_2", "depth_3", "step_0", "step_1", "step_2", "step_3",
    "times", "run", "b_row", "b_column", "ldc", "alpha", "beta",
    "unit", "down", "span", "across", "direct", "way", "c_column",
    "tiles_1", "tiles_2", "tiles_3", "tiles_4",
)  # fmt: skip
"""The words of an argument block.

``rows_i`` are the sizes of all but the first axis of A's rows and ``row_i`` the strides of all;
``depth_i`` and ``step_i`` are those of its columns.  ``times`` steps of depth_2, ``run`` of depth_3
are done at once: one of them is all of its axis or the other is one.  One of ``b_row`` and
``b_column`` is 1.  alpha and beta are the bits of doubles.  A unit has ``unit`` rows and ``span``
columns; there are ``down`` times ``across`` of them in each product.  ``direct`` says to read B
where it is.  ``way`` is one of `WAYS`; all but the first are in `codegen.narrow_source` and take
rows and columns of A with one axis each.  Elements of a row of C are ``c_column`` apart, which is 1
but for dots.  ``tiles_i`` are the addresses of `rows_source` for i vectors, where that is needed.
"""

WAYS = ("tiles", "dots", "short", "chains", "line")


PART_OF = {"tiles": "tiles", "dots": "dots", "short": "dots", "chains": "lines", "line": "lines"}
"""The text that a way is in.  They are texts of their own, as are tiles of each width, since most
programs need few of them, and one that has to be compiled is waited for.
"""


@cache
def product_source(kind: Kind, part: str) -> str:
    """The LLVM IR of products of float32 or float64, done in the ways of one part."""
    x = Vectors(shape(kind))
    x.declare()
    for function in _FUNCTIONS[part]:
        function(x)
    _entry(x, part)
    return "\n".join(x.lines)


@cache
def rows_source(kind: Kind, width: int) -> str:
    """The LLVM IR of tiles of so many vectors, which those of the part ``tiles`` call."""
    x = Vectors(shape(kind))
    x.declare()
    heights = dict(x.shape.tiles)[width]
    for height in heights:
        tile(x, height, width)
    rows(x, width, heights)
    return "\n".join(x.lines)


@cache
def product_address(kind: Kind, way: str) -> int:
    """The address of the function for a way; iterations are units."""
    return ir_address(product_source(kind, PART_OF[way]))


@cache
def rows_address(kind: Kind, width: int) -> int:
    """The address of the function for tiles of so many vectors."""
    return ir_address(rows_source(kind, width))


def _pack(x: Vectors) -> None:
    """Lay out `depth` rows of B, `width` vectors of each."""
    s = x.shape
    head = "ptr %b, i64 %line, i64 %depth, i64 %width, i64 %last, ptr %to"
    with x.function(f"internal void @pack({head}) noinline"):
        mask = x.first("%last")
        inner = x.number("mul", x.number("sub", "%width", 1), s.lanes)
        columns = x.number("mul", "%width", s.lanes)
        with x.loop(0, "%depth") as k:
            source, target = x.times("%b", k, "%line"), x.times("%to", k, columns)
            with x.loop(0, inner, s.lanes) as j:
                x.store(x.load(x.at(source, j)), x.at(target, j))
            x.store(x.load_some(x.at(source, inner), mask), x.at(target, inner))
        x("  ret void")


def _pack_turned(x: Vectors) -> None:
    """The same of a B whose columns are contiguous: squares of it are transposed in registers.

    Columns past the last are copies of that one; what they give is not stored.
    """
    s = x.shape
    n = min(s.lanes, 4)
    v = f"<{n} x {s.element}>"
    halves = [
        ", ".join(f"i32 {half + i // 2 + (n if i % 2 else 0)}" for i in range(n))
        for half in (0, n // 2)
    ]
    head = "ptr %b, i64 %line, i64 %depth, i64 %width, i64 %columns, ptr %to"
    with x.function(f"internal void @pack_turned({head}) noinline"):
        columns = x.number("mul", "%width", s.lanes)
        most = x.number("sub", "%columns", 1)
        whole = x.number("and", "%depth", -n)
        with x.loop(0, columns, n) as j:
            sources = [
                x.times("%b", x.least(x.number("add", j, i), most), "%line") for i in range(n)
            ]
            target = x.at("%to", j)
            with x.loop(0, whole, n) as k:
                square = [
                    x.value(f"load {v}, ptr {x.at(source, k)}, align {s.size}")
                    for source in sources
                ]
                for _ in range(n.bit_length() - 1):
                    pairs = [(square[i], square[i + n // 2]) for i in range(n // 2)]
                    square = [
                        x.value(f"shufflevector {v} {one}, {v} {other}, <{n} x i32> <{half}>")
                        for one, other in pairs
                        for half in halves
                    ]
                for i, row in enumerate(square):
                    to = x.times(target, x.number("add", k, i), columns)
                    x(f"  store {v} {row}, ptr {to}, align {s.size}")
            with x.loop(whole, "%depth") as k:
                to = x.times(target, k, columns)
                for i, source in enumerate(sources):
                    one = x.value(f"load {s.element}, ptr {x.at(source, k)}")
                    x(f"  store {s.element} {one}, ptr {x.at(to, i)}")
        x("  ret void")


_PANEL = (
    "ptr %w, ptr %offsets, ptr %a, ptr %b, ptr %c, i64 %m, i64 %columns, i64 %width, ptr %rows, "
    "{element} %alpha, {element} %beta, ptr %packed, ptr %sums"
)


def _word(x: Vectors, name: str) -> str:
    where = x.value(f"getelementptr i64, ptr %w, i64 {WORDS.index(name)}")
    return x.value(f"load i64, ptr {where}")


def _panel(x: Vectors) -> None:
    """The rows of a unit times one panel of B; `rows` is the function for its width."""
    s = x.shape
    with x.function(f"internal void @panel({_PANEL.format(element=s.element)}) noinline"):
        room = x.number("mul", "%width", s.lanes)
        last = x.number("sub", "%columns", x.number("sub", room, s.lanes))
        d0, d1, d2, d3 = (_word(x, f"depth_{i}") for i in range(4))
        s0, s1, s2, s3 = (_word(x, f"step_{i}") for i in range(4))
        times, run = _word(x, "times"), _word(x, "run")
        b_row, b_column = _word(x, "b_row"), _word(x, "b_column")
        ldc, c_column = _word(x, "ldc"), _word(x, "c_column")
        turned = x.value(f"icmp ne i64 {b_column}, 1")
        full = x.value(f"icmp eq i64 {room}, %columns")
        asked = x.value(f"icmp ne i64 {_word(x, 'direct')}, 0")
        direct = x.value(f"and i1 {full}, {asked}")
        line = x.value(f"select i1 {direct}, i64 {b_row}, i64 {room}")
        place = x.value("alloca i64")
        x(f"  store i64 0, ptr {place}")
        once = x.value(f"call i64 @llvm.smax.i64(i64 {d3}, i64 1)")  # an empty sum is stored, too
        with x.loop(0, d0) as i0, x.loop(0, d1) as i1, x.loop(0, d2, times) as i2:
            outer = x.times(x.times(x.times("%a", i0, s0), i1, s1), i2, s2)
            now = x.least(times, x.number("sub", d2, i2))
            with x.loop(0, once, run) as i3:
                a = x.times(outer, i3, s3)
                long = x.least(run, x.number("sub", d3, i3))
                depth = x.number("mul", now, long)
                done = x.value(f"load i64, ptr {place}")
                b = x.times("%b", done, b_row)
                more = f"i64 {depth}, i64 %width"
                with x.when(direct, unless=True):
                    with x.when(turned):
                        x(f"  call void @pack_turned(ptr {b}, i64 {b_column}, {more}, "
                          f"i64 %columns, ptr %packed)")  # fmt: skip
                    with x.when(turned, unless=True):
                        x(f"  call void @pack(ptr {b}, i64 {b_row}, {more}, i64 {last}, "
                          f"ptr %packed)")  # fmt: skip
                rows_of_b = x.value(f"select i1 {direct}, ptr {b}, ptr %packed")
                first = x.value(f"icmp eq i64 {done}, 0")
                beta = x.value(f"select i1 {first}, {s.element} %beta, {s.element} 1.0")
                x(f"  call void %rows(ptr %offsets, ptr {a}, i64 {s3}, i64 {long}, i64 {now}, "
                  f"i64 {s2}, ptr {rows_of_b}, i64 {line}, ptr %sums, ptr @leave, ptr %c, "
                  f"i64 {ldc}, i64 {c_column}, {s.element} %alpha, {s.element} {beta}, "
                  f"i64 {last}, i64 %m)")  # fmt: skip
                x(f"  store i64 {x.number('add', done, depth)}, ptr {place}")
        x("  ret void")


def _entry(x: Vectors, part: str) -> None:
    s = x.shape
    wide = s.columns
    with x.function("i64 @entry(ptr %w, i64 %lo, i64 %hi)"):
        packed = x.value(f"alloca [{DEPTH * wide} x {s.element}], align 64")
        if part == "tiles":
            sums = x.value(f"alloca [{HIGHEST * wide} x {s.element}], align 64")
            offsets = x.value(f"alloca [{MOST_ROWS} x i64]")
        alpha, beta = (_scalar(x, name) for name in ("alpha", "beta"))
        m, n, unit, down = (_word(x, w) for w in ("m", "n", "unit", "down"))
        span, across = _word(x, "span"), _word(x, "across")
        a, b, c = (x.value(f"inttoptr i64 {_word(x, w)} to ptr") for w in "abc")
        each = x.number("mul", down, across)
        b_column, ldc, c_column = _word(x, "b_column"), _word(x, "ldc"), _word(x, "c_column")
        with x.loop("%lo", "%hi") as u:
            batch, rest = x.number("udiv", u, each), x.number("urem", u, each)
            i = x.number("mul", x.number("udiv", rest, across), unit)
            j = x.number("mul", x.number("urem", rest, across), span)
            rows, columns = (
                x.least(unit, x.number("sub", m, i)),
                x.least(span, x.number("sub", n, j)),
            )
            a_at = x.times(a, batch, _word(x, "batch_a"))
            b_at = x.times(x.times(b, batch, _word(x, "batch_b")), j, b_column)
            c_at = x.times(c, batch, _word(x, "batch_c"))
            c_at = x.times(x.times(c_at, i, ldc), j, c_column)
            tail = f"{s.element} {alpha}, {s.element} {beta}, ptr {packed}"
            if part == "tiles":
                x(f"  call void @offsets(ptr %w, ptr {offsets}, i64 {i}, i64 {rows})")
                head = f"ptr %w, ptr {offsets}, ptr {a_at}"
                more = f"{tail}, ptr {sums}"
                _panels(x, head, more, (b_at, b_column), c_at, rows, columns)
            else:
                a_at = x.times(a_at, i, _word(x, "row_3"))
                x(f"  call void @unit(ptr %w, ptr {a_at}, ptr {b_at}, ptr {c_at}, "
                  f"i64 {rows}, i64 {columns}, {tail})")  # fmt: skip
        x("  ret i64 0")


_UNIT = (
    "internal void @unit(ptr %w, ptr %a, ptr %b, ptr %c, i64 %m, i64 %n, "
    "{element} %alpha, {element} %beta, ptr %packed) noinline"
)


def _dots_unit(x: Vectors) -> None:
    """A unit that is made of dot products."""
    element = x.shape.element
    factors = f"{element} %alpha, {element} %beta"
    with x.function(_UNIT.format(element=element)):
        words = ("row_3", "depth_3", "b_row", "b_column", "ldc", "c_column")
        row, k, b_row, b_column, ldc, c_column = (_word(x, w) for w in words)
        with x.when(_is(x, "dots")):
            apart = x.value(f"icmp ne i64 {b_row}, 1")
            with x.when(apart):
                x(f"  call void @turn(ptr %b, i64 {b_row}, i64 {k}, i64 %n, ptr %packed)")
            b = x.value(f"select i1 {apart}, ptr %packed, ptr %b")
            next_b = x.value(f"select i1 {apart}, i64 {k}, i64 {b_column}")
            x(f"  call void @dots(ptr %a, ptr {b}, ptr %c, i64 %m, i64 %n, i64 {k}, i64 {row}, "
              f"i64 {next_b}, i64 {ldc}, i64 {c_column}, {factors})")  # fmt: skip
        with x.when(_is(x, "short")):
            x(f"  call void @short(ptr %a, ptr %b, ptr %c, i64 %m, i64 {k}, i64 {row}, {factors})")
        x("  ret void")


def _lines_unit(x: Vectors) -> None:
    """A unit of which the rows are done one by one."""
    element = x.shape.element
    factors = f"{element} %alpha, {element} %beta"
    with x.function(_UNIT.format(element=element)):
        row, step, k, b_row, ldc = (
            _word(x, w) for w in ("row_3", "step_3", "depth_3", "b_row", "ldc")
        )
        with x.loop(0, "%m") as i:
            a, c = x.times("%a", i, row), x.times("%c", i, ldc)
            operands = f"ptr {a}, i64 {step}, ptr %b, i64 {b_row}, ptr {c}, i64 %n, i64 {k}"
            with x.when(_is(x, "chains")):
                x(f"  call void @chains({operands}, {factors})")
            with x.when(_is(x, "line")):
                x(f"  call void @line({operands}, {factors}, ptr %packed)")
        x("  ret void")


def _is(x: Vectors, way: str) -> str:
    return x.value(f"icmp eq i64 {_word(x, 'way')}, {WAYS.index(way)}")


def _panels(
    x: Vectors, head: str, tail: str, b: tuple[str, str], c: str, rows: str, columns: str
) -> None:
    """Cut columns into panels: wide ones, and one that has as many vectors as it takes."""
    s = x.shape
    c_column, first = _word(x, "c_column"), WORDS.index("tiles_1") - 1
    with x.loop(0, columns, s.columns) as j:
        left = x.least(s.columns, x.number("sub", columns, j))
        width = x.number("udiv", x.number("add", left, s.lanes - 1), s.lanes)
        place = x.value(f"getelementptr i64, ptr %w, i64 {x.number('add', width, first)}")
        function = x.value(f"load ptr, ptr {place}")
        x(f"  call void @panel({head}, ptr {x.times(b[0], j, b[1])}, "
          f"ptr {x.times(c, j, c_column)}, i64 {rows}, i64 {left}, i64 {width}, ptr {function}, "
          f"{tail})")  # fmt: skip


def _scalar(x: Vectors, name: str) -> str:
    """A number of which the bits of a double are given."""
    double = x.value(f"bitcast i64 {_word(x, name)} to double")
    return x.value(f"fptrunc double {double} to float") if x.shape.size == 4 else double


def _offsets(x: Vectors) -> None:
    """Where the rows of a unit begin: a counter of four digits, which starts at `first`."""
    head = "ptr %w, ptr %offsets, i64 %first, i64 %rows"
    with x.function(f"internal void @offsets({head}) noinline"):
        sizes = {i: _word(x, f"rows_{i}") for i in (1, 2, 3)}
        strides = [_word(x, f"row_{i}") for i in range(4)]
        digits = [x.value("alloca i64") for _ in range(4)]
        one_axis = x.value(f"icmp eq i64 {sizes[3]}, {_word(x, 'm')}")
        with x.when(one_axis, returns=True), x.loop(0, "%rows") as row:
            at = x.number("mul", x.number("add", "%first", row), strides[3])
            x(f"  store i64 {at}, ptr {x.value(f'getelementptr i64, ptr %offsets, i64 {row}')}")
        left = "%first"
        for i in (3, 2, 1):
            x(f"  store i64 {x.number('urem', left, sizes[i])}, ptr {digits[i]}")
            left = x.number("udiv", left, sizes[i])
        x(f"  store i64 {left}, ptr {digits[0]}")
        with x.loop(0, "%rows") as row:
            now = [x.value(f"load i64, ptr {d}") for d in digits]
            at = x.number("mul", now[0], strides[0])
            for digit, stride in zip(now[1:], strides[1:], strict=True):
                at = x.number("add", at, x.number("mul", digit, stride))
            x(f"  store i64 {at}, ptr {x.value(f'getelementptr i64, ptr %offsets, i64 {row}')}")
            carry = "1"
            for i in (3, 2, 1):
                raised = x.number("add", now[i], carry)
                over = x.value(f"icmp eq i64 {raised}, {sizes[i]}")
                digit = x.value(f"select i1 {over}, i64 0, i64 {raised}")
                x(f"  store i64 {digit}, ptr {digits[i]}")
                carry = x.value(f"zext i1 {over} to i64")
            x(f"  store i64 {x.number('add', now[0], carry)}, ptr {digits[0]}")
        x("  ret void")


_FUNCTIONS = {
    "tiles": (_pack, _pack_turned, _panel, leave, _offsets),
    "dots": (dots, short, turn, _dots_unit),
    "lines": (chains, line, _lines_unit),
}
