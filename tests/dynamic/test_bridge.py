"""`trace` and `function`: the same numbers as define by run, with few compilations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import staticgraph as tf
import staticgraph.dynamic as torch
from staticgraph.errors import RunError, ShapeError, UnimplementedError, UsageError


def numbers(*shape: int, seed: int = 0, grad: bool = True) -> Any:
    a = np.random.default_rng([seed, *shape]).uniform(-1, 1, shape)
    x = torch.tensor(a)
    return x.requires_grad_() if grad else x


def near(a: Any, b: Any) -> None:
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-9, atol=1e-12)


def arithmetic(x: Any, w: Any) -> Any:
    return torch.tanh(x @ w) * 2.0 + x.sum(1, keepdim=True) ** 2 / 3


def masks(x: Any, w: Any) -> Any:
    y = torch.where(x > 0, x, 0.1 * x).clamp(-0.5, 0.5)
    return y.masked_fill(x < -0.5, 0.0) @ w


def parts(x: Any, w: Any) -> Any:
    y = torch.zeros_like(x)
    y[1:, ::2] = x[1:, ::2] * 3
    y[0] += x[-1]
    y[x > 0.5] = 1.0
    return torch.cat([y, x[[2, 0]]]) @ w


def rows(x: Any, w: Any) -> Any:
    a, b = x.split([1, x.shape[1] - 1], 1)
    return torch.stack([a.sum(), b.mean(), torch.softmax(x, 1).max(), w.norm()])


def detached(x: Any, w: Any) -> Any:
    with torch.no_grad():
        scale = x.exp()
    return (x * scale).matmul(w.detach()) + (x @ w).relu()


def chosen(x: Any, w: Any) -> Any:
    i = (x > 0).sum(1, keepdim=True)
    return x.gather(1, i % 3) * w[0, 0]


class Tripled(torch.autograd.Function):
    """With three times its gradient, to be told apart."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        y = x.exp()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        (y,) = ctx.saved_tensors
        return 3 * g * y


def custom(x: Any, w: Any) -> Any:
    return (Tripled.apply(x) * x) @ w


FUNCTIONS = [arithmetic, masks, parts, rows, detached, chosen, custom]


@pytest.mark.parametrize("fn", FUNCTIONS, ids=lambda f: f.__name__)
def test_values_and_gradients_of_two_orders(fn: Callable[..., Any]) -> None:
    compiled = tf.function(fn)
    for n in (4, 6):
        x, w = numbers(n, 3), numbers(3, 2)
        y, z = compiled(x, w), fn(x, w)
        near(y, z)
        first = [torch.autograd.grad((v * v).sum(), (x, w), create_graph=True, allow_unused=True,
                                     materialize_grads=True) for v in (y, z)]  # fmt: skip
        for a, b in zip(*first, strict=True):
            near(a, b)
        second = [torch.autograd.grad((f[0] * f[0]).sum() + f[1].sum(), (x, w)) for f in first]
        for a, b in zip(*second, strict=True):
            near(a, b)
    with torch.no_grad():
        near(compiled(x, w), fn(x, w))
        assert not compiled(x, w).requires_grad


def test_one_compilation_serves_all_sizes() -> None:
    f = tf.function(arithmetic)
    for n, k in ((4, 3), (5, 3), (9, 7)):
        f(numbers(n, k), numbers(k, 2))
    assert len(f.traces) == 1
    assert f.traces[0].open_sizes == "every axis"
    f(numbers(4, 4), numbers(4, 2))  # other sizes are equal
    f(numbers(1, 3), numbers(3, 2))  # an axis of size 1 may be repeated
    f(numbers(4, 3).float(), numbers(3, 2).float())
    assert len(f.traces) == 4


def test_a_function_that_looks_at_sizes_is_compiled_for_each() -> None:
    f = tf.function(lambda x: x / x.shape[0])
    for n in (3, 4, 3):
        assert f(torch.ones(n))[0].item() == pytest.approx(1 / n)
    assert [t.open_sizes for t in f.traces] == ["none", "none"]


def test_numbers_among_the_arguments_are_part_of_the_kind() -> None:
    f = tf.function(lambda x, n, how=None: x**n if how is None else x * 0)
    assert f(torch.tensor([2.0]), 3).item() == 8.0
    assert f(torch.tensor([2.0]), 2).item() == 4.0
    assert f(torch.tensor([2.0]), 2, how="none").item() == 0.0
    assert len(f.traces) == 3


def test_results_keep_their_structure() -> None:
    w = torch.tensor([5.0])

    @tf.function
    def f(x: Any) -> Any:
        return {"double": x * 2, "all": [x, (w, torch.ones(1), "text", 3)]}

    x = torch.tensor([1.0])
    out = f(x)
    assert out["double"].item() == 2.0
    a, (b, c, text, three) = out["all"]
    assert (a.item(), b.item(), c.item(), text, three) == (1.0, 5.0, 1.0, "text", 3)


