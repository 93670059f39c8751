"""Kernels for NVIDIA GPUs: ``numba.cuda`` source, and how many blocks of threads run it.

The records are those that the CPU prints; only the parallel axis is bound differently:

    flat     threads stride over the elements; four at a time where every access is at the
             element itself and its dtype has 4 bytes
    row      one block per row, threads stride over the elements, accumulators are combined over
             the block, what belongs to the row is computed by all and stored by thread 0; rows of
             a few elements, or without a loop, get one thread each
    full     as row, with a chunk of a long reduction for a row
    column   one thread per column, rows in order, accumulators in registers

Nothing is atomic and every combination has a fixed order, so results repeat bit for bit.

A kernel is ``def NAME(parameters..., extent, status)``; `status` is there only where the kernel
checks indices.  Word 0 gets ``site + (index << 16)`` in one store, so that it is never a mixture
of two threads' reports; word `site` gets the bound.

Arrays must start at a multiple of 16 bytes, and empty ones must be readable: a load that is guarded
by a select may read element 0.  Arrays of bfloat16 are passed as their bits, uint16.
"""

from __future__ import annotations

from dataclasses import dataclass

from staticgraph.codegen.cuda_compile import CudaCode, CudaCompileError, compile_source
from staticgraph.codegen.cuda_lanes import LanePrinter, can_use_lanes, quarter
from staticgraph.ir import dtypes
from staticgraph.ir.dtypes import DType
from staticgraph.ir.kernel import (
    Accumulate,
    AccumulateArg,
    Init,
    Kernel,
    Let,
    Loop,
    Pointer,
    Statement,
    Store,
    Temp,
    expressions,
    subexpressions,
    walk,
)
from staticgraph.ir.scalar import Expr, Lit, Load, Prim, ReduceKind

THREADS = 256  # of a block, at most
RESIDENT_THREADS = 768  # per multiprocessor, at least; leaves a thread 80 registers
FLAT_BLOCKS = 4096  # at most in a flat launch; its threads stride over the rest
ROW_BLOCKS = 2**31 - 1  # what the hardware takes
SHORT_ROW = 16  # rows of at most so many elements get one thread
COLUMN_THREADS = 128
SITE_BITS = 16
ZERO = Lit(0, dtypes.int64)

_HEAD = """import numpy as np
from numba import cuda
from numba.cuda.types import float16
from staticgraph.codegen import cuda_intrinsics as gpu


"""
_STORAGE = {"bf16": "u16"}
_BLOCK = {"sum": "sum", "prod": "prod", "max": "max", "min": "min", "all": "min", "any": "max"}


