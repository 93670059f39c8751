"""The functions that loops and branches of a plan are made of, called by hand."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import numpy as np
import pytest

from staticgraph.codegen import loop_source
from staticgraph.codegen.cache import ir_address
from staticgraph.codegen.driver import driver, walk_address
from staticgraph.codegen.loop_source import BRANCH, FUEL, LOOP, NO_LIMIT, SUSPENDED, resume


def function(text: str) -> Callable[[int, int, int], int]:
    kind = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
    return kind(ir_address(text))


@pytest.mark.parametrize("n", [0, 1, 4, 7, 8, 300])
def test_bytes_are_moved(n: int) -> None:
    source = np.arange(310, dtype=np.uint16).astype(np.uint8)
    target = np.zeros_like(source)
    block = np.array([source.ctypes.data, target.ctypes.data])
    assert function(loop_source.MOVE_SOURCE)(block.ctypes.data, 5, 5 + n) == 0
    want = np.zeros_like(source)
    want[5 : 5 + n] = source[5 : 5 + n]
    np.testing.assert_array_equal(target, want)


@pytest.mark.parametrize("position", [0, 12, -1])
def test_positions_of_random_streams_move(position: int) -> None:
    at, after, words = np.array([position]), np.zeros(1, np.int64), np.full(2, 9)
    block = np.array([at.ctypes.data, after.ctypes.data, words.ctypes.data, 5])
    assert function(loop_source.POSITION_SOURCE)(block.ctypes.data, 0, 1) == 0
    assert (after[0], words.tolist()) == (position + 5, [position, -1 if position < 0 else 0])


class Loop:
    """A loop whose one row copies 8 bytes of a sequence to a stacked output."""

    def __init__(self, trips: int, fuel: int) -> None:
        self.xs, self.ys = np.arange(10, 20), np.zeros(10, np.int64)
        self.move = np.zeros(2, np.int64)
        move = self.move.ctypes.data
        self.inner = np.array([[ir_address(loop_source.MOVE_SOURCE), move, 0, 8]])
        self.patches = np.array(
            [
                [move, self.xs.ctypes.data, 8, 0],
                [move + 8, self.ys.ctypes.data, 8, 0],
            ]
        )
        self.shared = np.zeros(len(FUEL), np.int64)
        self.shared[FUEL.index("refill")] = fuel
        self.trips = np.array([-1])
        words = {
            "table": self.inner.ctypes.data, "rows": 1, "limit": trips, "patched": 2,
            "patches": self.patches.ctypes.data, "shared": self.shared.ctypes.data,
            "outermost": 1, "cost": 1, "trips": self.trips.ctypes.data,
        }  # fmt: skip
        self.block = np.array([words.get(w, 0) for w in LOOP])
        loop = ir_address(loop_source.LOOP_SOURCE)
        self.table = np.array([[loop, self.block.ctypes.data, 0, 1]])
        self.failed = np.zeros(1, np.int64)
        self.arguments = (self.table.ctypes.data, 0, 1, self.failed.ctypes.data)

    def walk(self) -> int:
        return driver()(*self.arguments)

    def go_on(self) -> int:
        flag = self.shared.ctypes.data + 8 * FUEL.index("resume")
        return resume()(walk_address(), flag, *self.arguments, 0, 0)


@pytest.mark.parametrize("trips", [0, 1, 10])
def test_pointers_advance(trips: int) -> None:
    loop = Loop(trips, fuel=100)
    for _ in range(2):  # each time from the start
        assert loop.walk() == 0
        assert (loop.trips[0], loop.failed[0]) == (trips, 1)
        np.testing.assert_array_equal(loop.ys[:trips], loop.xs[:trips])
        assert not loop.ys[trips:].any()


def test_a_loop_without_fuel_waits_and_goes_on() -> None:
    loop = Loop(10, fuel=2)
    assert loop.walk() == SUSPENDED
    assert loop.ys.astype(bool).sum() == 3
    assert loop.go_on() == SUSPENDED
    assert loop.ys.astype(bool).sum() == 6
    loop.ys[:] = 0
    assert loop.walk() == SUSPENDED  # given up: the next walk begins anew
    np.testing.assert_array_equal(np.flatnonzero(loop.ys), [0, 1, 2])
    assert [loop.go_on() for _ in range(3)] == [SUSPENDED, SUSPENDED, 0]
    np.testing.assert_array_equal(loop.ys, loop.xs)
    assert loop.trips[0] == 10


def test_a_predicate_ends_a_loop_whose_pointer_may_turn() -> None:
    flags = np.array([1, 0], np.uint8)
    loop = Loop(NO_LIMIT, fuel=100)
    predicate = loop.block.ctypes.data + 8 * LOOP.index("predicate")
    a, b = (int(flags.ctypes.data) + k for k in (0, 1))
    turn = [predicate, a, 0, a ^ b]
    loop.patches = np.array([*loop.patches.tolist(), turn])
    loop.block[LOOP.index("patches")] = loop.patches.ctypes.data
    loop.block[LOOP.index("patched")] = 3
    loop.block[LOOP.index("predicate")] = a
    assert loop.walk() == 0
    assert loop.trips[0] == 1
    flags[0] = 0
    assert loop.walk() == 0
    assert loop.trips[0] == 0


@pytest.mark.parametrize(("index", "chosen"), [(0, 0), (1, 1), (2, 1), (-1, 1)])
def test_a_branch_walks_the_table_chosen(index: int, chosen: int) -> None:
    source, targets = np.array([7]), np.zeros((2, 1), np.int64)
    moves = np.array([[source.ctypes.data, t.ctypes.data] for t in targets])
    move = ir_address(loop_source.MOVE_SOURCE)
    tables = np.array([[[move, m.ctypes.data, 0, 8]] for m in moves])
    shared, which = np.zeros(len(FUEL), np.int64), np.array([index], np.int32)
    words = {"index": which.ctypes.data, "count": 2, "shared": shared.ctypes.data, "outermost": 1}
    block = np.array([*(words.get(w, 0) for w in BRANCH), tables[0].ctypes.data, 1,
                      tables[1].ctypes.data, 1])  # fmt: skip
    assert function(loop_source.BRANCH_SOURCE)(block.ctypes.data, 0, 1) == 0
    assert targets.ravel().tolist() == [7 * (k == chosen) for k in range(2)]
