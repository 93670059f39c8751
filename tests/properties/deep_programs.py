"""Random programs with loops and branches three deep, with state, draws, arrays and other dtypes.

What `loop_programs` makes and evaluates as functions is pure and of one dtype.  These are run in
sessions, several times in a row, because their variables and random streams move on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

import staticgraph as tf
from tests.properties.loop_programs import SHAPES, WIDTH, Maker


@dataclass
class DeepCase:
    """A graph, what is fetched of it, and what is fed in one run after another."""

    graph: Any
    fetches: list[Any]
    variables: list[Any]
    feeds: list[dict[Any, np.ndarray]]
    log: list[str]

    def __repr__(self) -> str:
        fed = [{t.name: v.tolist() for t, v in f.items()} for f in self.feeds]
        return "\n".join([*self.log, f"fetch {self.fetches}", f"feeds {fed}"])


class DeepMaker(Maker):
    """Makes blocks with more in them."""

    def __init__(self, draw: Callable[[Any], Any], steps: int, open_: bool) -> None:
        super().__init__(draw, False, steps, open_)
        self.variables: list[Any] = []
        self.seed = 0
        self.ragged_in = 0

    def variable(self, shape: tuple[int, ...]) -> Any:
        """One of the variables with a shape, which are made outside of all loops."""
        return next(v for v in self.variables if tuple(v.shape.as_list()) == shape)

    def block(self, values: list[Any], index: Any, depth: int, most: int = 4) -> list[Any]:
        values = super().block(values, index, depth, most)
        for _ in range(self.number(0, 2)):
            x = self.one(values)
            shape = tuple(x.shape.as_list())
            kinds = ["write", "draw", "array", "whole", "truth", "inner", "branch", "ragged"]
            match self.one(kinds):
                case "write" | "draw" if self.ragged_in:
                    values.append(tf.cos(x))
                case "ragged" if depth:
                    values.append(self.ragged(values, x, index, depth - 1))
                case "write":
                    v = self.variable(shape)
                    f = self.one([v.assign_add, v.assign, v.assign_sub])
                    after = f(self.bounded(x))
                    values.append(self.behind(after, x) if self.number(0, 1) else after)
                case "draw":
                    self.seed += 1
                    drawn = tf.random_uniform(shape, -1, 1, tf.float64, seed=self.seed)
                    values.append(x * drawn if self.number(0, 1) else drawn)
                case "array" if depth:
                    values.append(self.array(values, x, index, depth - 1))
                case "whole" if depth:
                    values.append(self.whole(x, index))
                case "truth":
                    holds = tf.logical_and(x > 0.0, tf.equal(index % 2, 0))
                    values.append(tf.where(holds, x, -x) if shape else tf.cast(holds, tf.float64))
                case "inner" if depth:
                    values += self.loop(values, index, depth - 1)
                case "branch" if depth:
                    values.append(self.branch(values, index, depth - 1))
                case _:
                    values.append(self.unary(x))
            self.log.append(f"{values[-1].name} = {values[-1].op.type} deep, depth {depth}")
        return values

    def behind(self, after: Any, x: Any) -> Any:
        """What a read finds behind a write."""
        with tf.control_dependencies([after]):
            return tf.identity(x) + 0.5 * self.variable(tuple(x.shape.as_list()))

    def array(self, values: list[Any], x: Any, index: Any, depth: int) -> Any:
        """A loop that writes an array, another that reads it."""
        n = self.one([1, 2, 3])
        shape = tuple(x.shape.as_list())
        array = tf.TensorArray(tf.float64, size=n, element_shape=shape)

        def write(k: Any, y: Any, a: Any) -> Any:
            y = self.bounded(self.of(self.block([*values, y], index, depth, 1), shape))
            return k + 1, y, a.write(k, y)

        _, y, array = tf.while_loop(lambda k, *_: k < n, write, [0, x, array])
        if self.number(0, 1):
            return tf.reduce_sum(array.stack(), 0) + y
        return tf.foldl(lambda s, k: self.bounded(s + array.read(k)), tf.range(n), y)

    def ragged(self, values: list[Any], x: Any, index: Any, depth: int) -> Any:
        """A loop whose number of iterations only the run tells, and is another each time.

        It draws and writes nothing: values that a gradient needs of it would be of other lengths
        in each iteration around it, which is an error.
        """
        shape = tuple(x.shape.as_list())
        left = tf.cast(index, tf.float64) + tf.cast(tf.reduce_sum(x) > 0.0, tf.float64)
        self.ragged_in += 1

        def body(left: Any, y: Any) -> Any:
            found = self.block([*values, y], tf.cast(left, tf.int32) % 3, depth, 2)
            return left - 1.0, self.bounded(self.of([*found, tf.tanh(found[-1] + y)], shape))

        y = tf.while_loop(lambda left, y: left > 0.5, body, [left, x])[1]
        self.ragged_in -= 1
        return y

    def whole(self, x: Any, index: Any) -> Any:
        """A loop that carries integers and truth values along."""
        small = tf.cast(tf.clip_by_value(tf.abs(tf.reduce_sum(x)), 0.0, 2.0), tf.int32)

        def body(k: Any, odd: Any, y: Any) -> Any:
            return k - 1, tf.logical_not(odd), tf.where(tf.fill(tf.shape(y), odd), y * 0.5, -y)

        k, odd, y = tf.while_loop(
            lambda k, odd, y: k > 0, body, [small + index % 2, tf.equal(index, 1), x]
        )  # fmt: skip
        return y + tf.cast(odd, tf.float64) - tf.cast(k, tf.float64)

    def results(self) -> Sequence[Any]:
        """The outermost loop or branch, with variables for it to write."""
        for s in SHAPES:
            start = self.rng.uniform(-1, 1, size=s)
            self.variables.append(tf.Variable(start, dtype=tf.float64))
        xs = self.feed((self.steps, 2, WIDTH), self.open)
        values = [self.feed((2, WIDTH)), self.feed((WIDTH,)), self.feed(())]
        shapes = [self.one(SHAPES) for _ in range(self.number(1, 2))]
        start = tuple(self.of(values, s) for s in shapes)

        def step(carries: Any, x: Any) -> Any:
            at = tf.cast(tf.reduce_sum(tf.abs(x)), tf.int32) % 3
            return tuple(self.after([*values, *carries, x], shapes, at, 2))

        match self.one(["scan", "fold", "cond", "map"]):
            case "scan":
                size = self.one([None, None, 1, 2, "auto"])
                back = bool(self.number(0, 1))
                return list(tf.scan(step, xs, start, reverse=back, checkpoint=size))
            case "fold":
                fold = self.one([tf.foldl, tf.foldr])
                return list(fold(step, xs, start, checkpoint=self.one([None, None, 2])))
            case "map":
                return [tf.map_fn(lambda x: step(start, x)[0], xs, dtype=tf.float64)]
            case _:
                n = tf.shape(xs)[0]
                sides = [lambda: tf.foldl(step, xs, start), lambda: start]
                return list(tf.cond(tf.equal(n % 2, 0), *sides, strict=True))


@st.composite
def deep_cases(draw: Any) -> DeepCase:
    """Draw a program and what to feed in three runs."""
    graph = tf.Graph()
    steps = draw(st.sampled_from([0, 1, 2, 3]))
    with graph.as_default():
        tf.set_random_seed(7)
        maker = DeepMaker(draw, steps, draw(st.booleans()))
        made = list(maker.results())
        fetches = list(made)
        if draw(st.integers(0, 3)):
            y = tf.add_n([tf.reduce_sum(tf.sin(t)) for t in made])
            xs = [*maker.feeds, *maker.variables]
            first = [g for g in tf.gradients(y, xs) if g is not None]
            fetches += first
            if first and draw(st.integers(0, 2)) == 0:
                again = tf.add_n([tf.reduce_sum(tf.sin(g)) for g in first])
                fetches += [g for g in tf.gradients(again, xs) if g is not None]
        fetches = list(dict.fromkeys(fetches))
        feeds = []
        for k in range(3):
            n = steps if k != 1 or not maker.open else (steps + 1) % 4
            feeds.append(
                {
                    t: maker.rng.uniform(-1, 1, size=(n, *v.shape[1:]) if v.ndim == 3 else v.shape)
                    for t, v in maker.feeds.items()
                }
            )
    return DeepCase(graph, fetches, maker.variables, feeds, maker.log)


__all__ = ["DeepCase", "deep_cases"]
