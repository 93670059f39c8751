"""Source text of the compiled kernels behind scatters and cumulative operations.

As everywhere a kernel is the text of ``def kernel(args, lo, hi)`` for Numba; it is kept to what
`codegen.llvm_source` understands, which compiles it without Numba.  What one step of the
parallel axis writes, no other step reads or writes, so results do not depend on how that axis is
split.  A step goes along the serial axis in order and covers up to `COLUMNS` neighbouring elements
at once, which the compiler turns into vectors.

There are no inner functions: inlining one makes Numba remove "dead" statements, and it counts a
store through a pointer that is not read afterwards as dead.
"""

from __future__ import annotations

import textwrap
from functools import cache

from staticgraph.codegen.cpu import kernel_source
from staticgraph.ir import dtypes
from staticgraph.ir.dtypes import DType
from staticgraph.ir.kernel import Kernel, Pointer, Store, Temp
from staticgraph.ir.scalar import Load

COLUMNS = 256
"""The most neighbouring elements that one step of the parallel axis covers."""

BAD_INDEX = 1
"""What `index_check` returns for an index out of range."""


def blocks(columns: int) -> int:
    """How many steps of the parallel axis so many neighbouring elements make."""
    return -(-columns // COLUMNS)


# ---------------------------------------------------------------- scatter
INDEX_CHECK_WORDS = ("indices", "bound", "skip_negative", "bad index", "its bound")
SCATTER_WORDS = ("out", "indices", "updates", "m", "r", "s", "n", "blocks of s")

_INDEX_CHECK = """\
def kernel(args, lo, hi):
    # every index is in [0, bound), or negative where those are skipped
    indices = {pointer}(args[0])
    bound = args[1]
    skip = args[2] != 0
    for j in range(lo, hi):
        i = np.int64(indices[j])
        if i >= bound or (i < 0 and not skip):
            args[3] = i
            args[4] = bound
            return 1
    return 0
"""

_SCATTER = """\
def kernel(args, lo, hi):
    # out[b, m, indices[b, j], k] = combine(that, updates[b, m, j, k]), in the order of j
    out = {out}(args[0])
    indices = {indices}(args[1])
    updates = {out}(args[2])
    m, r, s, n, blocks = args[3], args[4], args[5], args[6], args[7]
    for p in range(lo, hi):
        slice = p // blocks
        first = (p - slice * blocks) * {columns}
        last = min(first + {columns}, s)
        base = (slice // m) * n
        for j in range(n):
            i = np.int64(indices[base + j])
            if i >= 0:
                at = (slice * r + i) * s
                new = (slice * n + j) * s
                for k in range(first, last):
                    out[at + k] = {combined}
    return 0
"""

_OLD, _NEW = "out[at + k]", "updates[new + k]"

_COMBINE = {
    "add": f"{_OLD} + {_NEW}",
    "sub": f"{_OLD} - {_NEW}",
    "mul": f"{_OLD} * {_NEW}",
}
_COMBINE_FLOATS = {
    "div": f"{_OLD} / {_NEW}",
    "min": f"minimum({_OLD}, {_NEW})",
    "max": f"maximum({_OLD}, {_NEW})",
}
_COMBINE_INTEGERS = {
    "div": f"int_truncdiv({_OLD}, {_NEW})",
    "min": f"({_OLD} if {_OLD} < {_NEW} else {_NEW})",
    "max": f"({_OLD} if {_OLD} > {_NEW} else {_NEW})",
}


def index_check(dtype: DType) -> str:
    """The kernel that looks for an index out of range; the parallel axis is the indices."""
    return _INDEX_CHECK.format(pointer=_pointer(dtype))


@cache
def scatter(kind: str, dtype: DType, index_dtype: DType) -> str:
    """The kernel that combines rows with updates; the parallel axis is (b, m, block of s).

    Storing moves bits, so it takes any type.  Indices have been checked: negative ones are skipped,
    others are in range.
    """
    pointer = _bits(dtype) if kind == "update" else _pointer(dtype)
    return _SCATTER.format(
        out=pointer, indices=_pointer(index_dtype), columns=COLUMNS, combined=_combined(kind, dtype)
    )


def _combined(kind: str, dtype: DType) -> str:
    if kind == "update":
        return _NEW
    own = _COMBINE_FLOATS if dtype.is_floating else _COMBINE_INTEGERS
    return _narrow({**_COMBINE, **own}[kind], dtype)


# ---------------------------------------------------------------- distinct rows
NO_ROWS_WORDS = ("rows", "table", "places", "words of the table")
DISTINCT_WORDS = ("ids", "place", "rows", "table", "n", "entries", "direct")

NO_ROWS = """\
def kernel(args, lo, hi):
    # an empty list and an empty table
    rows = ptr_i64(args[0])
    table = ptr_i64(args[1])
    m, words = args[2], args[3]
    for k in range(m):
        rows[k] = -1
    for k in range(words - 1):
        table[k] = -1
    table[words - 1] = 0
    return 0
"""

_DISTINCT = """\
def kernel(args, lo, hi):
    # append the ids that are new to the list of rows; place[j] is where ids[j] stands in it
    ids = {pointer}(args[0])
    place = ptr_i64(args[1])
    rows = ptr_i64(args[2])
    table = ptr_i64(args[3])  # entries of a row and its place, then the number of rows
    n, entries, direct = args[4], args[5], args[6] != 0
    count = table[2 * entries]
    for j in range(n):
        i = np.int64(ids[j])
        if i < 0:
            place[j] = -1
        else:
            at = i if direct else (((i * {multiplier}) >> 8) & {mask}) * entries >> {bits}
            known = table[2 * at]
            while known >= 0 and known != i:
                at = at + 1 if at + 1 < entries else 0
                known = table[2 * at]
            if known < 0:
                table[2 * at] = i
                table[2 * at + 1] = count
                rows[count] = i
                count += 1
            place[j] = table[2 * at + 1]
    table[2 * entries] = count
    return 0
"""


def distinct_rows(dtype: DType) -> str:
    """The kernel that lists the distinct ids out of one array, behind those that are known.

    It is serial.  The table has twice as many entries as there are ids in all, so that an empty
    one is soon found; where it has one for each row (`direct`) the row is the entry's number.
    Which bits of a product with an odd number lead to an entry changes nothing but time.
    """
    return _DISTINCT.format(
        pointer=_pointer(dtype), multiplier=0x9E3779B97F4B, mask=(1 << 30) - 1, bits=30
    )


# ---------------------------------------------------------------- cumulative operations
CUMULATIVE_WORDS = ("out", "x", "n", "inner", "blocks of inner", "reverse", "exclusive")

_CUMULATIVE = """\
def kernel(args, lo, hi):
    # out[o, j, k] = combine(out[o, j - 1, k], x[o, j, k]); with `exclusive`, of x[o, j - 1, k]
    out = {pointer}(args[0])
    x = {pointer}(args[1])
    n, inner, blocks = args[2], args[3], args[4]
    step = -inner if args[5] != 0 else inner
    start = (n - 1) * inner if args[5] != 0 else 0
    exclusive = args[6] != 0
    if inner == 1:
        # rows do not depend on each other: several at a time hide the latency of each
        rest = lo + (hi - lo) // {rows} * {rows}
        for p in range(lo, rest, {rows}):
{several}
        for p in range(rest, hi):
{one}
        return 0
    for p in range(lo, hi):
        outer = p // blocks
        first = (p - outer * blocks) * {columns}
        last = min(first + {columns}, inner)
        at = outer * n * inner + start
        for k in range(first, last):
            out[at + k] = {neutral} if exclusive else x[at + k]
        new = at if exclusive else at + step
        for _ in range(n - 1):
            for k in range(first, last):
                a = out[at + k]
                b = x[new + k]
{combined}
                out[at + step + k] = y
            at += step
            new += step
    return 0
"""

_ROWS = """\
at = p * n + start
{begin}
new = at if exclusive else at + step
for _ in range(n - 1):
    at += step
{loop}
    new += step
"""

_BEGIN = """\
y{r} = {neutral} if exclusive else x[at + {r} * n]
out[at + {r} * n] = y{r}
"""

_STEP = """\
a = y{r}
b = x[new + {r} * n]
{combined}
y{r} = y
out[at + {r} * n] = y{r}
"""

_LOG_ADD_EXP = """\
low = {zero} if a == b else -abs(a - b)  # equal infinities have no difference
y = maximum(a, b) + log1p(exp(low))
"""

ROWS = 8
"""How many rows go along together where the serial axis is the last one."""


@cache
def cumulative(op: str, dtype: DType) -> str:
    """The kernel of ``Cumsum``, ``Cumprod`` or ``CumulativeLogsumexp``, at least one element long.

    The parallel axis is (outer, block of inner).
    """
    neutral = {"Cumsum": "0", "Cumprod": "1", "CumulativeLogsumexp": "-np.inf"}[op]
    neutral = f"np.{dtype.name}({neutral})"
    if op == "CumulativeLogsumexp":
        combined = _LOG_ADD_EXP.format(zero=f"np.{dtype.name}(0)")
    else:
        combined = "y = " + _narrow("a + b" if op == "Cumsum" else "a * b", dtype)
    return _CUMULATIVE.format(
        pointer=_pointer(dtype),
        columns=COLUMNS,
        rows=ROWS,
        neutral=neutral,
        several=_indented(_rows(ROWS, neutral, combined), 3),
        one=_indented(_rows(1, neutral, combined), 3),
        combined=_indented(combined, 4),
    )


def _rows(count: int, neutral: str, combined: str) -> str:
    """So many rows from the row `p` on, their last results in variables."""
    begin = "".join(_BEGIN.format(r=r, neutral=neutral) for r in range(count))
    loop = "".join(_STEP.format(r=r, combined=combined.rstrip()) for r in range(count))
    return _ROWS.format(begin=begin.rstrip(), loop=_indented(loop, 1))


def _indented(text: str, levels: int) -> str:
    return textwrap.indent(text.rstrip(), "    " * levels)


# ---------------------------------------------------------------- copies


def copy(dtype: DType) -> str:
    """The kernel that copies one array to another: bits are moved, whatever they mean."""
    bits, p = _UNSIGNED[dtype.size], Temp("p", dtypes.int64)
    params = (Pointer(bits, written=False), Pointer(bits, written=True))
    return kernel_source(Kernel("flat", params, (Store(1, p, Load(0, (p,), bits)),)))


_UNSIGNED = {1: dtypes.uint8, 2: dtypes.uint16, 4: dtypes.uint32, 8: dtypes.uint64}


# ---------------------------------------------------------------- types
_BITS = {1: "ptr_u8", 2: "ptr_u16", 4: "ptr_u32", 8: "ptr_u64"}


def _bits(dtype: DType) -> str:
    return _BITS[dtype.size]


def _pointer(dtype: DType) -> str:
    return f"ptr_{dtype.short}"


def _narrow(text: str, dtype: DType) -> str:
    """Numba widens narrow integers: bring the result back to its own type."""
    return text if dtype.is_floating else f"np.{dtype.name}({text})"
