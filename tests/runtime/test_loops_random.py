"""Bodies made by Hypothesis: native loops agree with stepwise ones and with numpy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from staticgraph.ir.function import Value
from tests.runtime.loop_bodies import I32, agree, case, number, op, program, repeat_while, scan

UNARY, BINARY = ("Tanh", "Neg", "Sin"), ("Add", "Sub", "Mul", "Maximum")
SHAPE = (2,)


class Bodies:
    """Draws bodies whose values are all of one shape."""

    def __init__(self, draw: Callable[..., Any]) -> None:
        self.draw = draw

    def some(self, values: list[Value], n: int) -> list[Value]:
        """`n` of the values, some perhaps twice."""
        return [values[self.draw(st.integers(0, len(values) - 1))] for _ in range(n)]

    def values(self, start: list[Value], depth: int) -> list[Value]:
        """The start and what is computed from it."""
        found = [*start, number(np.array([0.5, -1.5]))]
        for _ in range(self.draw(st.integers(0, 4))):
            kind = self.draw(st.sampled_from((1, 2, 2, 3) if depth else (1, 2)))
            if kind == 1:
                found.append(op(self.draw(st.sampled_from(UNARY)))(*self.some(found, 1)))
            elif kind == 2:
                found.append(op(self.draw(st.sampled_from(BINARY)))(*self.some(found, 2)))
            else:
                found += self.control(found, depth - 1)
        return found

    def control(self, values: list[Value], depth: int) -> list[Value]:
        """The results of a loop or branch that are of the one shape."""
        kind = self.draw(st.sampled_from(["scan", "while", "case"]))
        if kind == "case":
            outs = self.draw(st.integers(1, 2))
            index = number(self.draw(st.integers(-1, 3)), I32)
            makes = [lambda *v: self.some(self.values(list(v), depth), outs)] * 2
            return case(index, self.some(values, 2), *makes)
        carries = self.draw(st.integers(1, 3))
        start, rest = self.some(values, carries), self.some(values, 1)
        if kind == "while":
            return self.counting(start, [], rest, depth, 0)[2 : 2 + carries]
        length = self.draw(st.integers(0, 3))
        return self.scan(start, [], rest, length, depth)[:carries]

    def counting(
        self, start: list[Value], xs: list[Value], rest: list[Value], depth: int, outs: int
    ) -> list[Value]:
        """A loop that ends when it has counted far enough; with outputs and histories, if any."""
        most, carries = self.draw(st.integers(0, 5)), len(start)

        def count(go: Value, k: Value, *v: Value) -> list[Value]:
            after = op("Add")(k, number(1, I32))
            more = op("Less")(after, number(most, I32))
            del go
            return [more, after, *self.some(self.values(list(v), depth), carries + outs)]

        kept = st.lists(st.integers(0, carries + 1), max_size=2, unique=True)
        histories = tuple(self.draw(kept)) if outs else ()
        go = op("Less")(number(0, I32), number(most, I32))
        return repeat_while(
            count, [go, number(0, I32), *start], xs, rest, histories=histories,
            length=self.draw(st.sampled_from([-1, 3])),
        )  # fmt: skip

    def scan(
        self, start: list[Value], xs: list[Value], rest: list[Value], length: int, depth: int
    ) -> list[Value]:
        """A scan with outputs and histories."""
        carries, outs = len(start), self.draw(st.integers(0, 3))
        histories = tuple(self.draw(st.lists(st.integers(0, carries - 1), max_size=2, unique=True)))
        return scan(
            lambda *v: self.some(self.values(list(v), depth), carries + outs), start, xs, rest,
            length, histories=histories, reverse=self.draw(st.booleans()),
        )  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_body(data: st.DataObject) -> None:
    bodies = Bodies(data.draw)
    length, carries = data.draw(st.integers(0, 4)), data.draw(st.integers(1, 3))
    rng = np.random.default_rng(data.draw(st.integers(0, 9)))
    args = [
        *(rng.normal(size=SHAPE).astype(np.float32) for _ in range(carries + 1)),
        rng.normal(size=(length, *SHAPE)).astype(np.float32),
    ]
    grows = data.draw(st.booleans())

    def make(*v: Value) -> list[Value]:
        start, rest, xs = list(v[:carries]), [v[carries]], [v[-1]]
        if grows:
            return bodies.counting(start, xs, rest, 1, data.draw(st.integers(1, 3)))
        return bodies.scan(start, xs, rest, length, depth=2)

    f = program(make, *args)
    fuel = data.draw(st.sampled_from([1, 2000, 1 << 40]))
    with (
        mock.patch("staticgraph.runtime.tables.FUEL_AMOUNT", fuel),
        mock.patch("staticgraph.runtime.growing.FIRST", data.draw(st.sampled_from([1, 2, 64]))),
        mock.patch("staticgraph.passes.control.FIRST_ROOM", data.draw(st.sampled_from([1, 64]))),
    ):
        agree(f, *args, optimize=data.draw(st.booleans()), bound=not grows)
