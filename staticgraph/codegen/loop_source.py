"""LLVM IR of the steps of a plan that are made of other steps: loops and branches.

Each is a function with a kernel's signature whose argument block points to a table of rows as the
walk's, see `codegen.driver`.  The functions are the same for every graph.

What changes from one iteration of a loop to the next are pointers in the argument blocks of its
rows.  A *patch* says how: four words with the address of the pointer, its value in the first
iteration, and what is added to it and then flipped in it after each.  Sequences and stacked outputs
advance, a carry that alternates between two places flips; an outer loop may patch the first value
of an inner one's patch.

A loop has *fuel* for some milliseconds.  When it is spent the loop keeps its place, in its block,
and returns `SUSPENDED`, and so do those around it; `resume` then goes on from there.  In between
Python looks at signals.  A run that is given up needs no cleaning: each start of an outermost loop
begins a new *epoch*, and a place kept in an earlier one does not count.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache

from staticgraph.codegen.cache import ir_address

SUSPENDED = 1 << 62
REFUSED = SUSPENDED - 1
FULL = SUSPENDED - 2
NO_LIMIT = (1 << 63) - 1

FUEL = ("fuel", "refill", "resume", "epoch")
"""The words that all loops of a plan share."""

LOOP = (
    "table", "rows", "limit", "predicate", "trips", "patches", "patched", "shared",
    "outermost", "cost", "suspended", "iteration", "row", "back", "late", "lates", "full",
)  # fmt: skip
"""The words of a loop's block.

Addresses of the table, of the predicate (a byte, 0 for none), of a word for the number of
iterations (0 for none), of the patches and of the words in `FUEL`; numbers of rows, of patches
(``patched``) and of iterations at most (``limit``); what an iteration takes of the fuel.
``iteration`` and ``row`` tell where it stopped, row -1 before one.

The words at the end are for numbers of iterations that only the run tells.  When a loop has ended
it writes its number to the ``lates`` words whose addresses stand at ``late``, among them limits of
later loops; with ``back`` 1 such a loop goes from the last slot to the first.  With ``full`` 1 it
returns `FULL` where it has come to its limit and the predicate holds.
"""

BRANCH = ("index", "count", "shared", "outermost", "suspended", "chosen", "row")
"""The first words of a branch's block; address of the table and number of rows of each follow.

``index`` is the address of an int32; any that is not in ``[0, count)`` stands for the last.
"""


def _load(block: str, names: tuple[str, ...], *wanted: str, kind: str = "i64") -> str:
    return "".join(
        f"  %p.{w} = getelementptr i64, ptr %{block}, i64 {names.index(w)}\n"
        f"  %{w} = load {kind}, ptr %p.{w}\n"
        for w in wanted
    )


# Whether to go on where it stopped; and a new epoch where an outermost one starts.
_BEGIN = f"""\
{_load("shared", FUEL, "fuel", "refill", "resume", "epoch")}\
  %kept = icmp eq i64 %suspended, %epoch
  %told = icmp ne i64 %resume, 0
  %outer = icmp ne i64 %outermost, 0
  %again = select i1 %outer, i1 %told, i1 %kept
  store i64 0, ptr %p.suspended
  store i64 0, ptr %p.resume
  br i1 %again, label %resumed, label %fresh
fresh:
  %following = add i64 %epoch, %outermost
  store i64 %following, ptr %p.epoch
  %amount = select i1 %outer, i64 %refill, i64 %fuel
  store i64 %amount, ptr %p.fuel
"""

_CALL = """\
  %word = shl i64 %i, 2
  %line = getelementptr i64, ptr %lines, i64 %word
  %l.args = getelementptr i64, ptr %line, i64 1
  %l.hi = getelementptr i64, ptr %line, i64 3
  %function = load ptr, ptr %line
  %block = load ptr, ptr %l.args
  %to = load i64, ptr %l.hi
  %status = call i64 %function(ptr %block, i64 0, i64 %to)
  %bad = icmp ne i64 %status, 0
  br i1 %bad, label %stopped, label %advance
advance:
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %n
  br i1 %more, label %each, label %end
"""

_KEEP = f"""\
  %waits = icmp sge i64 %why, {SUSPENDED}
  %now = load i64, ptr %p.epoch
  %mark = select i1 %waits, i64 %now, i64 0
  store i64 %mark, ptr %p.suspended
  store i64 %at, ptr %p.row
  ret i64 %why
"""


def _patching(name: str, entry: str, after: str, body: str) -> str:
    """A loop over the patches."""
    return f"""\
  br i1 %moves, label %{name}, label %{after}
{name}:
  %{name}.k = phi i64 [ 0, %{entry} ], [ %{name}.next, %{name} ]
  %{name}.at = shl i64 %{name}.k, 2
  %{name}.patch = getelementptr i64, ptr %patches, i64 %{name}.at
  %{name}.pointer = load ptr, ptr %{name}.patch
{body}
  %{name}.next = add i64 %{name}.k, 1
  %{name}.more = icmp slt i64 %{name}.next, %patched
  br i1 %{name}.more, label %{name}, label %{after}
