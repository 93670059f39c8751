"""The loop that walks a plan: one native function, the same for every graph.

A plan is a table with four 64-bit words for each step: the address of the function, the address
of its arguments, and the range ``[lo, hi)`` it shall do.  The walk stops at the first function
that returns something other than 0.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache, partial

from staticgraph.codegen.cache import ir_address

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
def _walk() -> Callable[..., int]:
    """The walk as a function of four instances of ``c_int64``."""
    return ctypes.CFUNCTYPE(ctypes.c_int64)(ir_address(SOURCE))
