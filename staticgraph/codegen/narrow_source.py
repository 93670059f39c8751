"""LLVM IR of products of matrices with few rows or columns, which tiles of registers do not fit.

There are three ways, all without laying out the large operand:

- *dots*: rows of A times columns of B, both contiguous along the sum.  Vectors run along it; four
  rows go together, and two columns.
- *chains*: few rows and few columns.  One vector of columns at a time, and several sums of
  it, each of every eighth step, so that none has to wait for the one before it.
- *line*: one row, many columns.  Some rows of B at a time are added to a line of sums.

The order in which an element is added up depends on the way and the length of the sum alone.
"""

from __future__ import annotations

from staticgraph.codegen.tile_source import Vectors

CHAINS = 8  # sums of one vector
TOGETHER = 8  # rows of B that are added to a line at once
PAIR = 2  # sums of one dot product


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
ROWS = 4  # that go together


def dots(x: Vectors) -> None:
    """The function ``@dots``: `m` rows times `n` columns, each of `k` contiguous elements.

    ``line`` and ``step`` are elements from one row and one column to the next.
    """
    for columns in (2, 1):
        _block(x, columns)
    ends = f"i64 %k, i64 %line, i64 %step, i64 %ldc, i64 %c_column, {_factors(x)}"
    with x.function(
        f"internal void @dots(ptr %a, ptr %b, ptr %c, i64 %m, i64 %n, {ends}) noinline"
    ):
        two = x.number("and", "%n", -2)
        with x.loop(0, "%m", ROWS) as i:
            a, c = x.times("%a", i, "%line"), x.times("%c", i, "%ldc")
            rows = x.least(x.number("sub", "%m", i), ROWS)
            for start, stop, columns in (("0", two, 2), (two, "%n", 1)):
                with x.loop(start, stop, columns) as j:
                    b, to = x.times("%b", j, "%step"), x.times(c, j, "%c_column")
                    x(f"  call void @dots_{columns}(ptr {a}, ptr {b}, ptr {to}, "
                      f"i64 {rows}, {ends})")  # fmt: skip
        x("  ret void")


def _block(x: Vectors, columns: int) -> None:
    s = x.shape
    ends = f"i64 %k, i64 %line, i64 %step, i64 %ldc, i64 %c_column, {_factors(x)}"
    with x.function(
        f"internal void @dots_{columns}(ptr %a, ptr %b, ptr %c, i64 %rows, {ends}) noinline"
    ):
        # where the rows of A and C are, of which the last ones may be the same row again
        numbers = [x.least(i, x.number("sub", "%rows", 1)) for i in range(ROWS)]
        lines = [x.times("%a", i, "%line") for i in numbers]
        targets = [x.times("%c", i, "%ldc") for i in numbers]
        stands = [x.times("%b", j, "%step") for j in range(columns)]
        slots = [[_slots(x, PAIR) for _ in stands] for _ in lines]
        for row in slots:
            for pair in row:
                _clear(x, pair)

        def add(k: str, which: int, mask: str = "") -> None:
            def read(pointer: str) -> str:
                here = x.at(pointer, k)
                return x.load_some(here, mask) if mask else x.load(here)

            values = [read(stand) for stand in stands]
            for line, row in zip(lines, slots, strict=True):
                a = read(line)
                for value, pair in zip(values, row, strict=True):
                    _add_product(x, a, value, pair[which])

        whole, pairs = x.number("and", "%k", -s.lanes), x.number("and", "%k", -PAIR * s.lanes)
        with x.loop(0, pairs, PAIR * s.lanes) as k:
            for which in range(PAIR):
                add(x.number("add", k, which * s.lanes), which)
        with x.loop(pairs, whole, s.lanes) as k:
            add(k, 0)
        with x.when(x.value(f"icmp slt i64 {whole}, %k")):
            add(whole, 1, x.first(x.number("sub", "%k", whole)))
        add_up = f"call reassoc {s.element} @llvm.vector.reduce.fadd.{s.suffix}"
        for j in range(columns):
            lanes = [_add_up(x, row[j]) for row in slots]
            sums = [x.value(f"{add_up}({s.element} -0.0, {s.vector} {v})") for v in lanes]
            _leave_sums(x, sums, [x.times(to, j, "%c_column") for to in targets])
        x("  ret void")


def _leave_sums(x: Vectors, sums: list[str], targets: list[str]) -> None:
    """Write sums to elements of C, or add them: all are read before any is written."""
    s, fresh = x.shape, _fresh(x)
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
        slots = [x.value(f"alloca {s.element}") for _ in range(ROWS)]
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
                _leave_sums(x, sums, [x.at("%to", r) for r in numbers])
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
