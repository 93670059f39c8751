"""LLVM IR of the function that Python calls to run a plan; `codegen.entry` makes it callable.

One function serves `Session.run`, where it is called with the session, and what `make_callable`
returns, where it is called with a tuple that holds an entry.  All it knows is in blocks of words;
see `codegen.entry_blocks`.  CPython and numpy are reached through a table of addresses, so that
the object code needs no symbol of theirs and is kept on disk as all code is.

Where something does not fit, nothing has been changed, and the Python function is called that does
the same in general.  Anything that may run other Python code (a collection of garbage, a
destructor) comes after the run is over or before it begins.
"""

from __future__ import annotations

from functools import cache
from string import Template

from staticgraph.codegen.entry_blocks import names
from staticgraph.codegen.entry_feeds import FEEDS
from staticgraph.codegen.entry_lookup import ENTRY
from staticgraph.codegen.entry_run import RESULTS, RUN
from staticgraph.codegen.loop_source import SUSPENDED


@cache
def source(slot: int) -> str:
    """The text, for sessions that keep the array of their state `slot` bytes into the object."""
    loops = "".join(_LOOP.substitute(name=name, kind=kind, counted=counted, at=at, body=body)
                    for name, (kind, counted, at, body) in _LOOPS.items())  # fmt: skip
    text = _BASICS + loops + FEEDS + RESULTS + RUN + ENTRY
    return Template(text).substitute(names(), slot=slot, suspended=SUSPENDED)


_BASICS = """\
@api = internal global ptr null

declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)

define internal i64 @number(ptr %block, i64 %at) alwaysinline {
  %p = getelementptr i64, ptr %block, i64 %at
  %v = load i64, ptr %p
  ret i64 %v
}

define internal ptr @pointer(ptr %block, i64 %at) alwaysinline {
  %p = getelementptr ptr, ptr %block, i64 %at
  %v = load ptr, ptr %p
  ret ptr %v
}

define internal void @put(ptr %block, i64 %at, i64 %value) alwaysinline {
  %p = getelementptr i64, ptr %block, i64 %at
  store i64 %value, ptr %p
  ret void
}

define internal void @copy(ptr %to, ptr %source, i64 %bytes) alwaysinline {
  call void @llvm.memcpy.p0.p0.i64(ptr %to, ptr %source, i64 %bytes, i1 false)
  ret void
}

define internal ptr @known(i64 %at) alwaysinline {
  %api = load ptr, ptr @api
  %v = call ptr @pointer(ptr %api, i64 %at)
  ret ptr %v
}

define internal ptr @type(ptr %object) alwaysinline {
  %p = getelementptr i8, ptr %object, i64 8
  %t = load ptr, ptr %p
  ret ptr %t
}

define internal i1 @is(ptr %object, i64 %what) alwaysinline {
  %t = call ptr @type(ptr %object)
  %w = call ptr @known(i64 %what)
  %same = icmp eq ptr %t, %w
  ret i1 %same
}

define internal ptr @value(ptr %object) alwaysinline { ; of a float, or of a scalar of numpy
  %p = getelementptr i8, ptr %object, i64 16
  ret ptr %p
}

define internal ptr @data(ptr %array) alwaysinline {
  %p = call ptr @value(ptr %array)
  %d = load ptr, ptr %p
  ret ptr %d
}

define internal void @take(ptr %object) alwaysinline {
  %f = call ptr @known(i64 $api_take)
  call void %f(ptr %object)
  ret void
}

define internal void @give(ptr %object) {
start:
  %none = icmp eq ptr %object, null
  br i1 %none, label %done, label %some
some:
  %f = call ptr @known(i64 $api_give)
  call void %f(ptr %object)
  br label %done
done:
  ret void
}

define internal void @give_all(ptr %objects, i64 %n) {
start:
  br label %next
next:
  %i = phi i64 [ 0, %start ], [ %j, %one ]
  %more = icmp slt i64 %i, %n
  br i1 %more, label %one, label %done
one:
  %o = call ptr @pointer(ptr %objects, i64 %i)
  call void @give(ptr %o)
  %j = add i64 %i, 1
  br label %next
done:
  ret void
}

define internal void @take_all(ptr %objects, i64 %n) {
start:
  br label %next
next:
  %i = phi i64 [ 0, %start ], [ %j, %one ]
  %more = icmp slt i64 %i, %n
  br i1 %more, label %one, label %done
one:
  %o = call ptr @pointer(ptr %objects, i64 %i)
  call void @take(ptr %o)
  %j = add i64 %i, 1
  br label %next
done:
  ret void
}

define internal ptr @invoke(ptr %callable, ptr %arguments, i64 %n, ptr %keywords) {
  %f = call ptr @known(i64 $api_vectorcall)
  %r = call ptr %f(ptr %callable, ptr %arguments, i64 %n, ptr %keywords)
  ret ptr %r
}

define internal void @patch(ptr %feed, i64 %address) alwaysinline {
  %n = call i64 @number(ptr %feed, i64 $feed_patches)
  %patches = call ptr @pointer(ptr %feed, i64 $feed_patched)
  call void @patch_all(i64 %n, ptr %patches, i64 %address)
  ret void
}

define internal void @patch_all(i64 %n, ptr %patches, i64 %address) {
start:
  br label %next
next:
  %i = phi i64 [ 0, %start ], [ %j, %one ]
  %more = icmp slt i64 %i, %n
  br i1 %more, label %one, label %done
one:
  %at = shl i64 %i, 1
  %at.offset = add i64 %at, 1
  %word = call ptr @pointer(ptr %patches, i64 %at)
  %offset = call i64 @number(ptr %patches, i64 %at.offset)
  %a = add i64 %address, %offset
  store i64 %a, ptr %word
  %j = add i64 %i, 1
  br label %next
done:
  ret void
}
"""

