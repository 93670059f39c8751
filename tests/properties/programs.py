"""Random programs for Hypothesis: a graph of up to some twenty ops with feeds that fit it.

Two kinds.  *Exact* programs compute on small whole numbers, so that every order of summation
gives the same bits and comparisons cannot flip.  *Smooth* programs use transcendental functions
and keep every value within known bounds, so that a tolerance means something.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st

import staticgraph as tf
from staticgraph.ir.evaluate import BrokenGuardError, evaluate
from staticgraph.ir.function import Function
from staticgraph.passes.close import close

SIZES = (0, 1, 1, 2, 3, 3, 4, 5)
LIMIT = {"exact": 2.0**20, "smooth": 50.0}
Draw = Callable[[Any], Any]


@dataclass
class Made:
    """A tensor of the program: its sizes in this run and a bound on its magnitude."""

    t: Any
    shape: tuple[int, ...]
    bound: float

    @property
    def kind(self) -> str:
        """f, i or b."""
        return "b" if self.t.dtype.is_bool else "f" if self.t.dtype.is_floating else "i"


@dataclass
class Case:
    """A program: graph, fetches, feeds; `exact` where results must agree to the bit."""

    graph: Any
    fetches: list[Any]
    feeds: dict[Any, np.ndarray]
    exact: bool
    bounds: list[float]
    log: list[str] = field(default_factory=list)

    def function(self) -> Function:
        """The closed function; sizes are fixed where the open ones contradict the feeds."""
        types = {t: t.type for t in self.feeds}
        f = close(self.graph, self.fetches, types)
        try:
            evaluate(f, self.arguments())
        except BrokenGuardError:
            fixed = {t: type(t.type)(t.type.dtype, a.shape) for t, a in self.feeds.items()}
            f = close(self.graph, self.fetches, fixed)
        return f

    def arguments(self) -> list[np.ndarray]:
        """One array per parameter."""
        return list(self.feeds.values())

    def __repr__(self) -> str:
        shapes = [f"{t.name}: {t.dtype.name}{list(a.shape)}" for t, a in self.feeds.items()]
        return "\n".join(["", *shapes, *self.log, f"fetch {[t.name for t in self.fetches]}"])


class _Maker:
    def __init__(self, draw: Draw, exact: bool, floats: str) -> None:
        self.draw, self.exact = draw, exact
        self.floats = floats
        self.limit = LIMIT["exact" if exact else "smooth"]
        self.pool: list[Made] = []
        self.feeds: dict[Any, np.ndarray] = {}
        self.log: list[str] = []

    # ---- choices
    def number(self, low: int, high: int) -> int:
        return int(self.draw(st.integers(low, high)))

    def one(self, options: Any) -> Any:
        return self.draw(st.sampled_from(list(options)))

    def pick(self, kinds: str = "fib", rank: int = 0) -> Made | None:
        fitting = [m for m in self.pool if m.kind in kinds and len(m.shape) >= rank]
        return self.one(fitting) if fitting else None

    # ---- inputs
    def feed(self) -> None:
        rank = self.number(0, 3)
        batch = self.one(SIZES)
        shape = tuple(self.one(SIZES) for _ in range(rank))
        opened = self.number(0, 2) if rank else 0
        if opened == 1:
            shape = (batch, *shape[1:])
        static: Any = [
            None if (opened == 2 or (opened and k == 0)) else d for k, d in enumerate(shape)
        ]
        dtype = self.one([self.floats, self.floats, "int32"])
        t = tf.placeholder(dtype, static)
        seed = self.number(0, 3)
        rng = np.random.default_rng(seed)
        if self.exact or dtype == "int32":
            a = rng.integers(-3, 4, size=shape).astype(dtype)
        else:
            a = rng.uniform(-1, 1, size=shape).astype(dtype)
        self.feeds[t] = np.asarray(a)
        self.log.append(f"{t.name} = placeholder({dtype}, {static})")
        self.pool.append(Made(t, shape, 3.0 if self.exact or dtype == "int32" else 1.0))

    def variable_like(self, shape: tuple[int, ...], dtype: str) -> Made:
        rng = np.random.default_rng(len(self.pool))
        a = rng.integers(-2, 3, size=shape).astype(dtype)
        return Made(tf.constant(a), shape, 2.0)

    # ---- ops
    def step(self) -> None:
        makers = [
            self.unary,
            self.unary,
            self.binary,
            self.binary,
            self.binary,
            self.reduce,
            self.reduce,
            self.reshape,
            self.transpose,
            self.concat,
            self.slice,
            self.pad,
            self.gather,
            self.matmul,
            self.select,
            self.cast,
            self.softmax,
            self.centre,
            self.expand,
            self.argmax,
            self.bias,
            self.tile,
            self.reverse,
        ]
        made = self.one(makers)()
        if made is None:
            return
        t, shape, bound = made
        if bound > self.limit:
            if self.exact:
                t, bound = tf.clip_by_value(t, -7, 7) if t.dtype.is_floating else tf.mod(t, 7), 7.0
            else:
                t, bound = tf.tanh(t) if t.dtype.is_floating else tf.mod(t, 7), 7.0
        self.log.append(
            f"{t.name} = {t.op.type}({', '.join(x.name for x in t.op.inputs)})  "
            f"{t.dtype.name} {list(shape)}"
        )
        self.pool.append(Made(t, tuple(int(d) for d in shape), bound))

    def unary(self) -> Any:
        x = self.pick()
        if x is None:
            return None
        if x.kind == "b":
            return tf.logical_not(x.t), x.shape, 1
        b = x.bound
        options: list[tuple[Any, float]] = [
            (tf.negative, b),
            (tf.abs, b),
            (tf.square, b * b),
            (tf.identity, b),
        ]
        if x.kind == "f":
            options += [
                (tf.nn.relu, b),
                (lambda t: t * 2.0, 2 * b),
                (lambda t: 1.0 - t, b + 1),
                (lambda t: t * t * t, b**3),
                (lambda t: tf.negative(tf.negative(t)), b),
                (lambda t: t - 0.0, b),
            ]
            if self.exact:
                options += [(tf.sign, 1.0), (tf.floor, b), (lambda t: tf.floor(t / 2.0), b)]
            else:
                options += [
                    (tf.tanh, 1.0),
                    (tf.sigmoid, 1.0),
                    (tf.sin, 1.0),
                    (tf.cos, 1.0),
                    (lambda t: tf.sqrt(1.0 + t * t), b + 1),
                    (lambda t: tf.log(1.0 + t * t), b + 1),
                    (lambda t: tf.exp(tf.tanh(t)), 3.0),
                    (tf.nn.softplus, b + 1),
                    (lambda t: 1.0 / (1.0 + tf.abs(t)), 1.0),
                    (lambda t: tf.pow(tf.abs(t) + 1.0, 0.5), b + 1),
                ]
        else:
            options += [
                (lambda t: t // 2, b),
                (lambda t: tf.mod(t, 3), 3),
                (lambda t: t + 1, b + 1),
            ]
        f, bound = self.one(options)
        return f(x.t), x.shape, bound

    def partner(self, x: Made) -> Made | None:
        """A tensor of the same dtype that broadcasts with `x`."""
        fitting = []
        for m in self.pool:
            if m.t.dtype != x.t.dtype:
                continue
            try:
                shape = np.broadcast_shapes(m.shape, x.shape)
                tf.broadcast_static_shape(m.t.shape, x.t.shape)
            except ValueError:
                continue
            if math.prod(shape) <= 128:
                fitting.append(m)
        return self.one(fitting) if fitting else None

    def binary(self) -> Any:
        x = self.pick()
        y = self.partner(x) if x else None
        if x is None or y is None:
            return None
        shape = np.broadcast_shapes(x.shape, y.shape)
        if x.kind == "b":
            return self.one([tf.logical_and, tf.logical_or, tf.logical_xor])(x.t, y.t), shape, 1
        a, b = x.bound, y.bound
        options = [
            (tf.add, a + b),
            (tf.subtract, a + b),
            (tf.multiply, a * b),
            (tf.maximum, max(a, b)),
            (tf.minimum, max(a, b)),
        ]
        if self.exact or x.kind == "i":
            options += [(tf.less, 1), (tf.equal, 1), (tf.greater_equal, 1)]
        if x.kind == "i":
            options += [(tf.floordiv, a), (tf.floormod, b)]
        elif not self.exact:
            options += [(lambda u, v: u / (1.0 + v * v), a), (tf.squared_difference, (a + b) ** 2)]
        f, bound = self.one(options)
        return f(x.t, y.t), shape, bound

    def axes(self, x: Made) -> Any:
        if not x.shape or self.number(0, 3) == 0:
            return None
        n = len(x.shape)
        return sorted({self.number(0, n - 1) for _ in range(self.number(1, n))})

    def reduce(self) -> Any:
        x = self.pick()
        if x is None:
            return None
        axes = self.axes(x)
        gone = range(len(x.shape)) if axes is None else axes
        n = math.prod(x.shape[k] for k in gone)
        keep = self.number(0, 3) == 0
        shape = [1 if k in gone else d for k, d in enumerate(x.shape) if keep or k not in gone]
        if x.kind == "b":
            return self.one([tf.reduce_all, tf.reduce_any])(x.t, axes, keepdims=keep), shape, 1
        options = [(tf.reduce_sum, x.bound * max(n, 1))]
        if n:
            options += [(tf.reduce_max, x.bound), (tf.reduce_min, x.bound)]
            if x.kind == "f" and not self.exact:
                options += [(tf.reduce_mean, x.bound)]
        f, bound = self.one(options)
        return f(x.t, axes, keepdims=keep), shape, bound

    def reshape(self) -> Any:
        x = self.pick()
        if x is None:
            return None
        n = math.prod(x.shape)
        open_ = None in x.t.shape.as_list()
        if len(x.shape) >= 2 and self.number(0, 1):
            k = self.number(0, len(x.shape) - 2)
            shape = [*x.shape[:k], x.shape[k] * x.shape[k + 1], *x.shape[k + 2 :]]
            if not open_:
                return tf.reshape(x.t, shape), shape, x.bound
            s = tf.shape(x.t)
            parts = (
                [s[i] for i in range(k)]
                + [s[k] * s[k + 1]]
                + [s[i] for i in range(k + 2, len(x.shape))]
            )
            return tf.reshape(x.t, tf.stack(parts)), shape, x.bound
        for d in (2, 3):
            if n and n % d == 0 and self.number(0, 1):
                return tf.reshape(x.t, [-1, d]), (n // d, d), x.bound
        return tf.reshape(x.t, [-1]), (n,), x.bound

    def expand(self) -> Any:
        x = self.pick()
        if x is None or len(x.shape) > 3:
            return None
        k = self.number(0, len(x.shape))
        return tf.expand_dims(x.t, k), (*x.shape[:k], 1, *x.shape[k:]), x.bound

    def transpose(self) -> Any:
        x = self.pick(rank=2)
        if x is None:
            return None
        perm = self.draw(st.permutations(range(len(x.shape))))
        return tf.transpose(x.t, perm), [x.shape[p] for p in perm], x.bound

    def concat(self) -> Any:
        x = self.pick(rank=1)
        if x is None:
            return None
        k = self.number(0, len(x.shape) - 1)
        others = [
            m for m in self.pool
            if m.t.dtype == x.t.dtype and len(m.shape) == len(x.shape)
            and all(a == b for i, (a, b) in enumerate(zip(m.shape, x.shape, strict=True)) if i != k)
        ]  # fmt: skip
        y = self.one(others)
        shape = list(x.shape)
        shape[k] += y.shape[k]
        if math.prod(shape) > 128:
            return None
        return tf.concat([x.t, y.t], k), shape, max(x.bound, y.bound)

    def slice(self) -> Any:
        x = self.pick(rank=1)
        if x is None:
            return None
        k = self.number(0, len(x.shape) - 1)
        d = x.shape[k]
        if d == 0:
            return None
        begin, step = self.number(0, d - 1), self.one([1, 1, 2])
        index = [slice(None)] * len(x.shape)
        shape = list(x.shape)
        if self.number(0, 3) == 0:
            index[k] = begin  # type: ignore[call-overload]
            del shape[k]
        else:
            index[k] = slice(begin, None, step)
            shape[k] = len(range(begin, d, step))
        return x.t[tuple(index)], shape, x.bound

    def reverse(self) -> Any:
        x = self.pick(rank=1)
        if x is None:
            return None
        return tf.reverse(x.t, [self.number(0, len(x.shape) - 1)]), x.shape, x.bound

    def pad(self) -> Any:
        x = self.pick("fi", rank=1)
        if x is None:
            return None
        pads = [[self.number(0, 1), self.number(0, 2)] for _ in x.shape]
        shape = [d + a + b for d, (a, b) in zip(x.shape, pads, strict=True)]
        if math.prod(shape) > 128:
            return None
        return tf.pad(x.t, pads), shape, x.bound

    def tile(self) -> Any:
        x = self.pick(rank=1)
        if x is None or math.prod(x.shape) > 40:
            return None
        times = [self.number(1, 2) for _ in x.shape]
        return tf.tile(x.t, times), [d * n for d, n in zip(x.shape, times, strict=True)], x.bound

    def gather(self) -> Any:
        x = self.pick(rank=1)
        if x is None:
            return None
        k = self.number(0, len(x.shape) - 1)
        if x.shape[k] == 0:
            return None
        index = [self.number(0, x.shape[k] - 1) for _ in range(self.number(1, 4))]
        shape = [*x.shape[:k], len(index), *x.shape[k + 1 :]]
        if math.prod(shape) > 128:
            return None
        return tf.gather(x.t, index, axis=k), shape, x.bound

    def matmul(self) -> Any:
        x = self.pick("f", rank=2)
        if x is None:
            return None
        ta, tb = bool(self.number(0, 1)), bool(self.number(0, 1))
        inner = x.shape[-2] if ta else x.shape[-1]
        rows = x.shape[-1] if ta else x.shape[-2]
        fitting = [
            m
            for m in self.pool
            if m.t.dtype == x.t.dtype
            and m.shape[:-2] == x.shape[:-2]
            and len(m.shape) == len(x.shape)
            and m.shape[-1 if tb else -2] == inner
        ]
        if not fitting:
            if len(x.shape) != 2:
                return None
            n = self.one((1, 2, 5))
            fitting = [self.variable_like((n, inner) if tb else (inner, n), x.t.dtype.name)]
        y = self.one(fitting)
        columns = y.shape[-2] if tb else y.shape[-1]
        shape = (*x.shape[:-2], rows, columns)
        return tf.matmul(x.t, y.t, ta, tb), shape, x.bound * y.bound * max(inner, 1)

    def bias(self) -> Any:
        x = self.pick("f", rank=2)
        if x is None:
            return None
        b = self.variable_like((x.shape[-1],), x.t.dtype.name)
        return x.t + b.t, x.shape, x.bound + 2

    def select(self) -> Any:
        c = self.pick("b")
        if c is None:
            x = self.pick("fi")
            return None if x is None else (tf.greater(x.t, tf.zeros_like(x.t)), x.shape, 1)
        fitting = [m for m in self.pool if m.shape == c.shape and m.kind in "fi"]
        if not fitting:
            return None
        x = self.one(fitting)
        y = self.one([m for m in fitting if m.t.dtype == x.t.dtype])
        return tf.where(c.t, x.t, y.t), c.shape, max(x.bound, y.bound)

    def cast(self) -> Any:
        x = self.pick()
        if x is None or (x.kind == "f" and not self.exact):
            return None
        return tf.cast(x.t, self.one([self.floats, "int32"])), x.shape, x.bound

    def argmax(self) -> Any:
        x = self.pick("fi" if self.exact else "i", rank=1)
        if x is None:
            return None
        k = self.number(0, len(x.shape) - 1)
        if x.shape[k] == 0:
            return None
        t = self.one([tf.argmax, tf.argmin])(x.t, k)
        return tf.cast(t, tf.int32), [d for i, d in enumerate(x.shape) if i != k], 128

    def softmax(self) -> Any:
        x = self.pick("f", rank=1)
        if x is None or self.exact:
            return None
        if self.number(0, 1):
            return tf.nn.softmax(x.t), x.shape, 1
        return tf.nn.log_softmax(x.t), x.shape, 2 * x.bound + 5

    def centre(self) -> Any:
        """Subtract a reduction along an axis: rows and columns that wait for each other."""
        x = self.pick("f", rank=1)
        if x is None:
            return None
        k = self.number(0, len(x.shape) - 1)
        if self.exact or x.shape[k] == 0:
            m = tf.reduce_sum(x.t, k, keepdims=True)
            return x.t - m, x.shape, x.bound * (x.shape[k] + 1)
        f = self.one([tf.reduce_mean, tf.reduce_max, tf.reduce_sum])
        return x.t - f(x.t, k, keepdims=True), x.shape, x.bound * (x.shape[k] + 1)


@st.composite
def cases(draw: Any, exact: bool, ops: int = 18, gradients: bool = True) -> Case:
    """Draw a program.

    Args:
      exact: whole numbers, compared to the bit; else smooth functions, with a tolerance.
    """
    floats = draw(st.sampled_from(["float64", "float32"]))
    graph = tf.Graph()
    with graph.as_default():
        maker = _Maker(draw, exact, floats)
        for _ in range(draw(st.integers(1, 3))):
            maker.feed()
        for _ in range(draw(st.integers(1, ops))):
            maker.step()
        made = maker.pool[-1:] + [m for m in maker.pool if draw(st.integers(0, 3)) == 0]
        fetches = list(dict.fromkeys(m.t for m in made))
        bounds = {m.t: m.bound for m in made}
        xs = [t for t in maker.feeds if t.dtype.is_floating]
        ys = [m.t for m in maker.pool if m.kind == "f"]
        if gradients and ys and xs and draw(st.booleans()):
            y = ys[-1]
            for g in tf.gradients(tf.reduce_sum(y * y) if not exact else tf.reduce_sum(y), xs):
                if g is not None and g not in fetches:
                    fetches.append(g)
                    bounds[g] = 1e4
        fetched = [t for t in fetches if t.op.type != "Placeholder"] or fetches
        feeds = {t: a for t, a in maker.feeds.items()}
    return Case(graph, fetched, feeds, exact, [bounds[t] for t in fetched], maker.log)


__all__ = ["Case", "cases"]
