"""What each instruction of PTX does to a machine; plain arithmetic comes from ``ptx_arithmetic``.

An instruction is decoded once per launch, into a function of the threads that execute it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .ptx_arithmetic import DTYPES, multiply_high, operation
from .ptx_machine import Machine
from .ptx_memory import LOCAL_WINDOW, SHARED_WINDOW
from .ptx_parser import SIZES, Instruction, Mem, PtxError, Reg, UnsupportedError, Vec

Array = Any
Step = Callable[[Any, Array], None]  # the threads as an index (a slice or numbers), their numbers
U32, I64 = np.uint32, np.int64


class DivergenceError(PtxError):
    """A warp-wide instruction that threads of its mask, or the thread it reads, do not reach."""


def decode(machine: Machine, ins: Instruction) -> Step:
    """The function that executes an instruction, with its operands looked up."""
    special = _SPECIAL.get(ins.op)
    if special is not None:
        return special(machine, ins)
    if "cc" in ins.mods or ins.op in ("addc", "subc", "madc"):
        return _carrying(machine, ins)
    found = operation(ins.op, ins.mods, ins.type)
    if found is None:
        raise UnsupportedError("unknown instruction")
    function, kinds, result = found
    reads = [machine.read(a, k) for a, k in zip(ins.args[1:], kinds, strict=True)]
    if ins.op == "setp":
        targets = ins.args[0].items if isinstance(ins.args[0], Vec) else (ins.args[0],)
        writes = [machine.write(t, "pred") for t in targets]

        def compare(ix: Any, who: Array) -> None:
            for write, value in zip(writes, function(*[r(ix) for r in reads]), strict=False):
                write(ix, value)

        return compare
    write = machine.write(ins.args[0], result)
    if len(reads) == 1:
        only = reads[0]
        return lambda ix, who: write(ix, function(only(ix)))
    if len(reads) == 2:
        left, right = reads
        return lambda ix, who: write(ix, function(left(ix), right(ix)))
    return lambda ix, who: write(ix, function(*[r(ix) for r in reads]))


def _carrying(machine: Machine, ins: Instruction) -> Step:
    """Multi-word additions and products of 32-bit words, with the carry kept between them."""
    if SIZES[ins.type] != 4:
        raise UnsupportedError("carry of a 64-bit word")
    reads = [machine.read(a, "u32") for a in ins.args[1:]]
    write, carry = machine.write(ins.args[0], "u32"), machine.registers["%carry"]
    uses, sets = ins.op.endswith("c"), "cc" in ins.mods
    one, half = np.uint64(1), np.uint64(32)

    def step(ix: Any, who: Array) -> None:
        x, y, *rest = (np.asarray(r(ix)) for r in reads)
        if rest:
            x, y = (multiply_high(x, y) if "hi" in ins.mods else x * y), rest[0]
        x, y = x.astype(np.uint64), y.astype(np.uint64)
        given = carry[ix] if uses else np.uint64(0)
        total = x - y - given if ins.op.startswith("sub") else x + y + given
        write(ix, total.astype(U32))
        if sets:
            carry[ix] = (total >> half) & one  # of a difference: the borrow

    return step


def _move(machine: Machine, ins: Instruction) -> Step:
    to, source, kind = ins.args[0], ins.args[1], ins.type
    if isinstance(to, Vec):
        size = SIZES[kind] // len(to.items)
        part = f"b{8 * size}"
        writes = [machine.write(t, part) for t in to.items]
        read = machine.read(source, kind)

        def unpack(ix: Any, who: Array) -> None:
            words = np.ascontiguousarray(np.broadcast_to(read(ix), who.shape)).view(DTYPES[part])
            for k, write in enumerate(writes):
                write(ix, words[k :: len(writes)])

        return unpack
    write = machine.write(to, kind)
    if isinstance(source, Vec):
        part = f"b{8 * SIZES[kind] // len(source.items)}"
        reads = [machine.read(s, part) for s in source.items]

        def pack(ix: Any, who: Array) -> None:
            words = np.stack([np.broadcast_to(r(ix), who.shape) for r in reads], axis=1)
            write(ix, words.reshape(-1).view(DTYPES[kind]))

        return pack
    value = machine.read(source, kind)
    return lambda ix, who: write(ix, value(ix))


def _convert_address(machine: Machine, ins: Instruction) -> Step:
    """``cvta``: generic addresses show shared and local memory in windows below the arrays."""
    windows = {"shared": SHARED_WINDOW, "local": LOCAL_WINDOW}
    base = next((windows[m] for m in ins.mods if m in windows), 0)
    shift = np.array(-base if "to" in ins.mods else base, I64).view(np.uint64)
    read, write = machine.read(ins.args[1], "u64"), machine.write(ins.args[0], "u64")
    return lambda ix, who: write(ix, read(ix) + shift)


def _space(ins: Instruction) -> str:
    spaces = {"global", "shared", "local", "const"}
    found = next((m for m in ins.mods if m in spaces), "generic")
    return "global" if found == "const" else found


def _load(machine: Machine, ins: Instruction) -> Step:
    kind = ins.type
    if "param" in ins.mods and isinstance(ins.args[1], Mem):
        name = getattr(ins.args[1].base, "name", "")
        value, write = machine.arguments[name].view(DTYPES[kind]), machine.write(ins.args[0], kind)
        return lambda ix, who: write(ix, value)
    targets = ins.args[0].items if isinstance(ins.args[0], Vec) else (ins.args[0],)
    writes = [machine.write(t, kind) for t in targets]
    address, space = machine.address(ins.args[1]), _space(ins)
    cached = "nc" in ins.mods

    def step(ix: Any, who: Array) -> None:
        values = machine.memory.load(space, address(ix, len(who)), who, kind, len(writes), cached)
        for write, value in zip(writes, values, strict=True):
            write(ix, value)

    return step


def _store(machine: Machine, ins: Instruction) -> Step:
    kind = ins.type
    sources = ins.args[1].items if isinstance(ins.args[1], Vec) else (ins.args[1],)
    reads = [machine.read(s, kind) for s in sources]
    address, space = machine.address(ins.args[0]), _space(ins)

    def step(ix: Any, who: Array) -> None:
        machine.memory.store(space, address(ix, len(who)), who, kind, [r(ix) for r in reads])

    return step


_ATOMIC: dict[str, Callable[..., Array]] = {
    "add": lambda old, new: old + new,
    "min": lambda old, new: min(old, new),
    "max": lambda old, new: max(old, new),
    "and": lambda old, new: old & new,
    "or": lambda old, new: old | new,
    "xor": lambda old, new: old ^ new,
    "exch": lambda old, new: new,
    "cas": lambda old, expected, new: new if old == expected else old,
    "inc": lambda old, limit: old * 0 if old >= limit else old + 1,
    "dec": lambda old, limit: limit if old == 0 or old > limit else old - 1,
}


def _atomic(machine: Machine, ins: Instruction) -> Step:
    args = ins.args if ins.op == "atom" else (Reg("_"), *ins.args)
    function = next(_ATOMIC[m] for m in ins.mods if m in _ATOMIC)
    kind, space, address = ins.type, _space(ins), machine.address(args[1])
    reads, write = [machine.read(a, kind) for a in args[2:]], machine.write(args[0], kind)

    def step(ix: Any, who: Array) -> None:
        places = address(ix, len(who))
        operands = [np.broadcast_to(r(ix), who.shape) for r in reads]
        before = np.empty(len(who), DTYPES[kind])
        for i in range(len(who)):  # one thread after the other, in their order
            cells, at = machine.memory.element(space, places[i : i + 1], who[i : i + 1], kind)
            before[i] = cells[at]
            cells[at] = function(cells[at], *(o[i] for o in operands))
        write(ix, before)

    return step


def _shuffle(machine: Machine, ins: Instruction) -> Step:
    mode = next(m for m in ins.mods if m in ("up", "down", "bfly", "idx"))
    to = ins.args[0].items if isinstance(ins.args[0], Vec) else (ins.args[0],)
    write = machine.write(to[0], "b32")
    write_valid = machine.write(to[1], "pred") if len(to) > 1 else None
    value, amount, clamp = (machine.read(a, "u32") for a in ins.args[1:4])
    given = np.zeros(machine.count, U32)

    def step(ix: Any, who: Array) -> None:
        b = np.asarray(amount(ix)).astype(I64) & 31
        c = np.asarray(clamp(ix)).astype(I64)
        lane, segment = machine.lane[who], (c >> 8) & 31
        lowest, highest = lane & segment, (lane & segment) | (c & 31 & ~segment)
        source = {"up": lane - b, "down": lane + b, "bfly": lane ^ b}.get(
            mode, lowest | (b & ~segment)
        )
        valid = source >= highest if mode == "up" else source <= highest
        source = machine.first_of_warp[who] + np.where(valid, source, lane)
        present = np.zeros(machine.count + 32, bool)
        present[who] = True
        same_warp = machine.threads.warp[np.minimum(source, machine.count - 1)]
        if not (present[source] & (same_warp == machine.threads.warp[who])).all():
            raise DivergenceError("a shuffle reads a thread that does not take part")
        given[ix] = value(ix)
        write(ix, given[source])
        if write_valid is not None:
            write_valid(ix, valid)

    return step


def _vote(machine: Machine, ins: Instruction) -> Step:
    mode = next(m for m in ins.mods if m in ("all", "any", "uni", "ballot"))
    holds = machine.read(ins.args[1], "pred")
    write = machine.write(ins.args[0], "b32" if mode == "ballot" else "pred")

    def step(ix: Any, who: Array) -> None:
        yes = machine.bits(who[np.broadcast_to(holds(ix), who.shape)])[machine.threads.warp[who]]
        here = machine.bits(who)[machine.threads.warp[who]]
        answers = {"ballot": yes, "any": yes != 0, "all": yes == here}
        write(ix, answers.get(mode, (yes == 0) | (yes == here)))

    return step


def _active(machine: Machine, ins: Instruction) -> Step:
    write = machine.write(ins.args[0], "b32")
    return lambda ix, who: write(ix, machine.bits(who)[machine.threads.warp[who]])


def _warp_barrier(machine: Machine, ins: Instruction) -> Step:
    def step(ix: Any, who: Array) -> None:
        machine.threads.warp_barriers[np.unique(machine.threads.warp[who])] += 1

    return step


def _nothing(machine: Machine, ins: Instruction) -> Step:
    return lambda ix, who: None


_SPECIAL: dict[str, Callable[[Machine, Instruction], Step]] = {
    "mov": _move,
    "cvta": _convert_address,
    "ld": _load,
    "ldu": _load,
    "st": _store,
    "atom": _atomic,
    "red": _atomic,
    "shfl": _shuffle,
    "vote": _vote,
    "activemask": _active,
    "bar": _warp_barrier,
    "membar": _nothing,
    "fence": _nothing,
    "prefetch": _nothing,
    "nanosleep": _nothing,
}
