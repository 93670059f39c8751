"""LLVM IR: arrays for results, in memory that is used again when nobody has them any more.

A *keeper* is a memory handler of numpy, as NEP 49 has it: an array that it makes owns its memory
and gives it back to the keeper when it dies, which is when its last view, buffer or capsule has
died.  The keeper holds one such block for the next array of as many bytes, and frees all others.
So memory is used again exactly where `free` would have been called, and what it costs to have the
pages of new memory cleared is paid once.

Blocks begin at a line of the cache, as kernels like it; the two words before tell how many bytes
there are, and where the memory begins that numpy's own handler gave.  Everything happens with
Python's lock held.  A keeper lives as long as the capsule in which numpy knows it.
"""

from __future__ import annotations

from functools import cache
from string import Template

API = tuple("handler name pointer track untrack new_array array take no_memory".split())
"""numpy's own handler; the name of capsules, and functions and types of Python and numpy."""

KEEPER = {"context": 16, "allocate": 17, "zeros": 18, "resize": 19, "free": 20}
"""The words of a numpy handler behind its name of 128 bytes, of which the last is a version."""

OWN = {"kept": 21, "make": 22, "destroy": 23}
"""What follows: the block that is held, or 0; how an array is made; how the keeper ends."""

WORDS = 24
DOMAIN = 389047
"""Under which tracemalloc counts the memory of arrays."""

DATA, FLAGS, MEM_HANDLER, OWN_DATA = 16, 64, 88, 4
"""Where an array has its address, its flags and its handler, and the flag of owned memory."""


@cache
def source() -> str:
    """The text; `entry` makes a keeper, given the table of what is known."""
    known = {f"api_{name}": i for i, name in enumerate(API)}
    words = {f"keeper_{name}": at for name, at in (KEEPER | OWN).items()}
    return Template(_TEXT).substitute(
        known, **words, bytes=8 * WORDS, domain=DOMAIN, mem_handler=MEM_HANDLER, flags=FLAGS,
        own_data=OWN_DATA,
    )  # fmt: skip


