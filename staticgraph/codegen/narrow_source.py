"""LLVM IR of products of matrices with few rows or columns, which tiles of registers do not fit.

There are three ways, all without laying out the large operand:

- *dots*: rows of A times columns of B, both contiguous along the sum.  Vectors run along it; four
  rows go together with two columns, eight with one.
- *chains*: few rows and few columns.  One vector of columns at a time, and several sums of
  it, each of every eighth step, so that none has to wait for the one before it.
- *line*: one row, many columns.  Some rows of B at a time are added to a line of sums.

The order in which an element is added up depends on the way and the length of the sum alone.
"""

from __future__ import annotations

from staticgraph.codegen.tile_source import Vectors

CHAINS = 8  # sums of one vector
TOGETHER = 8  # rows of B that are added to a line at once


def _factors(x: Vectors) -> str:
    return f"{x.shape.element} %alpha, {x.shape.element} %beta"


def _fresh(x: Vectors) -> str:
    return x.value(f"fcmp oeq {x.shape.element} %beta, 0.0")


def _slots(x: Vectors, count: int) -> list[str]:
    """Places for sums; LLVM turns them into registers."""
    return [x.value(f"alloca {x.shape.vector}") for _ in range(count)]


def _clear(x: Vectors, slots: list[str]) -> None:
    for slot in slots:
        x(f"  store {x.shape.vector} zeroinitializer, ptr {slot}")


def _add_product(x: Vectors, a: str, b: str, slot: str) -> None:
    old = x.value(f"load {x.shape.vector}, ptr {slot}")
    x(f"  store {x.shape.vector} {x.multiply_add(a, b, old)}, ptr {slot}")


def _add_up(x: Vectors, slots: list[str]) -> str:
    """The sum of vectors, pair by pair."""
    values = [x.value(f"load {x.shape.vector}, ptr {slot}") for slot in slots]
    while len(values) > 1:
        values = [x.add(a, b) for a, b in zip(values[::2], values[1::2], strict=True)]
    return values[0]


# ---------------------------------------------------------------- dots
ROWS = 4  # that go together,
TALL = 8  # and with one column: in any case eight sums, so that none waits for the one before it
NEAR = 16  # rows that are read again for the next columns before others are


def dots(x: Vectors) -> None:
    """The function ``@dots``: `m` rows times `n` columns, each of `k` contiguous elements.

    ``line`` and ``step`` are elements from one row and one column to the next.
    """
    for columns in (2, 1):
        _columns(x, columns)
    ends = f"i64 %k, i64 %line, i64 %step, i64 %ldc, i64 %c_column, {_factors(x)}"
    with x.function(
        f"internal void @dots(ptr %a, ptr %b, ptr %c, i64 %m, i64 %n, {ends}) noinline"
    ):
        once = x.value("icmp sle i64 %n, 2")
        most = x.value("call i64 @llvm.smax.i64(i64 %m, i64 1)")
        many = x.value(f"select i1 {once}, i64 {most}, i64 {NEAR}")
        two = x.number("and", "%n", -2)
        with x.loop(0, "%m", many) as i:
            a, c = x.times("%a", i, "%line"), x.times("%c", i, "%ldc")
            rows = x.least(x.number("sub", "%m", i), many)
            for start, stop, columns in (("0", two, 2), (two, "%n", 1)):
                with x.loop(start, stop, columns) as j:
                    b, to = x.times("%b", j, "%step"), x.times(c, j, "%c_column")
                    x(f"  call void @dots_{columns}(ptr {a}, ptr {b}, ptr {to}, "
                      f"i64 {rows}, {ends})")  # fmt: skip
        x("  ret void")


