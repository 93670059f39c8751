"""The tape: memory, long chains, hooks, modes, and errors that name the line."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import staticgraph.dynamic as torch
from staticgraph.errors import DtypeError, RunError, ShapeError, UsageError


def leaf(*values: float) -> Any:
    return torch.tensor(list(values), dtype=torch.double, requires_grad=True)


def test_memory_goes_back_without_the_collector() -> None:
    gc.collect()
    gc.disable()
    try:
        x = leaf(1.0, 2.0)
        y = (x * 2).exp()
        v = y[0]
        z = v + y.sum()
        watched = [weakref.ref(t) for t in (y, v, z, y.grad_fn, z.grad_fn)]
        z.backward()
        del y, v, z
        assert [w() for w in watched] == [None] * 5
    finally:
        gc.enable()


def test_a_backward_frees_what_was_saved() -> None:
    x = leaf(1.0, 2.0)
    y = x.exp()
    saved = weakref.ref(y.grad_fn.outputs[0].base or y.grad_fn)
    z = y.sum()
    del y
    z.backward()
    assert saved() is None


def test_chains_of_ten_thousand_operations() -> None:
    x = leaf(1.0)
    y = x
    for _ in range(10_000):
        y = y * 1.0001
    y.backward()
    np.testing.assert_allclose(x.grad.numpy(), [1.0001**10_000], rtol=1e-9)
    for _ in range(10_000):
        y = y * 1.0001
    del y  # taking it apart recurses as little as running it


def test_a_diamond_is_walked_once_per_node() -> None:
    x = leaf(1.0)
    y = x
    for _ in range(50):  # 2**50 paths
        y = y + y
    calls = []
    y.register_hook(lambda g: calls.append(g.item()))
    y.backward()
    assert calls == [1.0]
    assert x.grad.item() == 2.0**50


def test_a_failed_backward_changes_no_gradient() -> None:
    x, w = leaf(1.0, 2.0), leaf(3.0, 4.0)
    y = x * 2
    z = (y * w).sum() + (w * 5).sum()
    y.add_(1)
    with pytest.raises(RunError):
        z.backward()
    assert x.grad is None
    assert w.grad is None


def test_gradients_add_up_in_the_same_memory() -> None:
    x = leaf(1.0, 2.0)
    (x * 2).sum().backward()
    first = x.grad
    (x * 3).sum().backward()
    assert x.grad is first
    assert x.grad.tolist() == [5.0, 5.0]


def test_gradients_have_memory_of_their_own() -> None:
    x, w = leaf(1.0), leaf(1.0)
    g = torch.ones(1, dtype=torch.double)
    (x + w).backward(g)
    x.grad.add_(1)
    assert (x.grad.item(), w.grad.item(), g.item()) == (2.0, 1.0, 1.0)
    x.grad = None
    x.sum().backward()  # the cotangent of a sum is one number, repeated
    x.grad.mul_(3)
    assert x.grad.item() == 3.0


def test_modes_nest_and_decorate() -> None:
    x = leaf(1.0)

    @torch.no_grad()
    def double(v: Any) -> Any:
        assert not torch.is_grad_enabled()
        with torch.enable_grad():
            assert (v * 1).requires_grad
        return v * 2

    assert not double(x).requires_grad
    assert torch.is_grad_enabled()
    with torch.set_grad_enabled(False):
        assert not (x * 2).requires_grad
    assert (x * 2).requires_grad
    torch.set_grad_enabled(False)
    assert not (x * 2).requires_grad
    torch.set_grad_enabled(True)
    with pytest.raises(ZeroDivisionError), torch.no_grad():
        raise ZeroDivisionError
    assert torch.is_grad_enabled()


def test_hooks_go_away() -> None:
    x = leaf(1.0)
    handle = x.register_hook(lambda g: g * 10)
    (x * 2).sum().backward()
    handle.remove()
    (x * 2).sum().backward()
    assert x.grad.item() == 22.0


def test_detach_shares_memory_and_version() -> None:
    x = leaf(1.0, 2.0)
    y = x * 1
    z = (y * y).sum()
    y.detach().mul_(0)
    assert y.tolist() == [0.0, 0.0]
    with pytest.raises(RunError, match="changed in place since"):
        z.backward()


def test_data_is_changed_behind_the_tapes_back() -> None:
    x = leaf(1.0, 2.0)
    z = (x * x).sum()
    x.data -= 1.0
    z.backward()
    assert x.grad.tolist() == [0.0, 2.0]


def test_leaves_change_under_no_grad() -> None:
    x = leaf(1.0, 2.0)
    with torch.no_grad():
        x -= 0.5
        x[0] = 7.0
    assert x.is_leaf
    assert x.requires_grad
    assert x.tolist() == [7.0, 1.5]


def test_a_number_out_of_a_tensor_is_a_view_of_it() -> None:
    x = leaf(1.0, 2.0)
    y = x * 1
    y[0].mul_(3)
    y[1] += y[0].detach()
    (y * y).sum().backward()
    assert y.tolist() == [3.0, 5.0]
    assert x.grad.tolist() == [18.0, 10.0]


def test_constants_in_a_power_take_part_in_no_gradient() -> None:
    x = leaf(-2.0, 3.0)
    for n, wanted in ((2, [-4.0, 6.0]), (3, [12.0, 27.0]), (2, [-4.0, 6.0]), (0, [0.0, 0.0])):
        x.grad = None
        (x**n).sum().backward()
        assert x.grad.tolist() == wanted


def test_grad_of_a_result_and_of_a_leaf() -> None:
    x = leaf(2.0)
    y = x * x
    z = y * y
    gy, gx = torch.autograd.grad(z, (y, x))
    assert (gy.item(), gx.item()) == (8.0, 32.0)
    assert x.grad is None


def test_gradcheck_finds_a_wrong_gradient() -> None:
    class Wrong(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 2

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * 3

    x = leaf(1.0)
    assert torch.autograd.gradcheck(torch.tanh, (x,))
    assert torch.autograd.gradgradcheck(torch.tanh, (x,))
    assert not torch.autograd.gradcheck(Wrong.apply, (x,), raise_exception=False)
    with pytest.raises(torch_error(), match="central differences give"):
        torch.autograd.gradcheck(Wrong.apply, (x,))


def torch_error() -> type[Exception]:
    from staticgraph.errors import InvalidArgumentError

    return InvalidArgumentError


# ---------------------------------------------------------------- errors
def twice() -> None:
    y = (leaf(1.0) * leaf(2.0)).sum()
    y.backward()
    y.backward()


def vector() -> None:
    (leaf(1.0, 2.0) * 2).backward()


def nothing_recorded() -> None:
    leaf(1.0).detach().sum().backward()


def leaf_in_place() -> None:
    leaf(1.0).add_(1)


def view_of_a_leaf_in_place() -> None:
    leaf(1.0, 2.0)[0].mul_(2)


def changed_input() -> None:
    y = leaf(1.0) * 2
    z = y * y
    y.add_(1)
    z.backward()


def shapes() -> None:
    leaf(1.0, 2.0) + leaf(1.0, 2.0, 3.0)


def inner_sizes() -> None:
    torch.ones(2, 3) @ torch.ones(4, 5)


def wrong_grad() -> None:
    leaf(1.0, 2.0).grad = torch.ones(3, dtype=torch.double)


def wrong_grad_type() -> None:
    leaf(1.0, 2.0).grad = torch.ones(2)


def shared_array() -> None:
    leaf(1.0).numpy()


def integers() -> None:
    torch.arange(3).requires_grad_()


def truth() -> None:
    bool(torch.ones(2))


def no_tensor() -> None:
    torch.sin(2.0)


def unused() -> None:
    torch.autograd.grad(leaf(1.0).sum(), leaf(2.0))


def expanded() -> None:
    torch.ones(3).expand(2, 3).add_(1)


def fraction_into_integers() -> None:
    torch.arange(3).add_(0.5)


WRONG: list[tuple[Callable[[], None], type[Exception], str, str]] = [
    (twice, RunError, "a second time", "retain_graph=True"),
    (vector, RunError, r"float64\[2\] without a gradient", "gradient="),
    (nothing_recorded, RunError, "does not require a gradient", "requires_grad=True"),
    (leaf_in_place, RunError, "a leaf that requires a gradient", "no_grad"),
    (view_of_a_leaf_in_place, RunError, "a view of a leaf", "no_grad"),
    (changed_input, RunError, "version 1, expected 0", "clone"),
    (shapes, ShapeError, "do not broadcast, 2 and 3", ""),
    (inner_sizes, ShapeError, "inner dimensions differ, 3 and 4", ""),
    (wrong_grad, ShapeError, r"shape \[3\], the tensor it belongs to \[2\]", ""),
    (wrong_grad_type, DtypeError, "float32.2., the tensor it belongs to float64", ""),
    (shared_array, RunError, "share its memory", "detach"),
    (integers, DtypeError, "the tensor is int64", "float"),
    (truth, UsageError, "2 elements is neither true nor false", "any"),
    (no_tensor, UsageError, "takes a tensor, got float 2.0", "torch.tensor"),
    (unused, RunError, "has no part in the outputs", "allow_unused"),
    (expanded, RunError, "cannot be written", "clone"),
    (fraction_into_integers, DtypeError, "float32 cannot be put into a tensor of type int64", ""),
]


@pytest.mark.parametrize(
    ("function", "kind", "match", "hint"), [pytest.param(*w, id=w[0].__name__) for w in WRONG]
)
def test_errors_name_the_line_and_what_to_do(
    function: Callable[[], None], kind: type[Exception], match: str, hint: str
) -> None:
    with pytest.raises(kind, match=match) as e:
        function()
    text = str(e.value)
    assert f"test_autograd.py:{last_line(function)} in {function.__name__}:" in text
    assert hint in text


def last_line(function: Callable[[], None]) -> int:
    """The last line of the function is at fault."""
    return max(line for *_, line in function.__code__.co_lines() if line)


def test_a_change_in_place_is_named_with_both_lines() -> None:
    with pytest.raises(RunError) as e:
        changed_input()
    text = str(e.value)
    assert "recorded at test_autograd.py" in text
    assert "z = y * y" in text
    assert "changed at test_autograd.py" in text
    assert "y.add_(1)" in text


@pytest.mark.parametrize("key", [-1, slice(1, None, 2), (slice(None, -1), None), (..., 0)])
def test_a_slice_taken_of_tensors_of_other_shapes(key: Any) -> None:
    for shape in ((4,), (3, 2), (2, 3, 2), (4,)):  # what was kept of the first serves the others
        x = torch.randn(*shape, dtype=torch.double).requires_grad_()
        y = x[key]
        (y * y).sum().backward()
        wanted = np.zeros(shape)
        wanted[key] = 2 * x.detach().numpy()[key]
        np.testing.assert_array_equal(x.grad.numpy(), wanted)
        z = x * 1
        z[key].mul_(3)  # a view
        assert torch.equal(z[key], x[key] * 3)
        assert torch.autograd.gradgradcheck(lambda t: t[key] ** 3, (x,))