@dataclass(frozen=True, slots=True)
class CudaLaunch:
    """Threads per block, and the rule for the number of blocks."""

    block: int
    per_block: int = 1  # iterations of the parallel axis that one block takes at once
    parts: int = 1  # blocks that share these iterations
    limit: int = ROW_BLOCKS

    def blocks(self, extent: int) -> int:
        """How many blocks run a kernel over ``[0, extent)``; 0 says that there is nothing to do."""
        return min(-(-extent // self.per_block) * self.parts, self.limit)

    @property
    def bounds(self) -> tuple[int, int]:
        """The compiler's launch bounds: largest block, blocks per multiprocessor."""
        return self.block, RESIDENT_THREADS // self.block


@dataclass(frozen=True, slots=True)
class CudaKernel:
    """A printed kernel.  `signature` has one string per argument, see ``cuda_compile.SCALARS``.

    `checks` is the number of index checks; with any, the last argument is ``1 + checks`` words of
    status, cleared by the caller.
    """

    source: str
    name: str
    signature: tuple[str, ...]
    launch: CudaLaunch
    checks: int


def cuda_kernel(kernel: Kernel, name: str | None = None) -> CudaKernel:
    """Print a kernel for CUDA; equal kernels give equal text.

    Args:
      name: of the entry point, as profilers show it; by default the form's.

    Raises:
      CudaCompileError: a row or column kernel that is not of the schedule's making.
    """
    printer = CudaPrinter(kernel)
    launch = printer.schedule()
    signature = [
        f"ptr_{_STORAGE.get(p.dtype.short, p.dtype.short)}" if isinstance(p, Pointer) else "i64"
        for p in kernel.params
    ]
    names = [f"{'a' if isinstance(p, Pointer) else 's'}{i}" for i, p in enumerate(kernel.params)]
    names.append("extent")
    signature.append("i64")
    checks = kernel.checks()
    if checks:
        names.append("status")
        signature.append("ptr_i64")
    name = name or f"{kernel.form}_kernel"
    head = f"{_HEAD}def {name}({', '.join(names)}):\n"
    return CudaKernel(
        head + "\n".join(printer.lines) + "\n", name, tuple(signature), launch, checks
    )


def compile_cuda(kernel: Kernel | CudaKernel, cc: tuple[int, int] = (9, 0)) -> CudaCode:
    """Compile a kernel for compute capability `cc`; needs no GPU.

    Raises:
      MissingExtraError: the optional packages are not installed.
    """
    k = cuda_kernel(kernel) if isinstance(kernel, Kernel) else kernel
    return compile_source(k.source, k.name, k.signature, cc, k.launch.bounds)


def read_status(words: list[int]) -> tuple[int, int, int] | None:
    """The failed check of a run: its number from 1, the index and the bound; None without one."""
    if words[0] == 0:
        return None
    site = words[0] & ((1 << SITE_BITS) - 1)
    return site, words[0] >> SITE_BITS, words[site]


class CudaPrinter(LanePrinter):
    """Prints a kernel with its parallel axis bound to blocks and threads."""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self.uniform = False  # the whole block executes this for one row
        self.written: set[int] = set()  # since the last barrier, by this block
        self.promoted: frozenset[int] = frozenset()
        self.threads = THREADS

    def schedule(self) -> CudaLaunch:
        """Print the body; say how it is launched."""
        body = self.kernel.body
        if self.kernel.form == "column":
            return self.columns()
        if self.kernel.form == "flat":
            return self.flat()
        length = _static_length(body)
        if length is not None and length <= SHORT_ROW:
            return self.strided()
        return self.rows(length)

    # ---- flat
    def flat(self) -> CudaLaunch:
        """Threads stride over elements, or over groups of four."""
        if not can_use_lanes(self.kernel, "p", ZERO, self.kernel.body):
            return self.strided()
        self.lines += ["    thread = cuda.grid(1)", "    q = thread", "    while q < extent >> 2:"]
        self.lanes(self.kernel.body, "p", "        ")
        self.lines += ["        q += cuda.gridsize(1)", "    p = (extent & -4) + thread"]
        self.lines.append("    if p < extent:")
        self.body(self.kernel.body, "        ")
        return CudaLaunch(THREADS, 4 * THREADS, limit=FLAT_BLOCKS)

    def strided(self) -> CudaLaunch:
        """One thread for each iteration of the parallel axis at a time."""
        self.lines += ["    p = cuda.grid(1)", "    while p < extent:"]
        self.body(self.kernel.body, "        ")
        self.lines.append("        p += cuda.gridsize(1)")
        return CudaLaunch(THREADS, THREADS, limit=FLAT_BLOCKS)

    # ---- row and full
    def rows(self, length: int | None) -> CudaLaunch:
        """One block per row; the blocks stride over the rows if there are very many."""
        body = self.kernel.body
        loops = [s for s in walk(body) if isinstance(s, Loop)]
        if length is not None:
            quad = all(can_use_lanes(self.kernel, s.var, s.start, s.body) for s in _leaves(loops))
            work = -(-length // 4) if quad else length
            self.threads = min(THREADS, max(32, -(-work // 32) * 32))
        self.lines += [
            "    thread = np.int64(cuda.threadIdx.x)",
            "    p = np.int64(cuda.blockIdx.x)",
            "    while p < extent:",
        ]
        self.row(body, "        ")
        self.lines.append("        p += np.int64(cuda.gridDim.x)")
        return CudaLaunch(self.threads)

    def row(self, body: tuple[Statement, ...], pad: str) -> None:
        """Print the passes over a row; in a chunk of rows, over one after the other."""
        for s in body:
            self.uniform = True
            if _loads(s) & self.written:
                self.lines.append(f"{pad}cuda.syncthreads()")
                self.written = set()
            if isinstance(s, Loop) and s.var == "row":
                span = f"{self.expr(s.start)}, {self.expr(s.stop)}"
                self.lines.append(f"{pad}for row in range({span}):")
                self.row(s.body, pad + "    ")
            elif isinstance(s, Loop) and s.var == "t" and self.kernel.form == "tile":
                self.tiles(s, pad)
            elif isinstance(s, Loop):
                self.distribute(s, pad)
                self.combine(s, pad)
            else:
                self.statement(s, pad)
            self.written |= _stores(s)

    def tiles(self, loop: Loop, pad: str) -> None:
        """Print a loop over tiles, all threads of the block in one of them at a time."""
        span = f"{self.expr(loop.start)}, {self.expr(loop.stop)}"
        self.lines.append(f"{pad}for {loop.var} in range({span}):")
        self.row(loop.body, pad + "    ")
        self.lines.append(f"{pad}    cuda.syncthreads()")  # the next tile has the same block
        self.written = set()

    def distribute(self, loop: Loop, pad: str) -> None:
        """Print a loop over the elements of a row, shared among the threads of the block."""
        if any(len(_places(loop, param)) > 1 for param in _loads(loop) & _stores(loop)):
            raise CudaCompileError("a row reads what another thread writes in the same pass")
        nest = _nest(loop)
        if len(nest) > 1:
            self.flattened(nest, pad)
        elif any(isinstance(s, Loop) for s in loop.body):  # blocks of a sum; elements inside
            span = f"{self.expr(loop.start)}, {self.expr(loop.stop)}"
            self.lines.append(f"{pad}for {loop.var} in range({span}):")
            for s in loop.body:
                if isinstance(s, Loop):
                    self.distribute(s, pad + "    ")
                else:
                    self.statement(s, pad + "    ")
        else:
            self.elements(loop, pad)

    def elements(self, loop: Loop, pad: str) -> None:
        """Print a loop with nothing but elements in it."""
        var, stop = loop.var, self.expr(loop.stop)
        self.uniform = False
        if not isinstance(loop.stop, Lit | Temp):
            self.lines.append(f"{pad}stop = {stop}")
            stop = "stop"
        if can_use_lanes(self.kernel, var, loop.start, loop.body):
            first = quarter(loop.start)
            assert first is not None
            self.lines += [f"{pad}q = {self.offset(first)}", f"{pad}while q < {stop} >> 2:"]
            self.lanes(loop.body, var, pad + "    ")
            self.lines.append(f"{pad}    q += {self.threads}")
            if not isinstance(loop.stop, Lit) or int(loop.stop.value) % 4:
                self.lines += [f"{pad}{var} = ({stop} & -4) + thread", f"{pad}if {var} < {stop}:"]
                self.body(loop.body, pad + "    ")
        else:
            self.lines.append(f"{pad}{var} = {self.offset(loop.start)}")
            self.lines.append(f"{pad}while {var} < {stop}:")
            self.body(loop.body, pad + "    ")
            self.lines.append(f"{pad}    {var} += {self.threads}")
        self.uniform = True

    def offset(self, first: Expr) -> str:
        """This thread's first position."""
        return "thread" if first == ZERO else f"{self.expr(first)} + thread"

    def flattened(self, nest: list[Loop], pad: str) -> None:
        """Print a perfect nest as one loop over its elements."""
        stops = [self.expr(s.stop) for s in nest]
        self.lines += [f"{pad}q = thread", f"{pad}while q < {' * '.join(stops)}:"]
        inner, rest = pad + "    ", "q"
        for k in range(len(nest) - 1, 0, -1):
            self.lines.append(f"{inner}{nest[k].var} = gpu.mod({rest}, {stops[k]})")
            name = nest[0].var if k == 1 else f"q{k}"
            self.lines.append(f"{inner}{name} = gpu.floordiv({rest}, {stops[k]})")
            rest = name
        self.uniform = False
        self.body(nest[-1].body, inner)
        self.uniform = True
        self.lines.append(f"{inner}q += {self.threads}")

    def combine(self, loop: Loop, pad: str) -> None:
        """Combine over the block what its threads accumulated in a loop."""
        inits = {s.name: s for s in walk(self.kernel.body) if isinstance(s, Init)}
        local = {s.name for s in walk(loop.body) if isinstance(s, Init)}
        done = set(local)
        for s in walk(loop.body):
            if isinstance(s, Accumulate | AccumulateArg) and s.name not in done:
                done.add(s.name)
                self.written = set()  # a reduction over the block has barriers
                if isinstance(s, Accumulate):
                    self.over_block(s.name, s.kind, inits[s.name].dtype, pad)
                else:
                    self.first_extreme(s.name, s.kind, inits[s.name].dtype, pad)

    def over_block(self, name: str, kind: ReduceKind, dtype: DType, pad: str) -> None:
        """Print the combination of one accumulator."""
        wide = _carrier(dtype)
        text = f"gpu.block_{_BLOCK[kind]}({self.carry(name, dtype, wide)})"
        self.lines.append(f"{pad}{name} = {self.carry(text, wide, dtype)}")

    def carry(self, text: str, source: DType, target: DType) -> str:
        """Convert between an accumulator's dtype and the one that it is combined in."""
        if source is target:
            return text
        return f"({text} != 0)" if target.is_bool else f"np.{target.name}({text})"

    def first_extreme(self, name: str, kind: ReduceKind, dtype: DType, pad: str) -> None:
        """Combine argmax or argmin: the extreme of all, then the first place that has it."""
        wide = _carrier(dtype)
        best = f"gpu.block_{kind[3:]}({self.carry(f'{name}_best', dtype, wide)})"
        self.lines += [
            f"{pad}{name}_all = {best}",
            f"{pad}{name}_own = {self.carry(f'{name}_best', dtype, wide)}",
            f"{pad}{name}_is = not {name}_none and ({name}_own == {name}_all or "
            f"{name}_own != {name}_own)",
            f"{pad}{name} = gpu.block_min({name} if {name}_is else np.int64({2**63 - 1}))",
            f"{pad}{name} = {name} if {name} != {2**63 - 1} else np.int64(0)",
        ]

    # ---- column
    def columns(self) -> CudaLaunch:
        """One thread per column: what the text does for each column of a block, for one column."""
        first, last, *body = self.kernel.body
        match first:
            case Let("j0", Prim("mul", (Temp("p"), Lit(width)))):
                parts = max(1, int(width) // COLUMN_THREADS)
            case _:
                raise CudaCompileError("a column kernel that does not begin with its first column")
        self.promoted = self._promotable()
        pad = "    "
        self.lines += [
            f"{pad}thread = np.int64(cuda.threadIdx.x)",
            f"{pad}block = np.int64(cuda.blockIdx.x)",
            f"{pad}p = block // {parts}",
        ]
        self.body((first, last), pad)
        self.lines.append(f"{pad}j = j0 + (block - p * {parts}) * {COLUMN_THREADS} + thread")
        self.lines.append(f"{pad}if p < extent and j < j1:")
        self.body(tuple(body), pad * 2)
        for k in sorted(self.promoted):
            p = self.kernel.params[k]
            assert isinstance(p, Pointer)
            text = f"np.uint8(m{k})" if p.dtype.is_bool else f"m{k}"
            self.lines.append(f"{pad * 2}a{k}[j] = {text}")
        return CudaLaunch(COLUMN_THREADS, parts=parts)

    def _promotable(self) -> frozenset[int]:
        """Parameters that are only touched at the thread's own column live in a register."""
        j = Temp("j", dtypes.int64)
        stored: set[int] = set()
        elsewhere: set[int] = set()
        for s in walk(self.kernel.body):
            for e in expressions(s):
                for x in subexpressions(e):
                    if isinstance(x, Load) and x.index != (j,):
                        elsewhere.add(x.operand)
            if isinstance(s, Store):
                (stored if s.index == j else elsewhere).add(s.param)
        return frozenset(
            k
            for k in stored - elsewhere
            if self.kernel.params[k].dtype.size != 2  # type: ignore[union-attr]
        )

    # ---- statements
    def statement(self, s: Statement, pad: str) -> None:
        if isinstance(s, Loop) and s.var == "j" and self.kernel.form == "column":
            self.body(s.body, pad)
        else:
            super().statement(s, pad)

    def store(self, param: int, index: Expr, value: Expr, pad: str) -> None:
        if param in self.promoted:
            self.lines.append(f"{pad}m{param} = {self.expr(value)}")
            return
        if self.uniform:
            self.lines.append(f"{pad}if thread == 0:")
            pad += "    "
        super().store(param, index, value, pad)

    def load(self, param: int, index: Expr) -> str:
        return f"m{param}" if param in self.promoted else super().load(param, index)

    def check(self, name: str, i: Expr, bound: Expr, pad: str) -> None:
        self.site += 1
        limit, inner = self.expr(bound), pad + "    "
        self.lines += [f"{pad}{name} = {self.expr(i)}", f"{pad}if {name} < 0 or {name} >= {limit}:"]
        if self.uniform:
            self.lines.append(f"{inner}if thread == 0:")
        deep = inner + "    " * self.uniform
        self.lines += [
            f"{deep}status[0] = {self.site} + ({name} << {SITE_BITS})",
            f"{deep}status[{self.site}] = {limit}",
            f"{inner}{name} = 0",
        ]


def _carrier(dtype: DType) -> DType:
    """The dtype that values of `dtype` are exchanged in between threads."""
    if dtype in (dtypes.float32, dtypes.float64, dtypes.int32, dtypes.int64, dtypes.uint64):
        return dtype
    if dtype.is_floating:
        return dtypes.float32
    return dtypes.int64 if dtype is dtypes.uint32 else dtypes.int32


def _nest(loop: Loop) -> list[Loop]:
    """The loops of a perfect nest that starts at 0 in each."""
    nest, s = [loop], loop
    while len(s.body) == 1 and isinstance(s.body[0], Loop) and s.start == ZERO:
        s = s.body[0]
        nest.append(s)
    return nest if s.start == ZERO else [loop]


def _leaves(loops: list[Loop]) -> list[Loop]:
    return [s for s in loops if not any(isinstance(x, Loop) for x in s.body)]


def _static_length(body: tuple[Statement, ...]) -> int | None:
    """The elements of the longest pass over a row, 0 without passes, None if not known."""
    longest = 0
    for s in body:
        if not isinstance(s, Loop):
            continue
        n = 1
        for part in _nest(s):
            if not (isinstance(part.start, Lit) and isinstance(part.stop, Lit)):
                return None
            n *= int(part.stop.value) - int(part.start.value)
        if any(isinstance(x, Loop) for x in _nest(s)[-1].body):
            return None
        longest = max(longest, n)
    return longest


def _places(s: Statement, param: int) -> set[Expr]:
    """The indices at which a statement reads and writes a parameter."""
    out: set[Expr] = set()
    for inner in walk((s,)):
        if isinstance(inner, Store) and inner.param == param:
            out.add(inner.index)
        for e in expressions(inner):
            for x in subexpressions(e):
                if isinstance(x, Load) and x.operand == param:
                    out.add(x.index[0])
    return out


def _loads(s: Statement) -> set[int]:
    """Parameters that a statement reads from."""
    return {
        x.operand
        for part in walk((s,))
        for e in expressions(part)
        for x in subexpressions(e)
        if isinstance(x, Load)
    }


def _stores(s: Statement) -> set[int]:
    """Parameters that a statement writes to."""
    return {part.param for part in walk((s,)) if isinstance(part, Store)}


__all__ = ["CudaKernel", "CudaLaunch", "compile_cuda", "cuda_kernel", "read_status"]