def _columns(x: Vectors, columns: int) -> None:
    """The function ``@dots_COLUMNS``: all rows times one column or two."""
    s = x.shape
    ends = f"i64 %k, i64 %line, i64 %step, i64 %ldc, i64 %c_column, {_factors(x)}"
    with x.function(
        f"internal void @dots_{columns}(ptr %a, ptr %b, ptr %c, i64 %m, {ends}) noinline"
    ):
        many = TALL if columns == 1 else ROWS
        stands = [x.times("%b", j, "%step") for j in range(columns)]
        slots = [_slots(x, columns) for _ in range(many)]
        whole = x.number("and", "%k", -s.lanes)
        some = x.value(f"icmp slt i64 {whole}, %k")
        mask, fresh = x.first(x.number("sub", "%k", whole)), _fresh(x)
        most, even = x.number("and", "%m", -many), x.number("and", "%m", -2)
        parts = [("0", most, many), (most, "%m", 1)]
        if columns == 1:
            parts[1:] = [(most, even, 2), (even, "%m", 1)]
        for start, stop, rows in parts:
            with x.loop(start, stop, rows) as i:
                numbers = [x.number("add", i, r) for r in range(rows)]
                lines = [x.times("%a", r, "%line") for r in numbers]
                for row in slots[:rows]:
                    _clear(x, row)
                with x.loop(0, whole, s.lanes) as k:
                    _add_products(x, lines, stands, slots, k)
                with x.when(some):
                    _add_products(x, lines, stands, slots, whole, mask)
                targets = [x.times("%c", r, "%ldc") for r in numbers]
                for j in range(columns):
                    sums = [_across(x, slots[r][j]) for r in range(rows)]
                    _leave_sums(x, sums, [x.times(to, j, "%c_column") for to in targets], fresh)
        x("  ret void")


def _add_products(
    x: Vectors, lines: list[str], stands: list[str], slots: list[list[str]], k: str, mask: str = ""
) -> None:  # fmt: skip
    """Every line times every stand, from step k on, added to the slot of the two."""

    def read(pointer: str) -> str:
        here = x.at(pointer, k)
        return x.load_some(here, mask) if mask else x.load(here)

    values = [read(stand) for stand in stands]
    for line, row in zip(lines, slots, strict=False):
        a = read(line)
        for value, slot in zip(values, row, strict=True):
            _add_product(x, a, value, slot)


def _across(x: Vectors, slot: str) -> str:
    """The sum of a vector's lanes."""
    s = x.shape
    lanes = x.value(f"load {s.vector}, ptr {slot}")
    add = f"call reassoc {s.element} @llvm.vector.reduce.fadd.{s.suffix}"
    return x.value(f"{add}({s.element} -0.0, {s.vector} {lanes})")


def _leave_sums(x: Vectors, sums: list[str], targets: list[str], fresh: str) -> None:
    """Write sums to elements of C, or add them to what is there."""
    s = x.shape
    sums = [x.value(f"fmul {s.element} {v}, %alpha") for v in sums]
    with x.when(fresh):
        for v, to in zip(sums, targets, strict=True):
            x(f"  store {s.element} {v}, ptr {to}")
    with x.when(fresh, unless=True):
        olds = [x.value(f"load {s.element}, ptr {to}") for to in targets]
        olds = [x.value(f"fmul {s.element} {old}, %beta") for old in olds]
        sums = [x.value(f"fadd {s.element} {v}, {old}") for v, old in zip(sums, olds, strict=True)]
        for v, to in zip(sums, targets, strict=True):
            x(f"  store {s.element} {v}, ptr {to}")


def short(x: Vectors) -> None:
    """The function ``@short``: dot products that no vector fits in, one element after the other."""
    s = x.shape
    head = f"ptr %from, ptr %b, ptr %to, i64 %m, i64 %k, i64 %line, {_factors(x)}"
    with x.function(f"internal void @short({head}) noinline"):
        slots, fresh = [x.value(f"alloca {s.element}") for _ in range(ROWS)], _fresh(x)
        whole = x.number("and", "%m", -ROWS)
        for start, stop, rows in (("0", whole, ROWS), (whole, "%m", 1)):
            with x.loop(start, stop, rows) as i:
                numbers = [x.number("add", i, r) for r in range(rows)]
                lines = [x.times("%from", r, "%line") for r in numbers]
                for slot in slots[:rows]:
                    x(f"  store {s.element} 0.0, ptr {slot}")
                with x.loop(0, "%k") as k:
                    b = x.value(f"load {s.element}, ptr {x.at('%b', k)}")
                    for line, slot in zip(lines, slots, strict=False):
                        a = x.value(f"load {s.element}, ptr {x.at(line, k)}")
                        product = x.value(f"fmul {s.element} {a}, {b}")
                        old = x.value(f"load {s.element}, ptr {slot}")
                        total = x.value(f"fadd {s.element} {old}, {product}")
                        x(f"  store {s.element} {total}, ptr {slot}")
                sums = [x.value(f"load {s.element}, ptr {slot}") for slot in slots[:rows]]
                _leave_sums(x, sums, [x.at("%to", r) for r in numbers], fresh)
        x("  ret void")


