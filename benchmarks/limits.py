"""What bounds the works that miss a target: streams through memory, and arithmetic in the cache.

python -m benchmarks.limits

Every line is the smallest time of many calls in this one process.  Streams are shared between the
threads of the pool as steps of a plan are; arithmetic is one thread's, on arrays that fit the
first-level cache, so that memory plays no part.  In the end works that memory bounds take turns
with what memory has to do for them and nothing else: the medians of both, since that is what their
times in `docs/performance.md` are, and the smallest.  `docs/limits.md` says what follows from it.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from functools import partial
from statistics import median

import numpy as np

import staticgraph as tf
from benchmarks.case import load
from benchmarks.peers import OURS
from staticgraph.codegen import native
from staticgraph.codegen.llvm import kernel_ir
from staticgraph.codegen.pool import POOL, default_threads, launch_address
from staticgraph.ir.parse_kernel import parse_kernel
from staticgraph.ir.program import Launch
from staticgraph.runtime.compile import function_stages
from staticgraph.runtime.store import aligned_empty
from staticgraph.runtime.threads import LANES, PIECES

SIGNATURE = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)

_FLAT = "kernel flat({}) parallel p {{\n{}\n}}"
LARGE, SMALL, MIDDLE = 10_000_000, 4_096_000, 6_291_456  # elements: chain, softmax, layer norm
_COPY, _PAST = "a0: mut f32*, a1: f32*", "a0: stream mut f32*, a1: f32*"
_THREE = "a0: mut f32*, a1: mut f32*, a2: mut f32*, a3: f32*"
STREAMS = {  # name: elements, arrays, what is done with an element, bytes of it that are counted
    "copy": (LARGE, _COPY, "a0[p] = a1[p]", 8),
    "copy past the caches": (LARGE, _PAST, "a0[p] = a1[p]", 8),
    "copy, as much as layer norm": (MIDDLE, _COPY, "a0[p] = a1[p]", 8),
    "copy past the caches, as much": (MIDDLE, _PAST, "a0[p] = a1[p]", 8),
    "copy, as much as softmax": (SMALL, _COPY, "a0[p] = a1[p]", 8),
    "read": (LARGE, _COPY, None, 4),
    "update of one array": (LARGE, "a0: mut f32*", "a0[p] = add(a0[p], 1.0:f32)", 8),
    "update of three arrays by a fourth": (
        LARGE, _THREE,
        "x: f32 = a3[p]\na0[p] = add(a0[p], x)\na1[p] = add(a1[p], x)\na2[p] = add(a2[p], x)", 28,
    ),
}  # fmt: skip
_READ = """\
kernel row(a0: mut f32*, a1: f32*) parallel p {
  var s: f32 = sum()
  for r in 0:i64 .. 65536:i64 {
    s sum= a1[add(mul(p, 65536:i64), r)]
  }
  a0[p] = s
}"""
_TWO = "a0: stream mut f32*, a1: stream mut f32*, a2: f32*, a3: f32*"
LEAST = (  # work, what memory has to do, and a kernel for that: text, arrays, elements, extent
    ("column_sums", "its matrix read", (_READ, 2, 4096 * 4096, 256)),
    (
        "layer_norm", "two arrays copied past the caches",
        (_FLAT.format(_TWO, "a0[p] = a2[p]\na1[p] = a3[p]"), 4, 4096 * 768, 4096 * 768),
    ),
    (
        "softmax_xent", "an array copied past the caches",
        (_FLAT.format(_PAST, "a0[p] = a1[p]"), 2, 4096 * 1000, 4096 * 1000),
    ),
    (
        "adam", "three arrays changed by a fourth",
        (_FLAT.format(_THREE, STREAMS["update of three arrays by a fourth"][2]), 4, LARGE, LARGE),
    ),
)  # fmt: skip
CHAIN = "div(mul(tanh(x), exp(neg(mul(x, x)))), add(1.0:f32, mul(x, x)))"
ARITHMETIC = {  # what is done with an element, as a loop over a row
    "exp": "x: f32 = a1[{}]\na0[{}] = exp(x)",
    "tanh": "x: f32 = a1[{}]\na0[{}] = tanh(x)",
    "division": "x: f32 = a1[{}]\na0[{}] = div(1.0:f32, x)",
    "tanh(x) exp(-x x) / (1 + x x)": "x: f32 = a1[{}]\na0[{}] = " + CHAIN,
}
ROWS = {  # a row of softmax with its cross-entropy's gradient: three passes
    "largest of a row": ("var s: f32 = max()", "s max= a1[{}]", "a2[p] = s"),
    "exp, its sum and a store": (
        "m: f32 = a2[p]\nvar s: f32 = sum()",
        "e: f32 = exp(sub(a1[{}], m))\na0[{}] = e\ns sum= e", "a3[p] = s",
    ),
    "times a number less a label": (
        "m: f32 = a2[p]\nl: i32 = a4[p]",
        "a0[{}] = mul(m, sub(mul(a0[{}], m), select(eq(cast.i64(l), r), 1.0:f32, 0.0:f32)))", "",
    ),
}  # fmt: skip


def compiled(text: str) -> int:
    """The address of a kernel's native function."""
    symbol = f"limit_{abs(hash(text))}"
    return native.load_object(native.compile_ir(kernel_ir(parse_kernel(text)), symbol), symbol)


def shortest(call: Callable[[], object], seconds: float = 1.0) -> float:
    """The smallest time of a call in so many seconds of calls."""
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best


def block(*arrays: np.ndarray) -> np.ndarray:
    """An argument block."""
    return np.array([a.ctypes.data for a in arrays], np.int64)


