"""Every op record on tensors: its forward is the numpy rule, its gradients are the static ones.

Nothing here knows a particular op: a new record is tested because it exists.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import staticgraph.dynamic as torch
from staticgraph.dynamic.tensor import Tensor
from staticgraph.errors import DtypeError, ShapeError
from staticgraph.ir.evaluate import evaluate
from staticgraph.ir.op import ErrorSample, Op, Sample, registered
from staticgraph.passes.autodiff import vjp
from tests.ops.harness import flat_args, sample_function

# Const holds its value as an attribute, and stands for what tensors are themselves.
RECORDS = [op for op in registered() if op.effect == "pure" and op.name != "Const"]
CASES = [pytest.param(op, s, id=f"{op.name}-{i}") for op in RECORDS
         for i, s in enumerate(op.samples)]  # fmt: skip
SMOOTH = [c for c in CASES if c.values[1].grad and c.values[0].grad is not None]
# Tensors of two types become one, where a graph refuses them.
ERRORS = [pytest.param(op, s, id=f"{op.name}-{i}") for op in RECORDS
          for i, s in enumerate(op.error_samples)
          if "dtypes differ" not in s.match]  # fmt: skip


def applied(op: Op, sample: Sample | ErrorSample, tensors: list[Any]) -> list[Tensor]:
    """`op` on the sample's attributes and on `tensors` for its arrays."""
    kwargs: dict[str, Any] = dict(sample.attrs)
    rest = iter(tensors)
    data = iter(sample.args)
    for o in op.operands:
        if not o.startswith("@"):
            a = next(data)
            many = isinstance(a, (list, tuple))
            kwargs[o.lstrip("*")] = [next(rest) for _ in a] if many else next(rest)
    if not tensors:  # nothing says that it is for tensors
        return as_list(torch.apply(op, (), kwargs))
    return as_list(op(**kwargs))


def as_list(out: Any) -> list[Tensor]:
    return list(out) if isinstance(out, list) else [out]


@pytest.mark.parametrize(("op", "sample"), CASES)
def test_forward_is_the_numpy_rule(op: Op, sample: Sample) -> None:
    args = flat_args(op, sample)
    if any(a.dtype == object for a in args):
        pytest.skip("there are no tensors of strings")
    wanted, _ = evaluate(sample_function(op, sample), args)
    tensors = [torch.tensor(a) for a in args]
    before = [t.clone() for t in tensors]
    found = applied(op, sample, tensors)
    assert len(found) == len(wanted)
    for f, w in zip(found, wanted, strict=True):
        assert f.dtype.np == w.dtype
        np.testing.assert_array_equal(f.numpy(), w)
    for t, b in zip(tensors, before, strict=True):
        np.testing.assert_array_equal(t.numpy(), b.numpy())


def random(values: Any) -> list[np.ndarray]:
    """A random array for each value of floats."""
    rng = np.random.default_rng(0)
    return [rng.normal(size=v.shape) for v in values if v.dtype.kind == "f"]


@pytest.mark.parametrize(("op", "sample"), SMOOTH)
def test_gradients_are_the_static_ones(op: Op, sample: Sample) -> None:
    args = [a.astype("float64") if a.dtype.kind == "f" else a for a in flat_args(op, sample)]
    f = sample_function(op, sample, cast_to="float64")
    g = vjp(f)
    seeds = random(evaluate(f, args)[0])
    wanted, _ = evaluate(g, [*args, *seeds])

    tensors = [torch.tensor(a) for a in args]
    cotangents = [torch.tensor(s) for s in seeds]
    leaves = [t.requires_grad_() for t in (*tensors, *cotangents) if t.is_floating_point()]
    inputs = [t for t in tensors if t.is_floating_point()]
    outs = [o for o in applied(op, sample, tensors) if o.is_floating_point()]
    found = gradients(outs, cotangents, inputs, create_graph=True)
    agree(found, wanted)
    again = random(wanted)
    wanted, _ = evaluate(vjp(g), [*args, *seeds, *again])
    agree(gradients(found, [torch.tensor(a) for a in again], leaves), wanted)


def gradients(outs: Any, cotangents: Any, inputs: Any, **options: Any) -> Any:
    """Gradients, zeros where an input has no part in the outputs."""
    pairs = [(o, c) for o, c in zip(outs, cotangents, strict=True) if o.requires_grad]
    if not pairs:
        return [torch.zeros_like(t) for t in inputs]
    return torch.autograd.grad(
        [o for o, _ in pairs], inputs, [c for _, c in pairs], materialize_grads=True, **options
    )


def agree(found: Any, wanted: list[np.ndarray]) -> None:
    assert len(found) == len(wanted)
    for f, w in zip(found, wanted, strict=True):
        np.testing.assert_allclose(f.detach().numpy(), w, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("op", "sample"), ERRORS)
def test_bad_arguments_are_refused_at_the_users_line(op: Op, sample: ErrorSample) -> None:
    arrays = [
        np.asarray(x)
        for a in sample.args
        for x in (a if isinstance(a, (list, tuple)) else (a,))
    ]  # fmt: skip
    if any(a.dtype == object for a in arrays):
        pytest.skip("there are no tensors of strings")
    with pytest.raises((ShapeError, DtypeError), match=sample.match) as e:
        applied(op, sample, [torch.tensor(a) for a in arrays])
    assert str(e.value).startswith(op.name)
    assert "test_registry.py" in str(e.value)