def test_parameters_are_read_anew() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
    f = tf.function(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    twin = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
    twin.load_state_dict(model.state_dict())
    other = torch.optim.SGD(twin.parameters(), lr=0.01)
    x = numbers(8, 3, grad=False).float()
    losses = []
    for _ in range(3):
        pair = []
        for m, o in ((f, optimizer), (twin, other)):
            o.zero_grad()
            loss = (m(x) ** 2).sum()
            loss.backward()
            o.step()
            pair.append(loss.item())
        losses.append(pair)
    np.testing.assert_allclose([a for a, _ in losses], [b for _, b in losses], rtol=1e-5)
    assert losses[0][0] > losses[2][0]
    assert len(f.traces) == 1


def test_training_and_evaluation_are_different_kinds() -> None:
    model = torch.nn.Dropout(0.5)
    f = tf.function(model)
    x = torch.ones(100)
    torch.manual_seed(1)
    a, b = f(x), f(x)
    torch.manual_seed(1)
    assert torch.equal(a, model(x))
    assert torch.equal(b, model(x))
    assert not torch.equal(a, b)
    model.eval()
    assert torch.equal(f(x), x)


def test_what_is_outside_is_changed() -> None:
    total = torch.zeros(3)

    @tf.function
    def f(x: Any) -> Any:
        total.add_(x)
        scratch = torch.zeros(3)
        scratch += total
        return scratch

    assert f(torch.ones(3)).tolist() == [1.0] * 3
    assert f(torch.ones(3)).tolist() == [2.0] * 3
    assert total.tolist() == [2.0] * 3


def test_a_method() -> None:
    class Scale:
        def __init__(self, k: float) -> None:
            self.k = k

        @tf.function
        def of(self, x: Any) -> Any:
            return x * self.k

    two, three = Scale(2.0), Scale(3.0)
    x = torch.tensor([1.0])
    assert (two.of(x).item(), three.of(x).item(), two.of(x).item()) == (2.0, 3.0, 2.0)


def test_a_compiled_function_inside_another_one() -> None:
    inner = tf.function(lambda x: x * 2)
    outer = tf.function(lambda x: inner(x) + 1)
    assert outer(torch.tensor([1.0])).tolist() == [3.0]
    assert inner.traces == []


def test_a_trace_prints_and_checks_what_it_is_given() -> None:
    traced = tf.trace(arithmetic)(numbers(4, 3), numbers(3, 2))
    assert "%matmul: f64[n0, n2] = MatMul %x0, %x1" in str(traced)
    near(traced(numbers(7, 5), numbers(5, 2)), arithmetic(numbers(7, 5), numbers(5, 2)))
    assert traced.kernels > 0
    with pytest.raises(ShapeError, match="traced for float64"):
        traced(numbers(4, 3), numbers(4, 2))
    with pytest.raises(UsageError, match="not those that the function was traced for"):
        traced(numbers(4, 3))


def test_the_name_is_still_that_of_the_sum_of_a_diagonal() -> None:
    with tf.Graph().as_default(), tf.Session() as sess:
        assert sess.run(tf.trace(tf.constant([[1.0, 2.0], [3.0, 4.0]]))) == 5.0


# ---------------------------------------------------------------- errors
def condition(x: Any) -> Any:
    return x if x.sum() > 0 else -x


def loop(x: Any) -> Any:
    for _ in range(int(x[0])):
        x = x * 2
    return x


def item(x: Any) -> Any:
    return x * x.max().item()


def array(x: Any) -> Any:
    return x * np.asarray(x)


OUTSIDE = torch.ones(1)


def outside(x: Any) -> Any:
    return x * OUTSIDE.item()


@pytest.mark.parametrize(
    ("fn", "match"),
    [
        (condition, "a condition needs the value"),
        (loop, r"item\(\) needs the value"),
        (item, r"item\(\) needs the value"),
        (array, r"numpy\(\) needs the value"),
        (outside, r"item\(\) needs the value"),
    ],
)
def test_what_would_be_frozen_is_an_error_at_its_line(fn: Any, match: str) -> None:
    with pytest.raises(UsageError, match=match) as e:
        tf.function(fn)(torch.ones(3))
    assert "test_bridge.py" in str(e.value)
    assert f"in {fn.__name__}" in str(e.value)
    assert OUTSIDE.tolist() == [1.0]
    assert torch.ones(1).item() == 1.0  # the trace is over


def test_shapes_that_do_not_fit_are_told_at_the_line() -> None:
    with pytest.raises(ShapeError, match="inner dimensions differ, 3 and 4") as e:
        tf.function(lambda x, w: x @ w)(torch.ones(2, 3), torch.ones(4, 5))
    assert "tf.function(lambda x, w: x @ w)" in str(e.value)


def test_a_view_that_shows_old_values() -> None:
    def f(x: Any) -> Any:
        y = x * 2
        v = y.t()
        y.add_(1)
        return v

    with pytest.raises(UnimplementedError, match="used after the tensor it shows was changed"):
        tf.function(f)(torch.ones(2, 3))


def test_backward_twice_and_changes_in_place() -> None:
    f = tf.function(lambda x: (x * x).sum())
    x = numbers(3)
    y = f(x)
    y.backward()
    with pytest.raises(RunError, match="a second time"):
        y.backward()
    z = f(x)
    with torch.no_grad():
        x.add_(1)
    with pytest.raises(RunError, match="changed in place since") as e:
        z.backward()
    assert "x.add_(1)" in str(e.value)


def test_arrays_are_no_arguments() -> None:
    with pytest.raises(UsageError, match="is an array"):
        tf.function(lambda x: x)(np.ones(2))
    with pytest.raises(UsageError, match="takes a function"):
        tf.function(torch.ones(2))