def streams(rounds: int = 10) -> None:
    """Print what memory gives to one thread and to all: in turns, so that each finds it quiet."""
    threads = default_threads()
    POOL.ensure(threads)
    launch = SIGNATURE(launch_address())
    calls: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {}
    kept: list[np.ndarray] = []
    for name, (elements, params, body, _) in STREAMS.items():
        arrays = [
            aligned_empty((elements,), np.dtype(np.float32)) for _ in range(params.count("*"))
        ]
        for a in arrays:
            a.fill(1.0)
        address = compiled(_FLAT.format(params, body) if body else _READ)
        args, extent = block(*arrays), elements if body else elements // 65536
        chunk = -(-extent // (PIECES * threads))
        chunk = -(-chunk // LANES) * LANES if body else chunk
        shared = np.array([POOL.address, address, args.ctypes.data, chunk, threads - 1], np.int64)
        kept += [*arrays, args, shared]
        calls[name] = (
            partial(SIGNATURE(address), args.ctypes.data, 0, extent),
            partial(launch, shared.ctypes.data, 0, extent),
        )
    best = dict.fromkeys(calls, (np.inf, np.inf))
    for _ in range(rounds):
        for name, pair in calls.items():
            one, both = (shortest(call, 0.15) for call in pair)
            best[name] = min(best[name][0], one), min(best[name][1], both)
    for name, (elements, _, _, size) in STREAMS.items():
        one, both = (size * elements / 1e9 / seconds for seconds in best[name])
        print(f"{name:36s} {one:6.1f} GB/s, {threads} threads {both:6.1f} GB/s")


def shared(text: str, arrays: list[np.ndarray], extent: int, chunk: int) -> Callable[[], object]:
    """A kernel over an extent, shared between the threads as a step of a plan is."""
    threads = default_threads()
    POOL.ensure(threads)
    launch, args = SIGNATURE(launch_address()), block(*arrays)
    words = np.array([POOL.address, compiled(text), args.ctypes.data, chunk, threads - 1], np.int64)

    def call() -> object:
        assert arrays and args.size  # both have to be there as long as the words are
        return launch(words.ctypes.data, 0, extent)

    return call


def works(rounds: int = 40, calls: int = 15) -> None:
    """Print works beside what they have to read and write at the least."""
    for name, least, (text, count, elements, extent) in LEAST:
        case = load(name)
        step = case.build(OURS, next(iter(case.variants)), False).step
        arrays = [aligned_empty((elements,), np.dtype(np.float32)) for _ in range(count)]
        for a in arrays:
            a.fill(1.0)
        chunk = -(-extent // (PIECES * default_threads()))
        chunk = -(-chunk // LANES) * LANES if extent == elements else 1
        both = step, shared(text, arrays, extent, chunk)
        taken: tuple[list[float], list[float]] = [], []
        for _ in range(rounds):
            for call, times in zip(both, taken, strict=True):
                for _ in range(calls):
                    start = time.perf_counter()
                    call()
                    times.append(1e3 * (time.perf_counter() - start))
        (mine, lowest), (memory, least_of_all) = ((median(t), min(t)) for t in taken)
        print(
            f"{name:14s} {mine:6.2f} ms ({lowest:.2f}), {least} {memory:6.2f} ms"
            f" ({least_of_all:.2f}): {100 * memory / mine:.0f} %"
        )
        tf.reset_default_graph()


def arithmetic(columns: int = 1024) -> None:
    """Print what an element costs one thread when nothing waits for memory."""
    at = f"add(mul(p, {columns}:i64), r)"
    texts = {name: ("", body, "") for name, body in ARITHMETIC.items()} | ROWS
    x, y = (np.linspace(-3, 3, 4 * columns, dtype=np.float32) for _ in range(2))
    m, s, labels = np.ones(4, np.float32), np.ones(4, np.float32), np.ones(4, np.int32)
    args = block(y, x, m, s, labels)
    params = "a0: mut f32*, a1: f32*, a2: mut f32*, a3: mut f32*, a4: i32*"
    for name, (before, body, after) in texts.items():
        loop = f"for r in 0:i64 .. {columns}:i64 {{\n{body.replace('{}', at)}\n}}"
        run = SIGNATURE(
            compiled(f"kernel row({params}) parallel p {{\n{before}\n{loop}\n{after}\n}}")
        )
        four, one = (  # the difference leaves out what a call costs
            shortest(partial(run, args.ctypes.data, 0, n)) for n in (4, 1)
        )
        print(f"{name:36s} {(four - one) / (3 * columns) * 1e9:6.3f} ns an element")
    print(f"{'layer norm and its gradients, a row':36s} {layer_norm():6.3f} ns an element")


def layer_norm(rows: int = 8, columns: int = 768) -> float:
    """Seconds of 1e-9 that an element of few rows takes, the sums over columns left out."""
    with tf.Graph().as_default() as graph:
        x, dy = (tf.placeholder(tf.float32, [rows, columns]) for _ in range(2))
        scale, shift = (tf.placeholder(tf.float32, [columns]) for _ in range(2))
        mean, variance = tf.nn.moments(x, [1], keep_dims=True)
        y = tf.nn.batch_normalization(x, mean, variance, shift, scale, 1e-5)
        program = function_stages(graph, [y, *tf.gradients(y, [x], grad_ys=dy)]).program
    assert program is not None
    (launch,) = program.steps
    assert isinstance(launch, Launch)
    arrays = [np.ones([int(str(d)) for d in b.dims or ()], np.float32) for b in launch.reads]
    args = block(*arrays)
    run = SIGNATURE(compiled(str(launch.kernel)))
    most, few = (shortest(partial(run, args.ctypes.data, 0, n)) for n in (rows, 1))
    return (most - few) / ((rows - 1) * columns) * 1e9


if __name__ == "__main__":
    streams()
    arithmetic()
    works()
