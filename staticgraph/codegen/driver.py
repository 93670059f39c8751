"""The loop that walks a plan: one native function, the same for every graph.

A plan is a table with four 64-bit words for each step: the address of the function, the address
of its arguments, and the range ``[lo, hi)`` it shall do.  The walk stops at the first function
that returns something other than 0.

A second walk reads the clock after every step.  It is another function, for runs that are
profiled: the first has no instruction that serves it.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from functools import cache, partial

from staticgraph.codegen.cache import ir_address

CLOCK = time.CLOCK_MONOTONIC
"""The clock of timed walks; `time.clock_gettime_ns` reads it from Python."""

STEP_WORDS = 4
"""Words in the table for each step: function, arguments, lo, hi."""

SOURCE = """\
define i64 @entry(ptr noalias readonly %table, i64 %first, i64 %last, ptr noalias %failed) {
start:
  %some = icmp slt i64 %first, %last
  br i1 %some, label %step, label %done
step:
  %i = phi i64 [ %first, %start ], [ %next, %advance ]
  %word = shl i64 %i, 2
  %row = getelementptr i64, ptr %table, i64 %word
  %p.args = getelementptr i64, ptr %row, i64 1
  %p.lo = getelementptr i64, ptr %row, i64 2
  %p.hi = getelementptr i64, ptr %row, i64 3
  %function = load ptr, ptr %row
  %args = load ptr, ptr %p.args
  %lo = load i64, ptr %p.lo
  %hi = load i64, ptr %p.hi
  %status = call i64 %function(ptr %args, i64 %lo, i64 %hi)
  %bad = icmp ne i64 %status, 0
  br i1 %bad, label %stop, label %advance
advance:
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %last
  br i1 %more, label %step, label %done
stop:
  store i64 %i, ptr %failed
  ret i64 %status
done:
  store i64 %last, ptr %failed
  ret i64 0
}
"""

_NOW = """\
define internal i64 @now(ptr %clock, ptr %time) {{
  %ignored = call i32 %clock(i32 {number}, ptr %time)
  %p.nanos = getelementptr i64, ptr %time, i64 1
  %seconds = load i64, ptr %time
  %nanos = load i64, ptr %p.nanos
  %scaled = mul i64 %seconds, 1000000000
  %sum = add i64 %scaled, %nanos
  ret i64 %sum
}}

"""
_CHANGES = (
    ("@entry(", "@entry(ptr %clock, "),
    ("ptr noalias %failed)", "ptr noalias %failed, ptr noalias %times)"),
    (
        "start:",
        "start:\n  %time = alloca [2 x i64]\n  %began = call i64 @now(ptr %clock, ptr %time)",
    ),
    (
        "[ %next, %advance ]",
        "[ %next, %advance ]\n  %before = phi i64 [ %began, %start ], [ %after, %advance ]",
    ),
    (
        "  %bad = icmp",
        "  %after = call i64 @now(ptr %clock, ptr %time)\n"
        "  %pair = shl i64 %i, 1\n"
        "  %t.before = getelementptr i64, ptr %times, i64 %pair\n"
        "  %t.after = getelementptr i64, ptr %t.before, i64 1\n"
        "  store i64 %before, ptr %t.before\n"
        "  store i64 %after, ptr %t.after\n"
        "  %bad = icmp",
    ),
)


def timed_source() -> str:
    """The walk with a clock: each step's begin and end go into two words of a second table."""
    text = SOURCE
    for old, new in _CHANGES:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return _NOW.format(number=int(CLOCK)) + text


@cache
def driver() -> Callable[[int, int, int, int], int]:
    """Return the walk as a function of four ints that runs without the GIL.

    Its arguments are the address of the table, the first step, the one after the last, and the
    address of a word for the number of the step that failed.  It returns 0 if all steps did and
    the word is then the one after the last; else the status of the one that failed.
    """
    word = ctypes.c_void_p  # ctypes converts an int to this twice as fast as to c_int64
    return ctypes.CFUNCTYPE(ctypes.c_int64, word, word, word, word)(ir_address(SOURCE))


def bound(table: int, first: int, last: int, failed: int) -> Callable[[], int]:
    """Return the walk over fixed steps, which is quicker to call: nothing is converted."""
    return partial(_walk(), *map(ctypes.c_int64, (table, first, last, failed)))


@cache
def timed_address() -> int:
    """The address of the walk with a clock, whose first argument is that of the clock."""
    return ir_address(timed_source())


@cache
def clock_address() -> int:
    """The address of ``clock_gettime``."""
    return ctypes.cast(ctypes.CDLL(None).clock_gettime, ctypes.c_void_p).value or 0


@cache
def timed() -> Callable[[int, int, int, int, int], int]:
    """Return the walk with a clock: as `driver`, with the address of the times as fifth argument.

    Step i's begin and end, in nanoseconds of `CLOCK`, go into the words 2 * i and 2 * i + 1; a
    step begins when the one before it ends.
    """
    word = ctypes.c_void_p
    kind = ctypes.CFUNCTYPE(ctypes.c_int64, word, word, word, word, word, word)
    return partial(kind(timed_address()), clock_address())


def walk_address() -> int:
    """The address of the walk, for native code that calls it: see `driver` for its arguments."""
    return ir_address(SOURCE)


@cache
def _walk() -> Callable[..., int]:
    """The walk as a function of four instances of ``c_int64``."""
    return ctypes.CFUNCTYPE(ctypes.c_int64)(ir_address(SOURCE))
