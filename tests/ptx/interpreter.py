"""Runs PTX on NumPy, all threads of the grid at once: the GPU of a machine without one.

``run_ptx(ptx, kernel, grid, block, args)`` executes one launch. Each register is an array with one
element per thread and each instruction one NumPy operation on the threads that are at it. Threads
keep their own program counters; those at the lowest one go first, which brings divergent branches
of structured code back together. Faults are exceptions that name the line of the PTX:

  OutOfBoundsError, MisalignedError, ReadOnlyError   memory
  DivergenceError     a shuffle or vote whose mask names threads that do not take part
  BarrierError        a barrier that part of a block waits at while the rest is elsewhere or gone
  RaceError           shared or global memory touched by two threads with nothing to order them

``strict=False`` turns off the race check and lets threads leave the kernel before a barrier.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .ptx_instructions import DivergenceError, Step, decode
from .ptx_machine import Machine, Size
from .ptx_memory import MisalignedError, OutOfBoundsError, RaceError, ReadOnlyError
from .ptx_parser import Imm, Instruction, PtxError, Sym, UnsupportedError, parse

__all__ = [
    "BarrierError",
    "DivergenceError",
    "MisalignedError",
    "OutOfBoundsError",
    "PtxError",
    "RaceError",
    "ReadOnlyError",
    "UnsupportedError",
    "run_ptx",
]

Array = Any
RUNNING, AT_BARRIER, AT_SHUFFLE, GONE = range(4)
STEP_LIMIT = 5_000_000


class BarrierError(PtxError):
    """A barrier that the threads of a block do not reach together."""


def run_ptx(
    ptx: str,
    kernel: str,
    grid: Size,
    block: Size,
    args: list[Any],
    *,
    strict: bool = True,
    shared_bytes: int = 0,
) -> None:
    """Launch ``kernel``. Arrays are passed as pointers and changed in place; NumPy scalars as such.

    ``shared_bytes`` is the size of dynamic shared memory.
    """
    module = parse(ptx)
    if kernel not in module.kernels:
        raise ValueError(f"no kernel {kernel!r}; this PTX has {sorted(module.kernels)}")
    with np.errstate(all="ignore"):
        _Schedule(Machine(module, kernel, grid, block, args, strict, shared_bytes)).run()


class _Schedule:
    """Which threads execute which instruction next."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.code = machine.function.code
        self.labels = machine.function.labels
        self.leaders = set(self.labels.values())
        self.steps: list[Step | None] = [None] * len(self.code)
        self.pc = np.zeros(machine.count, np.int64)
        self.state = np.full(machine.count, RUNNING, np.int8)

    def run(self) -> None:
        """Until every thread has left the kernel."""
        taken = 0
        while not (self.state == GONE).all():
            running = self.state == RUNNING
            if not running.any():
                self._release()
                continue
            position: int | None = int(self.pc[running].min())
            here = np.flatnonzero((self.pc == position) & (running | (self.state == AT_SHUFFLE)))
            self.state[here] = RUNNING
            together = len(here) == np.count_nonzero(self.state != GONE)
            while position is not None:
                if position >= len(self.code):
                    self.state[here] = GONE
                    break
                taken += 1
                if taken > STEP_LIMIT:
                    raise PtxError(f"no end after {STEP_LIMIT} steps")
                ins = self.code[position]
                try:
                    position = self._advance(ins, position, here)
                except PtxError as error:
                    raise type(error)(f"{error}, {ins.where()}") from None
                except (NotImplementedError, KeyError, IndexError, AttributeError) as error:
                    raise UnsupportedError(f"{error!r}, {ins.where()}") from error
                if not together and position in self.leaders:
                    self.pc[here] = position
                    break

    def _advance(self, ins: Instruction, position: int, here: Array) -> int | None:
        """Execute one instruction; the next position if all of ``here`` go there, else None."""
        chosen = here
        if ins.guard is not None:
            holds = self.machine.registers[ins.guard.name][here] != ins.guard.negated
            chosen = here if holds.all() else here[holds]
        if ins.op in ("bra", "ret", "exit"):
            return self._jump(ins, position, here, chosen)
        ready = chosen
        if ins.op in ("bar", "barrier", "shfl", "vote"):
            if "warp" not in ins.mods and ins.op[:3] == "bar":
                return self._barrier(ins, position, here, chosen)
            ready = self._gather(ins, position, here, chosen)
        step = self.steps[position]
        if step is None:
            step = self.steps[position] = decode(self.machine, ins)
        if len(ready):
            step(slice(None) if len(ready) == self.machine.count else ready, ready)
        if len(ready) == len(chosen):
            return position + 1
        late = np.setdiff1d(chosen, ready)
        self.pc[here] = position + 1
        self.pc[late] = position
        self.state[late] = AT_SHUFFLE
        return None

    def _jump(self, ins: Instruction, position: int, here: Array, chosen: Array) -> int | None:
        target = len(self.code)
        if ins.op == "bra" and isinstance(ins.args[0], Sym):
            target = self.labels[ins.args[0].name]
        if len(chosen) == len(here):
            return target
        if not len(chosen):
            return position + 1
        self.pc[here] = position + 1
        self.pc[chosen] = target
        if target == len(self.code):
            self.state[chosen] = GONE
        return None

    def _barrier(self, ins: Instruction, position: int, here: Array, chosen: Array) -> int | None:
        if not isinstance(ins.args[0], Imm) or len(ins.args) > 1 or "red" in ins.mods:
            raise UnsupportedError("barrier for part of a block")
        if len(chosen) == self.machine.count:
            self.machine.threads.barriers += 1
            return position + 1
        self.pc[here] = position + 1
        self.pc[chosen] = position
        self.state[chosen] = AT_BARRIER
        return None

    def _release(self) -> None:
        """Nobody runs: open the barriers that are complete, or say why there is none."""
        threads = self.machine.threads
        waiting = self.state == AT_BARRIER
        if waiting.all() and (self.pc == self.pc[0]).all():
            threads.barriers += 1
            self.pc += 1
            self.state[:] = RUNNING
            return
        blocked = np.unique(threads.block[self.state == AT_SHUFFLE])
        ready = np.setdiff1d(np.unique(threads.block[waiting]), blocked)
        for block in ready:
            members = np.flatnonzero(threads.block == block)
            gone = members[self.state[members] == GONE]
            at = members[self.state[members] == AT_BARRIER]
            places = self.pc[at]
            first, *others = (int(p) for p in np.unique(places))
            if self.machine.strict and len(gone):
                name = threads.name(int(gone[0]))
                raise BarrierError(f"{name} left before the barrier, {self.code[first].where()}")
            for other in others:
                torn = np.isin(threads.warp[at[places == other]], threads.warp[at[places == first]])
                if self.machine.strict or torn.any():
                    raise BarrierError(
                        f"threads of block {int(block)} wait at different barriers: "
                        f"{self.code[first].where()} and {self.code[other].where()}"
                    )
            threads.barriers[block] += 1
            self.pc[at] += 1
            self.state[at] = RUNNING
        if not len(ready):
            stuck = int(np.flatnonzero(self.state == AT_SHUFFLE)[0])
            raise DivergenceError(
                f"{threads.name(stuck)} waits for threads of its warp that do not come, "
                f"{self.code[int(self.pc[stuck])].where()}"
            )

    def _gather(self, ins: Instruction, position: int, here: Array, chosen: Array) -> Array:
        """The threads whose warps are complete at a warp-wide instruction; the others wait."""
        machine = self.machine
        mask = np.broadcast_to(machine.read(ins.args[-1], "u32")(chosen), chosen.shape)
        if len(chosen) == machine.count and (mask == 0xFFFFFFFF).all():
            return chosen
        warp, lane = machine.threads.warp[chosen], machine.lane[chosen].astype(np.uint32)
        if not ((mask >> lane) & 1).all():
            raise DivergenceError("a thread is not in its own mask")
        missing = mask & machine.lanes_of_warp[warp] & ~machine.bits(chosen)[warp]
        if not missing.any():
            return chosen
        passed = np.setdiff1d(here, chosen)
        never = machine.bits(np.concatenate([passed, np.flatnonzero(self.state == GONE)]))[warp]
        if (missing & never).any():
            name = machine.threads.name(int(chosen[np.argmax(missing & never != 0)]))
            raise DivergenceError(f"{name}: its mask names threads that do not take part")
        return chosen[~np.isin(warp, warp[missing != 0])]
