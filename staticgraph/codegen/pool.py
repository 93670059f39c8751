"""Worker threads for kernels: one fork-join in native code, without OpenMP and without Numba.

The caller takes part in its own work; workers join while the work is open and leave it when no
chunk is left.  Nobody waits for a worker that is still asleep: the caller closes the work and
waits only for those who joined.  Every thread has a share of the iterations, the same part of all
work, so that what one step has written is near the core that reads it in the next.  Who is done
with its own share goes on with the others'.  Chunks are handed out in order within a share, and
since a kernel's iterations do not depend on each other, results do not depend on how many threads
there are.

The whole state is one array of 64-bit words, shared with the native code below:

    word 0    generation << 32 | open << 31 | number of workers that have joined
    word 16   number of workers asleep
    word 24   first nonzero status of a chunk
    word 32   one while somebody's work is open (a second caller then works alone)
    word 40   function, arguments, nothing, chunk, most workers that may join, stop
    word 48   mutex      word 64   condition
    word 96   for each share, 16 words apart: next iteration to hand out, end
"""

from __future__ import annotations

import ctypes
import os
import platform
import threading
from collections.abc import Callable
from functools import cache

import numpy as np

from staticgraph.codegen.cache import ir_address
from staticgraph.errors import ThreadsWarning
from staticgraph.ir import loc

_LINE = 16  # words from one share to the next: what one thread writes is not near another's
_SHARES = 96  # where they begin
MOST_THREADS = 64  # which have a share each
_WORDS = _SHARES + _LINE * MOST_THREADS
_STACK = 1 << 19  # bytes: products of matrices lay out 64 KiB in it
_SPINS = 4000  # looks at the state before a worker goes to sleep: some 50 microseconds

_PAUSE = {
    "x86_64": ("declare void @llvm.x86.sse2.pause()", "call void @llvm.x86.sse2.pause()"),
    "amd64": ("declare void @llvm.x86.sse2.pause()", "call void @llvm.x86.sse2.pause()"),
    "aarch64": ("declare void @llvm.aarch64.hint(i32)", "call void @llvm.aarch64.hint(i32 1)"),
    "arm64": ("declare void @llvm.aarch64.hint(i32)", "call void @llvm.aarch64.hint(i32 1)"),
}

_COMMON = """
declare i32 @sched_yield()
{declare}

define internal void @chunks(ptr %pool, i64 %own) {{
start:
  %p.status = getelementptr i64, ptr %pool, i64 24
  %p.fn = getelementptr i64, ptr %pool, i64 40
  %p.args = getelementptr i64, ptr %pool, i64 41
  %p.chunk = getelementptr i64, ptr %pool, i64 43
  %p.most = getelementptr i64, ptr %pool, i64 44
  %fn = load ptr, ptr %p.fn
  %args = load ptr, ptr %p.args
  %chunk = load i64, ptr %p.chunk
  %most = load i64, ptr %p.most
  %shares = call i64 @shares(i64 %most)
  %first = urem i64 %own, %shares
  br label %share
share:
  %k = phi i64 [ 0, %start ], [ %k.next, %empty ]
  %some.left = icmp slt i64 %k, %shares
  br i1 %some.left, label %turn, label %done
turn:
  %sum = add i64 %first, %k
  %s = urem i64 %sum, %shares
  %at = mul i64 %s, {line}
  %word = add i64 %at, {shares}
  %p.next = getelementptr i64, ptr %pool, i64 %word
  %p.end = getelementptr i64, ptr %p.next, i64 1
  %end = load i64, ptr %p.end
  br label %take
take:
  %lo = atomicrmw add ptr %p.next, i64 %chunk seq_cst
  %some = icmp slt i64 %lo, %end
  br i1 %some, label %work, label %empty
work:
  %to = add i64 %lo, %chunk
  %over = icmp sgt i64 %to, %end
  %hi = select i1 %over, i64 %end, i64 %to
  %status = call i64 %fn(ptr %args, i64 %lo, i64 %hi)
  %bad = icmp ne i64 %status, 0
  br i1 %bad, label %failed, label %take
failed:
  %ignored = cmpxchg ptr %p.status, i64 0, i64 %status seq_cst seq_cst
  br label %take
empty:
  %k.next = add i64 %k, 1
  br label %share
done:
  ret void
}}

define internal i64 @shares(i64 %workers) {{
  %all = add i64 %workers, 1
  %many = icmp ugt i64 %all, {most_shares}
  %n = select i1 %many, i64 {most_shares}, i64 %all
  ret i64 %n
}}
"""