"""


_FIRST = """\
  %p.first = getelementptr i64, ptr %set.patch, i64 1
  %p.set.add = getelementptr i64, ptr %set.patch, i64 2
  %first.low = load i64, ptr %p.first
  %set.add = load i64, ptr %p.set.add
  %skipped = mul i64 %set.add, %behind
  %first = sub i64 %first.low, %skipped
  store i64 %first, ptr %set.pointer"""

_MOVE = """\
  %p.add = getelementptr i64, ptr %move.patch, i64 2
  %p.flip = getelementptr i64, ptr %move.patch, i64 3
  %add = load i64, ptr %p.add
  %flip = load i64, ptr %p.flip
  %old = load i64, ptr %move.pointer
  %sum = add i64 %old, %add
  %new = xor i64 %sum, %flip
  store i64 %new, ptr %move.pointer"""

LOOP_SOURCE = f"""\
define i64 @entry(ptr %args, i64 %lo, i64 %hi) {{
start:
{_load("args", LOOP, "table", "predicate", "trips", "patches", "shared", "late", kind="ptr")}\
{_load("args", LOOP, "rows", "limit", "patched", "outermost", "cost", "suspended")}\
{_load("args", LOOP, "back", "lates", "full")}
  %before.last = sub i64 %limit, 1
  %behind = mul i64 %before.last, %back
  %p.iteration = getelementptr i64, ptr %args, i64 {LOOP.index("iteration")}
  %p.row = getelementptr i64, ptr %args, i64 {LOOP.index("row")}
  %lines = getelementptr i64, ptr %table, i64 0
  %n = add i64 %rows, 0
  %conditional = icmp ne ptr %predicate, null
  %moves = icmp ne i64 %patched, 0
  %some = icmp ne i64 %rows, 0
{_BEGIN}\
{_patching("set", "fresh", "look", _FIRST)}\
resumed:
  %k.kept = load i64, ptr %p.iteration
  %row.kept = load i64, ptr %p.row
  %inside = icmp sge i64 %row.kept, 0
  br i1 %inside, label %each, label %look
look:
  %k = phi i64 [ 0, %fresh ], [ 0, %set ], [ %k.kept, %resumed ], [ %k.next, %burn ]
  %below = icmp slt i64 %k, %limit
  br i1 %below, label %ask, label %reached
reached:
  %tight = icmp ne i64 %full, 0
  br i1 %tight, label %crowded, label %done
crowded:
  %p.still = load ptr, ptr %p.predicate
  %still = load i8, ptr %p.still
  %over = icmp ne i8 %still, 0
  br i1 %over, label %overflow, label %done
overflow:
  store i64 -1, ptr %p.row
  ret i64 {FULL}
ask:
  br i1 %conditional, label %check, label %walk
check:
  %p.holds = load ptr, ptr %p.predicate
  %holds = load i8, ptr %p.holds
  %true = icmp ne i8 %holds, 0
  br i1 %true, label %walk, label %done
walk:
  br i1 %some, label %each, label %end
each:
  %i = phi i64 [ 0, %walk ], [ %next, %advance ], [ %row.kept, %resumed ]
  %k.each = phi i64 [ %k, %walk ], [ %k.each, %advance ], [ %k.kept, %resumed ]
{_CALL}\
stopped:
  %at = phi i64 [ %i, %each ], [ -1, %empty ]
  %why = phi i64 [ %status, %each ], [ {SUSPENDED}, %empty ]
  %k.stopped = phi i64 [ %k.each, %each ], [ %k.next, %empty ]
  store i64 %k.stopped, ptr %p.iteration
{_KEEP}\
empty:
  store i64 %refill, ptr %p.fuel
  br label %stopped
end:
  %k.end = phi i64 [ %k, %walk ], [ %k.each, %advance ]
{_patching("move", "end", "burn", _MOVE)}\
burn:
  %k.next = add i64 %k.end, 1
  %had = load i64, ptr %p.fuel
  %left = sub i64 %had, %cost
  store i64 %left, ptr %p.fuel
  %spent = icmp slt i64 %left, 0
  br i1 %spent, label %empty, label %look
done:
  %counts = icmp ne ptr %trips, null
  br i1 %counts, label %count, label %tell
count:
  %p.count = load ptr, ptr %p.trips
  store i64 %k, ptr %p.count
  br label %tell
tell:
  %telling = icmp ne i64 %lates, 0
  br i1 %telling, label %write, label %leave
write:
  %write.k = phi i64 [ 0, %tell ], [ %write.next, %write ]
  %p.write = getelementptr ptr, ptr %late, i64 %write.k
  %write.word = load ptr, ptr %p.write
  store i64 %k, ptr %write.word
  %write.next = add i64 %write.k, 1
  %write.more = icmp slt i64 %write.next, %lates
  br i1 %write.more, label %write, label %leave
leave:
  ret i64 0
}}
"""

BRANCH_SOURCE = f"""\
define i64 @entry(ptr %args, i64 %lo, i64 %hi) {{
start:
{_load("args", BRANCH, "index", "shared", kind="ptr")}\
{_load("args", BRANCH, "count", "outermost", "suspended")}
  %p.chosen = getelementptr i64, ptr %args, i64 {BRANCH.index("chosen")}
  %p.row = getelementptr i64, ptr %args, i64 {BRANCH.index("row")}
{_BEGIN}\
  %asked.narrow = load i32, ptr %index
  %asked = sext i32 %asked.narrow to i64
  %known = icmp ult i64 %asked, %count
  %last = sub i64 %count, 1
  %choice = select i1 %known, i64 %asked, i64 %last
  store i64 %choice, ptr %p.chosen
  br label %pick
resumed:
  %chosen.kept = load i64, ptr %p.chosen
  %row.kept = load i64, ptr %p.row
  br label %pick
pick:
  %chosen = phi i64 [ %choice, %fresh ], [ %chosen.kept, %resumed ]
  %row.first = phi i64 [ 0, %fresh ], [ %row.kept, %resumed ]
  %twice = shl i64 %chosen, 1
  %pair = add i64 %twice, {len(BRANCH)}
  %p.lines = getelementptr i64, ptr %args, i64 %pair
  %p.n = getelementptr i64, ptr %p.lines, i64 1
  %lines = load ptr, ptr %p.lines
  %n = load i64, ptr %p.n
  %some = icmp slt i64 %row.first, %n
  br i1 %some, label %each, label %end
each:
  %i = phi i64 [ %row.first, %pick ], [ %next, %advance ]
{_CALL}\
stopped:
  %at = add i64 %i, 0
  %why = add i64 %status, 0
{_KEEP}\
end:
  ret i64 0
}}
"""

MOVE_SOURCE = """\
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)

