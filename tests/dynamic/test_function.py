"""`autograd.Function`: what forward leaves, what backward gets, and what it may give."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

import staticgraph.dynamic as torch
from staticgraph.errors import RunError, ShapeError, UsageError


class Exp(torch.autograd.Function):
    """Saves its result."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        y = x.exp()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        (y,) = ctx.saved_tensors
        return g * y


class Scaled(torch.autograd.Function):
    """Two results, an argument that is no tensor, and one without a gradient."""

    @staticmethod
    def forward(ctx: Any, x: Any, factor: float, w: Any) -> Any:
        ctx.factor = factor
        ctx.save_for_backward(x, w)
        ctx.needs = ctx.needs_input_grad
        return x * factor, x * w

    @staticmethod
    def backward(ctx: Any, g: Any, h: Any) -> Any:
        x, w = ctx.saved_tensors
        Scaled.seen = (g, h, ctx.needs)
        return g * ctx.factor + h * w, None, h * x

    seen: tuple[Any, ...] = ()


def leaf(*values: float) -> Any:
    return torch.tensor(list(values), dtype=torch.double, requires_grad=True)


def test_first_and_second_order_through_a_saved_result() -> None:
    x = leaf(0.5, 1.0)
    assert torch.autograd.gradcheck(Exp.apply, (x,))
    assert torch.autograd.gradgradcheck(Exp.apply, (x,))


def test_a_saved_result_makes_no_cycle() -> None:
    gc.collect()
    gc.disable()
    try:
        y = Exp.apply(leaf(1.0))
        node = weakref.ref(y.grad_fn)
        del y
        assert node() is None
    finally:
        gc.enable()


def test_results_that_nobody_used_have_zeros() -> None:
    x, w = leaf(1.0, 2.0), leaf(3.0, 4.0)
    a, b = Scaled.apply(x, 10.0, w)
    assert (a.tolist(), b.tolist()) == ([10.0, 20.0], [3.0, 8.0])
    b.sum().backward()
    g, h, needs = Scaled.seen
    assert (g.tolist(), h.tolist()) == ([0.0, 0.0], [1.0, 1.0])
    assert needs == (True, False, True)
    assert (x.grad.tolist(), w.grad.tolist()) == ([3.0, 4.0], [1.0, 2.0])


def test_context_set_up_apart() -> None:
    class Square(torch.autograd.Function):
        @staticmethod
        def forward(x: Any) -> Any:
            return x * x

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            ctx.save_for_backward(*inputs)

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * 2 * ctx.saved_tensors[0]

    x = leaf(3.0)
    Square.apply(x).backward()
    assert x.grad.item() == 6.0


def test_gradients_of_broadcast_arguments_are_summed() -> None:
    class Add(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, a: Any, b: Any) -> Any:
            return a + b

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g, g

    a, b = leaf(1.0, 2.0), torch.tensor(1.0, dtype=torch.double, requires_grad=True)
    Add.apply(a, b).sum().backward()
    assert (a.grad.tolist(), b.grad.item()) == ([1.0, 1.0], 2.0)


def test_outside_of_recording_nothing_is_kept() -> None:
    with torch.no_grad():
        assert not Exp.apply(leaf(1.0)).requires_grad
    assert not Exp.apply(torch.ones(2)).requires_grad


class WrongShape(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return x * 2

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return torch.ones(7, dtype=torch.double)


class WrongCount(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return x * 2

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return g, g


class NoTensor(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return x * 2

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return 2.0


@pytest.mark.parametrize(
    ("cls", "kind", "match"),
    [
        (WrongShape, ShapeError, r"gradient 0 that WrongShape.backward returned has shape \[7\]"),
        (WrongCount, UsageError, "WrongCount.backward returned 2 gradients for 1 arguments"),
        (NoTensor, UsageError, "NoTensor.backward returned must be a tensor or None, got float"),
    ],
)
def test_a_wrong_gradient_names_the_backward_it_came_from(cls: Any, kind: Any, match: str) -> None:
    x = leaf(1.0, 2.0)
    with pytest.raises(kind, match=match) as e:
        cls.apply(x).sum().backward()
    assert "test_function.py" in str(e.value)
    assert "in backward" in str(e.value)
    assert x.grad is None


def test_saved_tensors_are_checked_and_freed() -> None:
    x = leaf(1.0, 2.0)
    w = leaf(1.0, 2.0) * 1
    _, b = Scaled.apply(x, 1.0, w)
    w.mul_(2)
    with pytest.raises(RunError, match="saved for backward has been changed in place"):
        b.sum().backward()
    y = Exp.apply(x).sum()
    y.backward()
    with pytest.raises(RunError, match="a second time"):
        y.backward()


def test_only_tensors_are_saved() -> None:
    class Saves(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(3)
            return x

    with pytest.raises(UsageError, match="takes tensors, got int"):
        Saves.apply(leaf(1.0))