_LAUNCH = """
declare i32 @pthread_mutex_lock(ptr)
declare i32 @pthread_mutex_unlock(ptr)
declare i32 @pthread_cond_broadcast(ptr)
declare i64 @llvm.smin.i64(i64, i64)

define i64 @entry(ptr %block, i64 %lo, i64 %end) {{
start:
  %b.fn = getelementptr i64, ptr %block, i64 1
  %b.args = getelementptr i64, ptr %block, i64 2
  %b.chunk = getelementptr i64, ptr %block, i64 3
  %b.most = getelementptr i64, ptr %block, i64 4
  %pool = load ptr, ptr %block
  %fn = load ptr, ptr %b.fn
  %args = load ptr, ptr %b.args
  %chunk = load i64, ptr %b.chunk
  %most = load i64, ptr %b.most
  %p.asleep = getelementptr i64, ptr %pool, i64 16
  %p.status = getelementptr i64, ptr %pool, i64 24
  %p.busy = getelementptr i64, ptr %pool, i64 32
  %p.fn = getelementptr i64, ptr %pool, i64 40
  %p.args = getelementptr i64, ptr %pool, i64 41
  %p.chunk = getelementptr i64, ptr %pool, i64 43
  %p.most = getelementptr i64, ptr %pool, i64 44
  %mutex = getelementptr i64, ptr %pool, i64 48
  %condition = getelementptr i64, ptr %pool, i64 64
  %got = cmpxchg ptr %p.busy, i64 0, i64 1 seq_cst seq_cst
  %mine = extractvalue {{ i64, i1 }} %got, 1
  br i1 %mine, label %open, label %alone
alone:
  %only = call i64 %fn(ptr %args, i64 %lo, i64 %end)
  ret i64 %only
open:
  store ptr %fn, ptr %p.fn
  store ptr %args, ptr %p.args
  store i64 %chunk, ptr %p.chunk
  store i64 %most, ptr %p.most
  store i64 0, ptr %p.status
  %length = sub i64 %end, %lo
  %round = add i64 %length, %chunk
  %up = sub i64 %round, 1
  %pieces = sdiv i64 %up, %chunk
  %shares = call i64 @shares(i64 %most)
  br label %divide
divide:
  %s = phi i64 [ 0, %open ], [ %s.next, %divide ]
  %from = phi i64 [ %lo, %open ], [ %until, %divide ]
  %s.next = add i64 %s, 1
  %scaled = mul i64 %s.next, %pieces
  %mine.chunks = sdiv i64 %scaled, %shares
  %mine.size = mul i64 %mine.chunks, %chunk
  %mine.end = add i64 %lo, %mine.size
  %until = call i64 @llvm.smin.i64(i64 %mine.end, i64 %end)
  %s.at = mul i64 %s, {line}
  %s.word = add i64 %s.at, {shares}
  %s.first = getelementptr i64, ptr %pool, i64 %s.word
  %s.end = getelementptr i64, ptr %s.first, i64 1
  store i64 %until, ptr %s.end
  store atomic i64 %from, ptr %s.first seq_cst, align 8
  %s.more = icmp slt i64 %s.next, %shares
  br i1 %s.more, label %divide, label %ready
ready:
  %old = load atomic i64, ptr %pool seq_cst, align 8
  %generation = lshr i64 %old, 32
  %following = add i64 %generation, 1
  %high = shl i64 %following, 32
  %opened = or i64 %high, 2147483648
  store atomic i64 %opened, ptr %pool seq_cst, align 8
  %asleep = load atomic i64, ptr %p.asleep seq_cst, align 8
  %wake = icmp ne i64 %asleep, 0
  br i1 %wake, label %call, label %help
call:
  %l = call i32 @pthread_mutex_lock(ptr %mutex)
  %b = call i32 @pthread_cond_broadcast(ptr %condition)
  %u = call i32 @pthread_mutex_unlock(ptr %mutex)
  br label %help
help:
  call void @chunks(ptr %pool, i64 0)
  %closed = atomicrmw and ptr %pool, i64 -2147483649 seq_cst
  br label %wait
wait:
  %spins = phi i64 [ 0, %help ], [ %more, %again ]
  %now = load atomic i64, ptr %pool seq_cst, align 8
  %joined = and i64 %now, 2147483647
  %left = icmp eq i64 %joined, 0
  br i1 %left, label %finish, label %idle
idle:
  {pause}
  %more = add i64 %spins, 1
  %long = icmp ugt i64 %spins, 2000
  br i1 %long, label %yield, label %again
yield:
  %y = call i32 @sched_yield()
  br label %again
again:
  br label %wait
finish:
  %status = load i64, ptr %p.status
  store atomic i64 0, ptr %p.busy seq_cst, align 8
  ret i64 %status
}}
"""

