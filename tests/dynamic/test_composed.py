"""Several operations as one node: the same numbers and gradients as one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import staticgraph.dynamic as torch
from staticgraph.dynamic import composed as module
from staticgraph.dynamic.composed import composed
from staticgraph.dynamic.tape import Node
from staticgraph.errors import RunError, ShapeError
from staticgraph.ir.op import lookup

_mm, _tanh, _exp = lookup("MatMul"), lookup("Tanh"), lookup("Exp")


def numbers(*shape: int, seed: int = 0) -> Any:
    a = np.random.default_rng([seed, *shape]).uniform(-1, 1, shape)
    return torch.tensor(a).requires_grad_()


def _pair(x: Any, w: Any, b: Any) -> tuple[Any, Any]:
    y = _tanh(_mm(x, w) + b * 2.0)
    return y * y, _exp(y) * x


def _same(x: Any) -> tuple[Any, Any]:
    y = _exp(x)
    return y, y * 3.0


def leaves() -> list[Any]:
    return [numbers(2, 3), numbers(3, 3, seed=1), numbers(3, seed=2)]


def close(a: Any, b: Any) -> None:
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("used", ["both", "first", "second"])
def test_gradients_of_three_orders(used: str) -> None:
    ways = []
    for run in (composed, lambda f, *ts: f(*ts)):
        ts = leaves()
        y, z = run(_pair, *ts)
        total = {"both": y.sum() + (z * z).sum(), "first": (y * y).sum(), "second": z.sum()}[used]
        found = [y, z]
        for _ in range(3):
            gs = torch.autograd.grad(total, ts, create_graph=True, materialize_grads=True)
            found += gs
            total = sum((g * g).sum() for g in gs)
        ways.append(found)
    for a, b in zip(*ways, strict=True):
        close(a, b)


def test_an_input_that_is_made_from_another_one() -> None:
    found = []
    for run in (composed, lambda f, *ts: f(*ts)):
        x, w, b = leaves()
        h, _ = run(_pair, x, w, b)
        y, z = run(_pair, h, w, h.sum(0))
        (g,) = torch.autograd.grad((y * z).sum(), x, create_graph=True)
        found.append([g, *torch.autograd.grad((g * g).sum(), (x, w, b))])
    for a, c in zip(*found, strict=True):
        close(a, c)


def test_a_result_that_is_read_by_another_one() -> None:
    x = numbers(3)
    y, z = composed(_same, x)
    (y.sum() + z.sum()).backward()
    close(x.grad, 4 * x.exp())
    assert (y.grad_fn, z.output_nr) == (z.grad_fn, 1)
    assert y.grad_fn.name() == "SameBackward0"


def test_a_gradient_is_for_those_who_want_one() -> None:
    x, w, b = leaves()
    y, _ = composed(_pair, x.detach(), w, b.detach())
    y.sum().backward()
    assert (x.grad, b.grad) == (None, None)
    assert w.grad is not None
    with torch.no_grad():
        assert not composed(_pair, x, w, b)[0].requires_grad
    assert not composed(_pair, x.detach(), w.detach(), b.detach())[0].requires_grad


def test_changes_in_place_and_a_second_backward() -> None:
    x, w, b = leaves()
    y, z = composed(_pair, x, w, b)
    with torch.no_grad():
        b.add_(1)  # nothing of it is needed
    (y.sum() + z.sum()).backward(retain_graph=True)
    with torch.no_grad():
        w.add_(1)
    with pytest.raises(RunError, match="Pair: its gradient needs its input 1") as e:
        y.sum().backward()
    assert "w.add_(1)" in str(e.value)
    with pytest.raises(RunError, match="Pair: its gradient needs its input 1"):
        torch.autograd.grad(y.sum(), x, create_graph=True)
    y, _ = composed(_same, x)
    total = y.sum()
    total.backward()
    with pytest.raises(RunError, match="a second time"):
        total.backward()
    y, z = composed(_same, x)
    y.mul_(2)
    with pytest.raises(RunError, match="Same: its gradient needs its result 0"):
        z.sum().backward()


def test_what_does_not_fit_is_told_by_the_operation() -> None:
    x, w, b = leaves()
    with pytest.raises(ShapeError, match="MatMul: inner dimensions differ, 3 and 2") as e:
        composed(_pair, x, w[:2], b)
    assert "test_composed.py" in str(e.value)
    y, _ = composed(_pair, x.float(), w, b)  # types become one, as they do elsewhere
    assert y.dtype == torch.float64


def test_one_composition_for_one_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_KNOWN", {})
    for _ in range(3):
        composed(_pair, *leaves())
    assert len(module._KNOWN) == 1
    composed(_same, numbers(4))
    assert len(module._KNOWN) == 2


def nodes(t: Any) -> int:
    """How many nodes lead to a tensor."""
    seen: set[int] = set()
    stack = [t.grad_fn]
    while stack:
        n = stack.pop()
        if isinstance(n, Node) and id(n) not in seen:
            seen.add(id(n))
            stack += [e for e, _ in n.next_functions]
    return len(seen)


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_a_step_of_a_recurrent_layer_is_one_node(kind: str) -> None:
    layer = getattr(torch.nn, kind)(3, 4)
    counts = [nodes(layer(torch.randn(n, 2, 3))[0]) for n in (4, 5, 9)]
    assert (counts[1] - counts[0], counts[2] - counts[1]) == (1, 4)


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_layers_with_and_without_a_batch_to_two_orders(kind: str) -> None:
    layer = getattr(torch.nn, kind)(2, 3).double()
    x = numbers(3, 2)
    assert torch.autograd.gradcheck(lambda v: layer(v)[0], (x,))
    assert torch.autograd.gradgradcheck(lambda v: layer(v.unsqueeze(1))[0], (x,))
    cell = getattr(torch.nn, f"{kind}Cell")(2, 3).double()
    one, many = cell(x[0]), cell(x[:1])
    for a, b in zip(*[v if kind == "LSTM" else (v,) for v in (one, many)], strict=True):
        close(a, b[0])
