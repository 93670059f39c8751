"""A line search for the strong Wolfe conditions, with cubic interpolation.

The constants and the order of the steps are those that PyTorch took over from Mark Schmidt's
minFunc, so that runs can be compared.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Point(NamedTuple):
    """A step length, the loss and the gradient there, and the slope along the direction."""

    t: float
    loss: float
    grad: np.ndarray
    slope: float


Evaluate = Callable[[float], tuple[float, np.ndarray]]


def cubic_minimum(a: Point, b: Point, bounds: tuple[float, float] | None = None) -> float:
    """Where the cubic through two points with their slopes is least, inside the bounds."""
    low, high = bounds if bounds is not None else (min(a.t, b.t), max(a.t, b.t))
    left, right = (a, b) if a.t <= b.t else (b, a)
    try:
        d1 = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.t - b.t)
        square = d1**2 - a.slope * b.slope
        if not square >= 0:
            return (low + high) / 2.0
        d2 = math.sqrt(square)
        share = (right.slope + d2 - d1) / (right.slope - left.slope + 2 * d2)
    except ZeroDivisionError:
        return (low + high) / 2.0
    return min(max(right.t - (right.t - left.t) * share, low), high)


class StrongWolfe:
    """Looks along a direction for a step that lowers the loss and flattens the slope."""

    def __init__(
        self, evaluate: Evaluate, direction: np.ndarray, start: Point, c1: float = 1e-4,
        c2: float = 0.9, tolerance: float = 1e-9, most: int = 25,
    ) -> None:  # fmt: skip
        self.evaluate, self.direction, self.start = evaluate, direction, start
        self.c1, self.c2, self.tolerance, self.most = c1, c2, tolerance, most
        self.length = float(np.abs(direction).max())
        self.calls = 0
        self.rounds = 0

    def at(self, t: float) -> Point:
        """The loss and its slope at a step length."""
        loss, grad = self.evaluate(t)
        self.calls += 1
        return Point(t, loss, grad, float(grad.dot(self.direction)))

    def too_high(self, p: Point) -> bool:
        """True where the loss has not fallen as much as the slope at the start promises."""
        return p.loss > self.start.loss + self.c1 * p.t * self.start.slope

    def flat(self, p: Point) -> bool:
        """True where the slope is small against that at the start."""
        return abs(p.slope) <= -self.c2 * self.start.slope

    def search(self, t: float) -> tuple[Point, int]:
        """The point to go to and the number of evaluations."""
        bracket, done = self._bracket(t)
        if not done:
            bracket = self._narrow(bracket)
        best = bracket[0] if len(bracket) == 1 or bracket[0].loss <= bracket[1].loss else bracket[1]
        return best, self.calls

    def _bracket(self, t: float) -> tuple[list[Point], bool]:
        """Two points with a good one between them, or one that is good itself."""
        before, now = self.start._replace(t=0.0), self.at(t)
        while self.rounds < self.most:
            if self.too_high(now) or (self.rounds > 1 and now.loss >= before.loss):
                return [before, now], False
            if self.flat(now):
                return [now], True
            if now.slope >= 0:
                return [before, now], False
            bounds = (now.t + 0.01 * (now.t - before.t), now.t * 10)
            further = cubic_minimum(before, now, bounds)
            before, now = now, self.at(further)
            self.rounds += 1
        return [self.start._replace(t=0.0), now], False

    def _narrow(self, bracket: list[Point]) -> list[Point]:
        """Bring the ends together until one of them is good or nothing moves any more."""
        stuck = False
        low, high = (0, 1) if bracket[0].loss <= bracket[1].loss else (1, 0)
        while self.rounds < self.most:
            a, b = bracket
            if abs(b.t - a.t) * self.length < self.tolerance:
                break
            t, stuck = self._inside(a, b, cubic_minimum(a, b), stuck)
            new = self.at(t)
            self.rounds += 1
            if self.too_high(new) or new.loss >= bracket[low].loss:
                bracket[high] = new
                low, high = (0, 1) if bracket[0].loss <= bracket[1].loss else (1, 0)
                continue
            if self.flat(new):
                bracket[low] = new
                break
            if new.slope * (bracket[high].t - bracket[low].t) >= 0:
                bracket[high] = bracket[low]
            bracket[low] = new
        return [bracket[low]]

    @staticmethod
    def _inside(a: Point, b: Point, t: float, stuck: bool) -> tuple[float, bool]:
        """`t`, moved away from the ends where it has come too near twice."""
        left, right = min(a.t, b.t), max(a.t, b.t)
        margin = 0.1 * (right - left)
        if min(right - t, t - left) >= margin:
            return t, False
        if not stuck and left < t < right:
            return t, True
        nearer_right = abs(t - right) < abs(t - left)
        return (right - margin if nearer_right else left + margin), False