_WORKER = """
declare i32 @pthread_mutex_lock(ptr)
declare i32 @pthread_mutex_unlock(ptr)
declare i32 @pthread_cond_wait(ptr, ptr)

define i64 @entry(ptr %pool, i64 %first, i64 %own) {{
start:
  %p.asleep = getelementptr i64, ptr %pool, i64 16
  %p.most = getelementptr i64, ptr %pool, i64 44
  %p.stop = getelementptr i64, ptr %pool, i64 45
  %mutex = getelementptr i64, ptr %pool, i64 48
  %condition = getelementptr i64, ptr %pool, i64 64
  br label %look
look:
  %seen = phi i64 [ %first, %start ], [ %seen, %pausing ], [ %seen, %woken ],
                  [ %new, %skip ], [ %new, %worked ]
  %spins = phi i64 [ 0, %start ], [ %more, %pausing ], [ 0, %woken ], [ 0, %skip ], [ 0, %worked ]
  %stop = load atomic i64, ptr %p.stop seq_cst, align 8
  %over = icmp ne i64 %stop, 0
  br i1 %over, label %done, label %read
read:
  %state = load atomic i64, ptr %pool seq_cst, align 8
  %new = lshr i64 %state, 32
  %same = icmp eq i64 %new, %seen
  br i1 %same, label %idle, label %consider
idle:
  {pause}
  %more = add i64 %spins, 1
  %tired = icmp ugt i64 %more, {spins}
  br i1 %tired, label %sleep, label %pausing
pausing:
  br label %look
sleep:
  %l = call i32 @pthread_mutex_lock(ptr %mutex)
  %a = atomicrmw add ptr %p.asleep, i64 1 seq_cst
  br label %check
check:
  %again = load atomic i64, ptr %pool seq_cst, align 8
  %g = lshr i64 %again, 32
  %quiet = icmp eq i64 %g, %seen
  %halt = load atomic i64, ptr %p.stop seq_cst, align 8
  %going = icmp eq i64 %halt, 0
  %stay = and i1 %quiet, %going
  br i1 %stay, label %rest, label %woken
rest:
  %w = call i32 @pthread_cond_wait(ptr %condition, ptr %mutex)
  br label %check
woken:
  %s = atomicrmw sub ptr %p.asleep, i64 1 seq_cst
  %u = call i32 @pthread_mutex_unlock(ptr %mutex)
  br label %look
consider:
  %openbit = and i64 %state, 2147483648
  %open = icmp ne i64 %openbit, 0
  %count = and i64 %state, 2147483647
  %most = load i64, ptr %p.most
  %room = icmp ult i64 %count, %most
  %join = and i1 %open, %room
  br i1 %join, label %enter, label %skip
skip:
  br label %look
enter:
  %plus = add i64 %state, 1
  %swap = cmpxchg ptr %pool, i64 %state, i64 %plus seq_cst seq_cst
  %in = extractvalue {{ i64, i1 }} %swap, 1
  br i1 %in, label %work, label %read
work:
  call void @chunks(ptr %pool, i64 %own)
  %out = atomicrmw sub ptr %pool, i64 1 seq_cst
  br label %worked
worked:
  br label %look
done:
  ret i64 0
}}
"""