def turn(x: Vectors) -> None:
    """The function ``@turn``: `n` columns of B, of `k` elements each, one behind the other."""
    s = x.shape
    with x.function("internal void @turn(ptr %b, i64 %line, i64 %k, i64 %n, ptr %to) noinline"):
        with x.loop(0, "%k") as k:
            source, target = x.times("%b", k, "%line"), x.at("%to", k)
            with x.loop(0, "%n") as j:
                one = x.value(f"load {s.element}, ptr {x.at(source, j)}")
                x(f"  store {s.element} {one}, ptr {x.times(target, j, '%k')}")
        x("  ret void")


# ---------------------------------------------------------------- few rows, contiguous columns
LINE = "ptr %a, i64 %step, ptr %b, i64 %line, ptr %c, i64 %n, i64 %k"
"""The row of A, elements from one to the next, and B's rows."""


def chains(x: Vectors) -> None:
    """The function ``@chains``: a row of A times B, a vector of columns at a time."""
    s = x.shape
    with x.function(f"internal void @chains({LINE}, {_factors(x)}) noinline"):
        slots, fresh = _slots(x, CHAINS), _fresh(x)
        alpha, beta = x.spread("%alpha"), x.spread("%beta")
        whole = x.number("and", "%k", -CHAINS)
        with x.loop(0, "%n", s.lanes) as j:
            mask = x.first(x.least(x.number("sub", "%n", j), s.lanes))
            b = x.at("%b", j)
            _clear(x, slots)
            for start, stop, many in (("0", whole, CHAINS), (whole, "%k", 1)):
                with x.loop(start, stop, many) as k:
                    one, row = x.times("%a", k, "%step"), x.times(b, k, "%line")
                    for slot in slots[:many]:
                        _add_product(x, _spread(x, one), x.load_some(row, mask), slot)
                        one, row = x.at(one, "%step"), x.at(row, "%line")
            _leave(x, _add_up(x, slots), x.at("%c", j), mask, fresh, alpha, beta)
        x("  ret void")


def line(x: Vectors) -> None:
    """The function ``@line``: a row of A times B, added up in `sums`."""
    s = x.shape
    with x.function(f"internal void @line({LINE}, {_factors(x)}, ptr %sums) noinline"):
        fresh, alpha, beta = _fresh(x), x.spread("%alpha"), x.spread("%beta")
        inner = x.number("and", "%n", -s.lanes)
        some = x.value(f"icmp slt i64 {inner}, %n")
        mask = x.first(x.number("sub", "%n", inner))
        with x.loop(0, "%n", s.lanes) as j:
            x.store("zeroinitializer", x.at("%sums", j))
        whole = x.number("and", "%k", -TOGETHER)
        for start, stop, many in (("0", whole, TOGETHER), (whole, "%k", 1)):
            with x.loop(start, stop, many) as k:
                one, row = x.times("%a", k, "%step"), x.times("%b", k, "%line")
                ones, rows = [], []
                for _ in range(many):
                    ones.append(_spread(x, one))
                    rows.append(row)
                    one, row = x.at(one, "%step"), x.at(row, "%line")
                with x.loop(0, inner, s.lanes) as j:
                    total = x.load(x.at("%sums", j))
                    for a, row in zip(ones, rows, strict=True):
                        total = x.multiply_add(a, x.load(x.at(row, j)), total)
                    x.store(total, x.at("%sums", j))
                with x.when(some):
                    total = x.load(x.at("%sums", inner))
                    for a, row in zip(ones, rows, strict=True):
                        total = x.multiply_add(a, x.load_some(x.at(row, inner), mask), total)
                    x.store(total, x.at("%sums", inner))
        with x.loop(0, "%n", s.lanes) as j:
            mask = x.first(x.least(x.number("sub", "%n", j), s.lanes))
            _leave(x, x.load(x.at("%sums", j)), x.at("%c", j), mask, fresh, alpha, beta)
        x("  ret void")


def _spread(x: Vectors, pointer: str) -> str:
    return x.spread(x.value(f"load {x.shape.element}, ptr {pointer}"))


def _leave(x: Vectors, total: str, to: str, mask: str, fresh: str, alpha: str, beta: str) -> None:
    """Write a vector of sums to C, or add it to what is there."""
    with x.when(fresh):
        x.store_some(x.multiply(total, alpha), to, mask)
    with x.when(fresh, unless=True):
        old = x.multiply(x.load_some(to, mask), beta)
        x.store_some(x.multiply_add(total, alpha, old), to, mask)
