"""Random programs with loops and branches in them, nested, with gradients through them.

Exact programs compute on small whole numbers, smooth ones on bounded numbers; see `programs`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

import staticgraph as tf
from tests.properties.programs import Case

WIDTH = 3
SHAPES: tuple[tuple[int, ...], ...] = ((), (WIDTH,), (2, WIDTH))


class Maker:
    """Draws what blocks of operations, loops and branches are made of."""

    def __init__(self, draw: Callable[[Any], Any], exact: bool, steps: int, open_: bool) -> None:
        self.draw, self.exact, self.steps, self.open = draw, exact, steps, open_
        self.feeds: dict[Any, np.ndarray] = {}
        self.rng = np.random.default_rng(self.number(0, 3))
        self.log: list[str] = []

    # ---- choices
    def number(self, low: int, high: int) -> int:
        return int(self.draw(st.integers(low, high)))

    def one(self, options: Sequence[Any]) -> Any:
        return options[self.number(0, len(options) - 1)]

    def of(self, values: Sequence[Any], shape: tuple[int, ...]) -> Any:
        """One of the values with this shape; there always is one."""
        fitting = [v for v in values if tuple(v.shape.as_list()) == shape]
        return self.one(fitting) if fitting else self.constant(shape)

    def constant(self, shape: tuple[int, ...]) -> Any:
        if self.exact:
            return tf.constant(self.rng.integers(-2, 3, size=shape), tf.float64)
        return tf.constant(self.rng.uniform(-1, 1, size=shape), tf.float64)

    def feed(self, shape: tuple[int, ...], loose: bool = False) -> Any:
        t = tf.placeholder(tf.float64, [None, *shape[1:]] if loose else shape)
        if self.exact:
            self.feeds[t] = self.rng.integers(-2, 3, size=shape).astype(np.float64)
        else:
            self.feeds[t] = self.rng.uniform(-1, 1, size=shape)
        return t

    def bounded(self, t: Any) -> Any:
        """The value of a carry, kept small."""
        return tf.clip_by_value(t, -3, 3) if self.exact else tf.tanh(t)

    # ---- bodies
    def block(self, values: list[Any], index: Any, depth: int, most: int = 4) -> list[Any]:
        """The values and more, computed from them; `index` is an integer scalar below 4."""
        values = list(values)
        for _ in range(self.number(0, most)):
            kind = self.number(0, 9 if depth else 7)
            x = self.one(values)
            shape = tuple(x.shape.as_list())
            if kind <= 1:
                values.append(self.unary(x))
            elif kind <= 3:
                y = self.of(values, self.one([s for s in SHAPES if len(s) <= len(shape)]))
                f = self.one([tf.add, tf.subtract, tf.multiply, tf.maximum])
                values.append(f(x, y))
            elif kind == 4 and len(shape) == 2:
                values.append(self.bounded(tf.matmul(x, self.constant((WIDTH, WIDTH)))))
            elif kind == 5 and shape:
                axis = self.one([None, len(shape) - 1, 0]) if len(shape) == 1 else 0
                values.append(tf.reduce_sum(x, axis))
            elif kind == 6 and len(shape) == 1:
                values.append(tf.gather(x, index % 3) if self.number(0, 1) else x[::-1])
            elif kind == 7:
                values.append(tf.stop_gradient(x) if self.number(0, 1) else tf.identity(x))
            elif kind == 8:
                values.append(self.branch(values, index, depth - 1))
            elif kind == 9:
                values += self.loop(values, index, depth - 1)
            self.log.append(f"{values[-1].name} = {values[-1].op.type} depth {depth}")
        return values

    def unary(self, x: Any) -> Any:
        if self.exact:
            return self.one([tf.negative, tf.abs, tf.sign, tf.nn.relu])(x)
        return self.one([tf.tanh, tf.sin, tf.negative, tf.sigmoid])(x)

    def branch(self, values: list[Any], index: Any, depth: int) -> Any:
        shape = self.one(SHAPES)

        def side() -> Any:
            return self.of(self.block(values, index, depth, 2), shape)

        if self.number(0, 1):
            return tf.cond(tf.reduce_sum(self.one(values)) > 0, side, side)
        return tf.switch_case(index, [side, side], default=side)

    def loop(self, values: list[Any], index: Any, depth: int) -> list[Any]:
        """The results of a loop that are of one of the shapes."""
        shapes = [self.one(SHAPES) for _ in range(self.number(1, 2))]
        start = [self.of(values, s) for s in shapes]
        match self.one(["while", "until", "scan", "fold"]):
            case "while":
                return self.counted(values, start, shapes, depth)
            case "until":

                def more(left: Any, *_: Any) -> Any:
                    return left > 0.5

                def body(left: Any, *carries: Any) -> list[Any]:
                    return [left - 1.0, *self.after([*values, *carries], shapes, index, depth)]

                first = tf.constant(float(self.number(0, 3)), tf.float64)
                return list(tf.while_loop(more, body, [first, *start])[1:])
            case form:
                xs = tf.stack([self.of(values, shapes[0]) for _ in range(self.number(1, 3))])

                def step(carries: Any, x: Any) -> Any:
                    return tuple(self.after([*values, *carries, x], shapes, index, depth))

                if form == "fold":
                    return list(tf.foldl(step, xs, tuple(start)))
                out = tf.scan(step, xs, tuple(start), reverse=bool(self.number(0, 1)))
                return [t[0] for t in out]

    def counted(
        self, values: list[Any], start: list[Any], shapes: Sequence[Any], depth: int
    ) -> list[Any]:
        """A loop with a counter; up or down, by one or two."""
        step = self.one([1, 2, -1])
        low, high = self.number(-1, 2), self.number(0, 3)
        first, bound = (low, high) if step > 0 else (high, low)
        compare = self.one([tf.less, tf.less_equal] if step > 0 else [tf.greater])
        limit = self.one([None, 2])

        def body(k: Any, *carries: Any) -> list[Any]:
            return [k + step, *self.after([*values, *carries], shapes, tf.abs(k), depth)]

        out = tf.while_loop(
            lambda k, *_: compare(k, bound), body, [first, *start], maximum_iterations=limit
        )
        return list(out[1:])

    def after(
        self, values: list[Any], shapes: Sequence[tuple[int, ...]], index: Any, depth: int
    ) -> list[Any]:
        """New carries; sometimes old ones as they are, sums, or each other."""
        found = self.block(values, index, depth)
        out = []
        for s in shapes:
            v = self.of(found, s)
            out.append(v if self.number(0, 3) == 0 and not self.exact else self.bounded(v))
        return out

    # ---- the whole
    def outermost(self) -> list[Any]:
        """A loop over what is fed; the results to look at."""
        loose = self.open
        width = self.one([1, 2, WIDTH])
        xs = self.feed((self.steps, 2, width if width == WIDTH else WIDTH), loose)
        row = self.feed((self.steps, WIDTH), loose)
        numbers = self.feed((self.steps,), loose)
        weights = self.feed((WIDTH, WIDTH))
        values = [self.feed((2, WIDTH)), self.feed((WIDTH,)), self.feed(())]
        shapes = [self.one(SHAPES) for _ in range(self.number(0, 2))]
        reverse = bool(self.number(0, 1))
        start = tuple(self.of(values, s) for s in shapes)

        def slices(x: Sequence[Any]) -> list[Any]:
            m, r, n, k = x
            return [m, r, n, tf.matmul(m, weights), tf.cast(k, tf.float64)]

        elems = (xs, row, numbers, tf.range(tf.shape(xs)[0]))
        if not shapes:
            outs = [self.one(SHAPES) for _ in range(self.number(1, 2))]

            def each(x: Any) -> Any:
                found = self.block([*values, *slices(x)], x[3] % 3, 1)
                return tuple(self.of(found, s) for s in outs)

            return list(tf.map_fn(each, elems, dtype=(tf.float64,) * len(outs)))

        def step(carries: Any, x: Any) -> Any:
            new = self.after([*values, *carries, *slices(x)], shapes, x[3] % 3, 1)
            if self.number(0, 2) == 0:  # a sum, which may be made behind the loop
                s = shapes[-1]
                new[-1] = carries[-1] + self.bounded(self.of(slices(x)[:3], s))
            return tuple(new)

        if self.number(0, 2) == 0:
            return list((tf.foldr if reverse else tf.foldl)(step, elems, start))
        checkpoint = self.one([None, None, 2])
        return list(tf.scan(step, elems, start, reverse=reverse, checkpoint=checkpoint))


@st.composite
def loop_cases(draw: Any, exact: bool) -> Case:
    """Draw a program around one loop over what is fed."""
    graph = tf.Graph()
    steps = draw(st.sampled_from([0, 1, 2, 4]))
    with graph.as_default():
        maker = Maker(draw, exact, steps, draw(st.booleans()))
        made = maker.outermost()
        fetches = [t for t in made if draw(st.integers(0, 3))] or made
        y = tf.add_n([tf.reduce_sum(t if exact else tf.sin(t)) for t in made])
        if draw(st.integers(0, 2)):
            xs = list(maker.feeds)
            for g in tf.gradients(y, xs):
                if g is not None and draw(st.integers(0, 3)):
                    fetches.append(g)
        fetches = list(dict.fromkeys(fetches))
    return Case(graph, fetches, maker.feeds, exact, [100.0] * len(fetches), maker.log)


__all__ = ["SHAPES", "WIDTH", "Maker", "loop_cases"]