# A function of a plan that does something with each block of an array of blocks.
_LOOP = Template("""
define internal void @$name(ptr %plan) {
start:
  %n = call i64 @number(ptr %plan, i64 $$plan_$counted)
  %all = call ptr @pointer(ptr %plan, i64 $$plan_$at)
  br label %next
next:
  %i = phi i64 [ 0, %start ], [ %j, %one ]
  %more = icmp slt i64 %i, %n
  br i1 %more, label %one, label %done
one:
  %first = mul i64 %i, $$${kind}_words
  %block = getelementptr i64, ptr %all, i64 %first
$body
  %j = add i64 %i, 1
  br label %next
done:
  ret void
}
""")

_LOOPS = {
    "unpatch": ("feed", "feeds", "fed", """\
  %place = call i64 @number(ptr %block, i64 $feed_place)
  call void @patch(ptr %block, i64 %place)"""),
    "commit": ("copy", "copies", "copied", """\
  %to = call ptr @pointer(ptr %block, i64 $copy_to)
  %source = call ptr @pointer(ptr %block, i64 $copy_source)
  %bytes = call i64 @number(ptr %block, i64 $copy_bytes)
  call void @copy(ptr %to, ptr %source, i64 %bytes)"""),
    "position": ("stream", "streams", "drawn", """\
  %to = call ptr @pointer(ptr %block, i64 $stream_block)
  %source = call ptr @pointer(ptr %block, i64 $stream_position)
  call void @copy(ptr %to, ptr %source, i64 16)"""),
    "advance": ("stream", "streams", "drawn", """\
  %position = call ptr @pointer(ptr %block, i64 $stream_position)
  %draws = call i64 @number(ptr %block, i64 $stream_draws)
  %wide = zext i64 %draws to i128
  %old = load i128, ptr %position, align 8
  %new = add i128 %old, %wide
  store i128 %new, ptr %position, align 8"""),
}  # fmt: skip