_TEXT = """\
@api = internal global ptr null

declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)

define internal ptr @word(ptr %block, i64 %at) alwaysinline {
  %p = getelementptr ptr, ptr %block, i64 %at
  %v = load ptr, ptr %p
  ret ptr %v
}

define internal void @put(ptr %block, i64 %at, ptr %value) alwaysinline {
  %p = getelementptr ptr, ptr %block, i64 %at
  store ptr %value, ptr %p
  ret void
}

define internal ptr @known(i64 %at) alwaysinline {
  %api = load ptr, ptr @api
  %v = call ptr @word(ptr %api, i64 %at)
  ret ptr %v
}

define internal i64 @size(ptr %block) alwaysinline {
  %p = getelementptr i64, ptr %block, i64 -2
  %n = load i64, ptr %p
  ret i64 %n
}

; From and to numpy's own handler.
define internal ptr @get(i64 %bytes) {
  %h = call ptr @known(i64 $api_handler)
  %context = call ptr @word(ptr %h, i64 $keeper_context)
  %f = call ptr @word(ptr %h, i64 $keeper_allocate)
  %p = call ptr %f(ptr %context, i64 %bytes)
  ret ptr %p
}

define internal void @give(ptr %p, i64 %bytes) {
  %h = call ptr @known(i64 $api_handler)
  %context = call ptr @word(ptr %h, i64 $keeper_context)
  %f = call ptr @word(ptr %h, i64 $keeper_free)
  call void %f(ptr %context, ptr %p, i64 %bytes)
  ret void
}

define internal void @track(ptr %block) {
  %f = call ptr @known(i64 $api_track)
  %bytes = call i64 @size(ptr %block)
  %status = call i32 %f(i32 $domain, ptr %block, i64 %bytes)
  ret void
}

define internal void @untrack(ptr %block) {
  %f = call ptr @known(i64 $api_untrack)
  %status = call i32 %f(i32 $domain, ptr %block)
  ret void
}

define internal ptr @allocate(ptr %keeper, i64 %bytes) {
start:
  %all = add i64 %bytes, 128
  %p = call ptr @get(i64 %all)
  %none = icmp eq ptr %p, null
  br i1 %none, label %done, label %some
some:
  %at = ptrtoint ptr %p to i64
  %beyond = add i64 %at, 79
  %line = and i64 %beyond, -64
  %q = inttoptr i64 %line to ptr
  call void @put(ptr %q, i64 -1, ptr %p)
  %n.p = getelementptr i64, ptr %q, i64 -2
  store i64 %bytes, ptr %n.p
  br label %done
done:
  %r = phi ptr [ null, %start ], [ %q, %some ]
  ret ptr %r
}

define internal void @dispose(ptr %block) {
  %p = call ptr @word(ptr %block, i64 -1)
  %n = call i64 @size(ptr %block)
  %all = add i64 %n, 128
  call void @give(ptr %p, i64 %all)
  ret void
}

define internal void @free(ptr %keeper, ptr %block, i64 %bytes) {
start:
  %none = icmp eq ptr %block, null
  br i1 %none, label %done, label %some
some:
  %kept = call ptr @word(ptr %keeper, i64 $keeper_kept)
  %room = icmp eq ptr %kept, null
  br i1 %room, label %keep, label %more
keep:
  call void @put(ptr %keeper, i64 $keeper_kept, ptr %block)
  call void @track(ptr %block) ; numpy has just said that it is gone
  br label %done
more:
  call void @dispose(ptr %block)
  br label %done
done:
  ret void
}

define internal ptr @zeros(ptr %keeper, i64 %n, i64 %each) {
start:
  %bytes = mul i64 %n, %each
  %p = call ptr @allocate(ptr %keeper, i64 %bytes)
  %none = icmp eq ptr %p, null
  br i1 %none, label %done, label %some
some:
  call void @llvm.memset.p0.i64(ptr %p, i8 0, i64 %bytes, i1 false)
  br label %done
done:
  ret ptr %p
}

define internal ptr @resize(ptr %keeper, ptr %old, i64 %bytes) {
start:
  %p = call ptr @allocate(ptr %keeper, i64 %bytes)
  %none = icmp eq ptr %p, null
  %fresh = icmp eq ptr %old, null
  %either = or i1 %none, %fresh
  br i1 %either, label %done, label %move
move:
  %n = call i64 @size(ptr %old)
  %shrinks = icmp ult i64 %bytes, %n
  %m = select i1 %shrinks, i64 %bytes, i64 %n
  call void @llvm.memcpy.p0.p0.i64(ptr %p, ptr %old, i64 %m, i1 false)
  call void @dispose(ptr %old)
  br label %done
done:
  ret ptr %p
}

; Let go of the block that is held.
define internal void @clear(ptr %keeper) {
start:
  %kept = call ptr @word(ptr %keeper, i64 $keeper_kept)
  %none = icmp eq ptr %kept, null
  br i1 %none, label %done, label %some
some:
  call void @put(ptr %keeper, i64 $keeper_kept, ptr null)
  call void @untrack(ptr %kept)
  call void @dispose(ptr %kept)
  br label %done
done:
  ret void
}

define internal void @destroy(ptr %capsule) {
  %name = call ptr @known(i64 $api_name)
  %f = call ptr @known(i64 $api_pointer)
  %keeper = call ptr %f(ptr %capsule, ptr %name)
  call void @clear(ptr %keeper)
  call void @give(ptr %keeper, i64 $bytes)
  ret void
}

; A block for so many bytes: the one that is held, if it has as many.
define internal ptr @block(ptr %keeper, i64 %bytes) {
start:
  %kept = call ptr @word(ptr %keeper, i64 $keeper_kept)
  %none = icmp eq ptr %kept, null
  br i1 %none, label %new, label %look
look:
  %n = call i64 @size(ptr %kept)
  %fits = icmp eq i64 %n, %bytes
  br i1 %fits, label %again, label %other
again:
  call void @put(ptr %keeper, i64 $keeper_kept, ptr null)
  ret ptr %kept
other:
  call void @clear(ptr %keeper)
  br label %new
new:
  %p = call ptr @allocate(ptr %keeper, i64 %bytes)
  ret ptr %p
}

; An array: a new reference, or null with an exception.
define internal ptr @make(ptr %keeper, ptr %capsule, ptr %type, i64 %rank, ptr %sizes,
                          i64 %bytes) {
start:
  %p = call ptr @block(ptr %keeper, i64 %bytes)
  %none = icmp eq ptr %p, null
  br i1 %none, label %full, label %some
full:
  %no_memory = call ptr @known(i64 $api_no_memory)
  %nothing = call ptr %no_memory()
  ret ptr null
some:
  %take = call ptr @known(i64 $api_take)
  call void %take(ptr %type) ; the call gives it back
  %class = call ptr @known(i64 $api_array)
  %rank.32 = trunc i64 %rank to i32
  %new = call ptr @known(i64 $api_new_array)
  %made = call ptr %new(ptr %class, ptr %type, i32 %rank.32, ptr %sizes, ptr null, ptr %p,
                        i32 1281, ptr null) ; C_CONTIGUOUS, ALIGNED, WRITEABLE
  %bad = icmp eq ptr %made, null
  br i1 %bad, label %failed, label %own
failed:
  call void @untrack(ptr %p)
  call void @dispose(ptr %p)
  ret ptr null
own:
  %flags.p = getelementptr i8, ptr %made, i64 $flags
  %flags = load i32, ptr %flags.p
  %owns = or i32 %flags, $own_data
  store i32 %owns, ptr %flags.p
  call void %take(ptr %capsule)
  %handler.p = getelementptr i8, ptr %made, i64 $mem_handler
  store ptr %capsule, ptr %handler.p
  call void @track(ptr %p)
  ret ptr %made
}

define ptr @entry(ptr %known) {
start:
  store ptr %known, ptr @api
  %keeper = call ptr @get(i64 $bytes)
  %none = icmp eq ptr %keeper, null
  br i1 %none, label %done, label %some
some:
  call void @llvm.memset.p0.i64(ptr %keeper, i8 0, i64 $bytes, i1 false)
  %version = getelementptr i8, ptr %keeper, i64 127
  store i8 1, ptr %version
  store i64 32497631497512306, ptr %keeper ; "results", its name
  call void @put(ptr %keeper, i64 $keeper_context, ptr %keeper)
  call void @put(ptr %keeper, i64 $keeper_allocate, ptr @allocate)
  call void @put(ptr %keeper, i64 $keeper_zeros, ptr @zeros)
  call void @put(ptr %keeper, i64 $keeper_resize, ptr @resize)
  call void @put(ptr %keeper, i64 $keeper_free, ptr @free)
  call void @put(ptr %keeper, i64 $keeper_make, ptr @make)
  call void @put(ptr %keeper, i64 $keeper_destroy, ptr @destroy)
  br label %done
done:
  ret ptr %keeper
}
"""