define i64 @entry(ptr %args, i64 %lo, i64 %hi) {
start:
  %p.to = getelementptr i64, ptr %args, i64 1
  %source = load ptr, ptr %args
  %target = load ptr, ptr %p.to
  %from = getelementptr i8, ptr %source, i64 %lo
  %to = getelementptr i8, ptr %target, i64 %lo
  %n = sub i64 %hi, %lo
  switch i64 %n, label %many [ i64 4, label %four i64 8, label %eight ]
four:
  %a = load i32, ptr %from, align 1
  store i32 %a, ptr %to, align 1
  ret i64 0
eight:
  %b = load i64, ptr %from, align 1
  store i64 %b, ptr %to, align 1
  ret i64 0
many:
  call void @llvm.memcpy.p0.p0.i64(ptr %to, ptr %from, i64 %n, i1 false)
  ret i64 0
}
"""
"""Copies bytes ``[lo, hi)``; the block has the addresses of source and target."""

POSITION_SOURCE = """\
define i64 @entry(ptr %args, i64 %lo, i64 %hi) {
start:
  %p.to = getelementptr i64, ptr %args, i64 1
  %p.words = getelementptr i64, ptr %args, i64 2
  %p.draws = getelementptr i64, ptr %args, i64 3
  %from = load ptr, ptr %args
  %to = load ptr, ptr %p.to
  %low = load ptr, ptr %p.words
  %draws = load i64, ptr %p.draws
  %position = load i64, ptr %from
  %high = getelementptr i64, ptr %low, i64 1
  %sign = ashr i64 %position, 63
  store i64 %position, ptr %low
  store i64 %sign, ptr %high
  %after = add i64 %position, %draws
  store i64 %after, ptr %to
  ret i64 0
}
"""
"""Sets the counter of a random draw from a buffer, and moves it.

The block has the addresses of the position, of the position afterwards and of the two words of the
draw's counter, and how many it draws.
"""

REFUSE_SOURCE = f"""\
define i64 @entry(ptr %args, i64 %lo, i64 %hi) {{
  ret i64 {REFUSED}
}}
"""
"""Stands for a body that cannot take the sizes at hand: an error only where it is to run."""

_RESUME = """\
define i64 @entry(ptr %walk, ptr %flag, i64 %a, i64 %b, i64 %c, i64 %d, i64 %e, i64 %f) {
start:
  store i64 1, ptr %flag
  %status = call i64 %walk(i64 %a, i64 %b, i64 %c, i64 %d, i64 %e, i64 %f)
  ret i64 %status
}
"""


@cache
def resume() -> Callable[..., int]:
    """A walk that goes on in the loop that was suspended: one call, which nothing interrupts.

    Its arguments are the address of the walk, that of the word ``resume`` in `FUEL`, and the six
    arguments of the walk, of which it may take fewer.
    """
    word = ctypes.c_void_p
    return ctypes.CFUNCTYPE(ctypes.c_int64, *[word] * 8)(ir_address(_RESUME))
