"""The state of one launch: which threads there are, their registers, variables and memory."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from .ptx_arithmetic import DTYPES
from .ptx_memory import Memory, Threads
from .ptx_parser import (
    SIZES,
    Function,
    Imm,
    Mem,
    Module,
    Operand,
    Reg,
    Sym,
    UnsupportedError,
    Variable,
)

Array = Any
Size = int | tuple[int, ...]
U32, I64 = np.uint32, np.int64


def _three(size: Size) -> tuple[int, int, int]:
    sizes = (size,) if isinstance(size, int) else tuple(size)
    x, y, z = (*sizes, 1, 1)[:3]
    return x, y, z


class Machine:
    """Every register is an array with one element per thread of the grid."""

    def __init__(
        self,
        module: Module,
        kernel: str,
        grid: Size,
        block: Size,
        args: list[Any],
        strict: bool,
        shared_bytes: int,
    ) -> None:
        self.function: Function = module.kernels[kernel]
        self.strict = strict
        gx, gy, gz = _three(grid)
        bx, by, bz = _three(block)
        per_block, blocks = bx * by * bz, gx * gy * gz
        self.count = per_block * blocks
        number = np.arange(self.count)
        self.everyone = number
        block_of, inside = number // per_block, number % per_block
        self.lane = inside % 32
        warps = -(-per_block // 32)
        warp_of = block_of * warps + inside // 32
        self.first_of_warp = number - self.lane
        self.threads = Threads(
            block_of, warp_of, np.zeros(blocks, I64), np.zeros(blocks * warps, I64)
        )
        self.lanes_of_warp = self.bits(number)
        special = {
            "%tid.x": inside % bx, "%tid.y": inside // bx % by, "%tid.z": inside // (bx * by),
            "%ctaid.x": block_of % gx, "%ctaid.y": block_of // gx % gy,
            "%ctaid.z": block_of // (gx * gy), "%laneid": self.lane, "%warpid": inside // 32,
        }  # fmt: skip
        fixed = {"%ntid.x": bx, "%ntid.y": by, "%ntid.z": bz, "%nctaid.x": gx, "%nctaid.y": gy,
                 "%nctaid.z": gz, "%nwarpid": warps, "WARP_SZ": 32}  # fmt: skip
        self.registers: dict[str, Array] = {n: v.astype(U32) for n, v in special.items()}
        self.registers |= {n: np.full(self.count, v, U32) for n, v in fixed.items()}
        self.registers["%carry"] = np.zeros(self.count, np.uint64)
        self.memory = Memory(self.threads)
        self.symbols: dict[str, int] = {}
        self._bind(args)
        self._place([*module.variables, *self.function.variables], blocks, shared_bytes)
        if strict:
            self._watch()

    def bits(self, who: Array) -> Array:
        """For each warp, the lanes among ``who``."""
        bits = np.zeros(len(self.threads.warp_barriers), U32)
        np.bitwise_or.at(bits, self.threads.warp[who], U32(1) << self.lane[who].astype(U32))
        return bits

    def _bind(self, args: list[Any]) -> None:
        params = self.function.params
        if len(args) != len(params):
            raise ValueError(f"{self.function.name} takes {len(params)} arguments, not {len(args)}")
        self.arguments: dict[str, Array] = {}
        for i, ((name, kind), value) in enumerate(zip(params, args, strict=True)):
            if isinstance(value, np.ndarray):
                value = np.uint64(self.memory.add_array(value, f"argument {i}"))
            if not isinstance(value, np.generic) or value.dtype.itemsize != SIZES[kind]:
                raise ValueError(f"argument {i} of {self.function.name} is a {kind}: {value!r}")
            self.arguments[name] = value

    def _place(self, variables: list[Variable], blocks: int, dynamic: int) -> None:
        """Give every variable its address."""
        sizes = {"shared": 0, "local": 0}
        for v in sorted(variables, key=lambda v: v.count is None):
            if v.space in sizes:
                start = -(-sizes[v.space] // v.align) * v.align
                self.symbols[v.name] = start
                sizes[v.space] = start + (dynamic if v.count is None else v.size)
            else:
                values = np.zeros(v.count or 0, DTYPES[v.type])
                for i, text in enumerate(v.values):
                    values[i] = literal(text, v.type)
                self.symbols[v.name] = self.memory.add_array(values, v.name)
        if sizes["shared"]:
            self.memory.add_private("shared", sizes["shared"], blocks)
        if sizes["local"]:
            self.memory.add_private("local", sizes["local"], self.count)

    def _watch(self) -> None:
        """Look for races, in units of the smallest access that the kernel makes."""
        touching = [i for i in self.function.code if i.op in ("ld", "st", "atom", "red")]
        granule = min((SIZES[i.type] for i in touching if "param" not in i.mods), default=4)
        for region in [*self.memory.regions, self.memory.shared]:
            if region is not None and region.size:
                region.watch(self.threads, granule)

    def register(self, name: str) -> Array:
        """The values of a register; zero until written."""
        found = self.registers.get(name)
        if found is None:
            kind = self.function.registers.get(name)
            if kind is None:
                raise UnsupportedError(f"unknown register {name}")
            found = self.registers[name] = np.zeros(self.count, DTYPES[kind])
        return found

    def read(self, operand: Operand, kind: str) -> Callable[[Any], Array]:
        """A function from threads to the values of an operand as type ``kind``."""
        dtype = DTYPES[kind]
        if isinstance(operand, Imm):
            constant = literal(operand.text, kind)
            return lambda ix: constant
        if isinstance(operand, Reg | Sym) and operand.name in self.symbols:
            address = dtype.type(self.symbols[operand.name])
            return lambda ix: address
        if not isinstance(operand, Reg | Sym):
            raise UnsupportedError("operand")
        values = self.register(operand.name)
        if operand == Reg(operand.name, True):
            return lambda ix: ~values[ix]
        if values.dtype == dtype:
            return lambda ix: values[ix]
        if values.dtype.itemsize == dtype.itemsize and values.dtype != bool:
            seen = values.view(dtype)
            return lambda ix: seen[ix]
        narrow = np.dtype(f"u{dtype.itemsize}")  # the low part of a wider register
        return lambda ix: values[ix].astype(narrow).view(dtype)

    def write(self, operand: Operand, kind: str) -> Callable[[Any, Array], None]:
        """A function that sets an operand, for these threads, to values of type ``kind``."""
        if not isinstance(operand, Reg):
            raise UnsupportedError("destination")
        if operand.name == "_":
            return lambda ix, value: None
        held = self.register(operand.name)
        dtype = DTYPES[kind]
        if held.dtype == dtype:

            def assign(ix: Any, value: Array) -> None:
                held[ix] = value

        elif held.dtype.itemsize == dtype.itemsize and bool not in (held.dtype, dtype):
            seen = held.view(dtype)

            def assign(ix: Any, value: Array) -> None:
                seen[ix] = value

        else:  # a narrow value in a wide register: its sign goes with it
            wide = np.dtype(f"{'i' if dtype.kind == 'i' else 'u'}{held.dtype.itemsize}")
            plain = dtype if dtype.kind in "iu" else np.dtype(f"u{dtype.itemsize}")

            def assign(ix: Any, value: Array) -> None:
                held[ix] = np.asarray(value, dtype).view(plain).astype(wide).view(held.dtype)

        return assign

    def address(self, operand: Operand) -> Callable[[Any, int], Array]:
        """A function from threads and their number to addresses."""
        if not isinstance(operand, Mem):
            raise UnsupportedError("address")
        base, offset = self.read(operand.base, "u64"), operand.offset
        return lambda ix, n: np.broadcast_to(np.asarray(base(ix)).astype(I64) + offset, n)


@functools.lru_cache(maxsize=4096)
def literal(text: str, kind: str) -> Array:
    """The value of a literal as type ``kind``."""
    dtype = DTYPES[kind]
    if text[:2] in ("0f", "0F"):
        value = np.uint32(int(text[2:], 16)).view(np.float32)
        return value.view(dtype) if dtype.itemsize == 4 else dtype.type(value)
    if text[:2] in ("0d", "0D"):
        value = np.uint64(int(text[2:], 16)).view(np.float64)
        return value.view(dtype) if dtype.itemsize == 8 else dtype.type(value)
    number = int(text.rstrip("U"), 0)
    if kind == "pred":
        return np.bool_(number)
    bits = 8 * dtype.itemsize
    return np.dtype(f"u{bits // 8}").type(number % (1 << bits)).view(dtype)
