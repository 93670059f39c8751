"""Pairs of a training step by define by run and as one compiled function, and what they leave."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import staticgraph as tf
import staticgraph.dynamic as torch
from staticgraph.dynamic import nn, optim
from staticgraph.dynamic.nn import functional as F


def numbers(*shape: int, seed: int = 0) -> Any:
    return torch.tensor(np.random.default_rng([seed, *shape]).uniform(-1, 1, shape))


def network(*parts: Any) -> Any:
    net = nn.Sequential(*(parts or (nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)))).double()
    with torch.no_grad():
        for i, p in enumerate(net.parameters()):
            p.copy_(numbers(*p.shape, seed=i))
    return net


def same(a: Any, b: Any) -> None:
    if isinstance(a, torch.Tensor):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-9, atol=1e-11)
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for k in a:
            same(a[k], b[k])
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            same(x, y)
    else:
        assert a == b


class Side:
    """A network, its optimizer, and a step; compiled or not."""

    def __init__(self, make: Callable[[Side], Callable[..., Any]], opt: Any, net: Any) -> None:
        self.net = net() if net else network()
        self.opt = opt(self.net.parameters())
        self.step = make(self)

    def left(self) -> Any:
        """All that a step can have changed."""
        grads = [p.grad for p in self.net.parameters()]
        return [self.net.state_dict(), grads, self.opt.state_dict()]


def sides(make: Any, opt: Any = None, net: Any = None) -> tuple[Side, Side]:
    opt = opt or (lambda ps: optim.SGD(ps, lr=0.1, momentum=0.9))
    compiled, plain = Side(make, opt, net), Side(make, opt, net)
    compiled.step = tf.function(compiled.step)
    return compiled, plain


def usual(side: Side) -> Callable[..., Any]:
    def step(x: Any, y: Any) -> Any:
        side.opt.zero_grad()
        loss = F.mse_loss(side.net(x), y)
        loss.backward()
        side.opt.step()
        return loss

    return step


def follow(pair: tuple[Side, Side], calls: int = 4, between: Any = None) -> Any:
    """Both sides on the same data; they must leave the same behind.  Returns the compiled step."""
    for i in range(calls):
        x, y = numbers(5, 3, seed=i), numbers(5, 1, seed=i + 50)
        out = []
        for side in pair:
            torch.manual_seed(i)
            out.append(side.step(x, y))
            if between:
                between(side, i)
        same(*out)
        same(pair[0].left(), pair[1].left())
    return pair[0].step


def with_closure(side: Side) -> Callable[..., Any]:
    def step(x: Any, y: Any) -> Any:
        def closure() -> Any:
            side.opt.zero_grad()
            loss = F.l1_loss(side.net(x), y)
            loss.backward()
            return loss

        return side.opt.step(closure)

    return step