def _text(body: str) -> str:
    declare, pause = _PAUSE.get(platform.machine().lower(), ("", ""))
    return (_COMMON + body).format(
        declare=declare, pause=pause, spins=_SPINS, line=_LINE, shares=_SHARES,
        most_shares=MOST_THREADS,
    )  # fmt: skip


BLOCK_WORDS = 5


def sources() -> tuple[str, str]:
    """The LLVM IR of what shares a kernel's work, and of what a worker does."""
    return _text(_LAUNCH), _text(_WORKER)


@cache
def launch_address() -> int:
    """The address of a function with a kernel's signature that shares a kernel's work.

    Its argument block is: the pool, the kernel, the kernel's arguments, iterations per chunk, and
    how many workers may join.
    """
    return ir_address(sources()[0])


@cache
def worker_address() -> int:
    """The address of what a worker does: of the pool, the generation it has seen, its share."""
    return ir_address(sources()[1])


class Pool:
    """Worker threads; `address` is that of the shared state.

    Workers are daemon threads that run native code without the GIL.  After a fork the child has
    none of them: it works alone until it starts its own.
    """

    def __init__(self) -> None:
        raw = np.zeros(_WORDS + 8, np.int64)
        start = -(raw.__array_interface__["data"][0] // 8) % 8
        self.state = raw[start : start + _WORDS]
        self.address = int(self.state.__array_interface__["data"][0])
        self.reset()

    def reset(self) -> None:
        """Forget the workers and start from a fresh state, at the same address."""
        self._lock = threading.Lock()
        self.state[:] = 0
        self.workers: list[threading.Thread] = []
        libc = ctypes.CDLL(None)
        libc.pthread_mutex_init(ctypes.c_void_p(self.address + 48 * 8), None)
        libc.pthread_cond_init(ctypes.c_void_p(self.address + 64 * 8), None)

    def ensure(self, threads: int) -> None:
        """Have workers for `threads` threads in all, the caller included."""
        with self._lock:
            missing = threads - 1 - len(self.workers)
            if missing <= 0:
                return
            kind = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
            entry = kind(worker_address())
            size = threading.stack_size()
            if 0 < size < _STACK:
                threading.stack_size(_STACK)
            try:
                for number in range(threads - missing, threads):
                    first = int(self.state[0]) >> 32
                    worker = threading.Thread(
                        target=_work, args=(entry, self.state, first, number), daemon=True,
                        name=f"staticgraph-worker-{number - 1}",
                    )  # fmt: skip
                    worker.start()
                    self.workers.append(worker)
            except RuntimeError:  # the system has no more: those that there are do the work
                text = f"{1 + len(self.workers)} threads are used instead of {threads}"
                loc.warn(ThreadsWarning(f"no more threads can be started; {text}"))
            finally:
                threading.stack_size(size)


def _work(
    entry: Callable[[int, int, int], int], state: np.ndarray, first: int, number: int
) -> None:
    """A worker's life.  Its frame keeps the state alive: the pool may be gone before it."""
    entry(int(state.__array_interface__["data"][0]), first, number)


def default_threads() -> int:
    """$STATICGRAPH_NUM_THREADS, or, where that is empty or 0, the cores this process may use."""
    wanted = os.environ.get("STATICGRAPH_NUM_THREADS", "").strip()
    asked = int(wanted or "0") if not wanted.strip("0123456789") else -1
    if asked > 0:
        return min(asked, MOST_THREADS)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if asked < 0:
        _refuse(wanted, cores or 1)
    return min(cores or 1, MOST_THREADS)


@cache
def _refuse(wanted: str, used: int) -> None:
    text = f"STATICGRAPH_NUM_THREADS is {wanted!r}, which is no number of threads; {used} are used"
    loc.warn(ThreadsWarning(text))


POOL = Pool()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=POOL.reset)
