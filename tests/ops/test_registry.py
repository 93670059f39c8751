"""Every op record against its own samples: inference, oracle, gradients, errors.

Nothing here knows a particular op: a new record is tested because it exists.
"""

from __future__ import annotations

import numpy as np
import pytest

import staticgraph.ops  # noqa: F401
from staticgraph.errors import DtypeError, ShapeError
from staticgraph.ir.build import convert
from staticgraph.ir.evaluate import evaluate
from staticgraph.ir.graph import Graph
from staticgraph.ir.op import ErrorSample, Op, Sample, registered
from staticgraph.passes.autodiff import vjp
from tests.ops.harness import flat_args, sample_function

CASES = [
    pytest.param(op, s, id=f"{op.name}-{i}")
    for op in registered()
    for i, s in enumerate(op.samples)
]
SMOOTH = [c for c in CASES if c.values[1].grad and c.values[0].grad is not None]
ERRORS = [
    pytest.param(op, s, id=f"{op.name}-{i}")
    for op in registered()
    for i, s in enumerate(op.error_samples)
]


@pytest.mark.parametrize(("op", "sample"), CASES)
def test_inferred_types_are_those_of_the_oracle(op: Op, sample: Sample) -> None:
    args = flat_args(op, sample)
    for symbolic in (False, True):
        f = sample_function(op, sample, symbolic)
        if op.numpy is None:
            continue
        attrs = dict(sample.attrs)
        names = {o.lstrip("@*") for o in op.operands}
        attrs = {k: v for k, v in attrs.items() if k in names or k in op.attrs}
        results, _ = evaluate(f, args)
        with np.errstate(all="ignore"):
            plain = not symbolic and not op.control
            raw = op.numpy(*args, **f.nodes[-1].attrs) if plain else None
        for v, r in zip(f.results, results, strict=True):
            assert v.type.shape is None or len(v.type.shape) == r.ndim
            if not symbolic:
                assert all(
                    not isinstance(d, int) or d == n
                    for d, n in zip(
                        r.shape if v.type.shape is None else v.type.dims, r.shape, strict=True
                    )
                )
                if raw is not None and len(f.results) == 1 and not isinstance(raw, (tuple, list)):
                    have = np.asarray(raw).dtype
                    assert have == v.dtype.np, f"numpy rule gives {have}, inferred {v.dtype.name}"


@pytest.mark.parametrize(("op", "sample"), SMOOTH)
def test_first_and_second_gradient_agree_with_central_differences(op: Op, sample: Sample) -> None:
    args = [a.astype("float64") if a.dtype.kind == "f" else a for a in flat_args(op, sample)]
    f = sample_function(op, sample, cast_to="float64")
    g = vjp(f)
    rng = np.random.default_rng(0)
    cotangents = [rng.normal(size=r.shape) for r in evaluate(f, args)[0]]
    cotangents = [
        c for c, v in zip(cotangents, f.results, strict=True) if v.dtype.is_differentiable
    ]
    held = set() if sample.grad is True else set(range(len(args))) - set(sample.grad)
    check_vjp(f, g, args, cotangents, rng, held)
    check_vjp(
        g,
        vjp(g),
        args + cotangents,
        [rng.normal(size=r.shape) for r in evaluate(g, args + cotangents)[0]],
        rng,
        held,
    )


def check_vjp(f, g, args, cotangents, rng, held) -> None:
    """<w, J v> by central difference equals <J^T w, v> by the rule; `held` are not moved."""
    eps = 1e-5
    v = [
        None
        if a.dtype.kind != "f"
        else np.zeros(a.shape)
        if i in held
        else rng.normal(size=a.shape)
        for i, a in enumerate(args)
    ]

    def shifted(sign):
        moved = [a if d is None else a + sign * eps * d for a, d in zip(args, v, strict=True)]
        out = evaluate(f, moved)[0]
        return [o for o in out if o.dtype.kind == "f"]

    with np.errstate(all="ignore"):
        forward = sum(
            float(np.sum(w * (p - m))) / (2 * eps)
            for w, p, m in zip(cotangents, shifted(1), shifted(-1), strict=True)
        )
    rule = evaluate(g, [*args, *cotangents])[0]
    reverse = sum(
        float(np.sum(r * d)) for r, d in zip(rule, [d for d in v if d is not None], strict=True)
    )
    scale = max(1.0, abs(forward), abs(reverse))
    assert abs(forward - reverse) < 2e-5 * scale, (forward, reverse)


@pytest.mark.parametrize(("op", "sample"), ERRORS)
def test_bad_arguments_are_refused_at_the_users_line(op: Op, sample: ErrorSample) -> None:
    with Graph().as_default(), pytest.raises((ShapeError, DtypeError), match=sample.match) as e:
        kwargs = dict(sample.attrs)
        data = iter(sample.args)
        for o in op.operands:
            if not o.startswith("@"):
                a = next(data)
                kwargs[o.lstrip("*")] = (
                    [convert(x) for x in a] if isinstance(a, (list, tuple)) else convert(a)
                )
        op(**kwargs)
    assert str(e.value).startswith(op.name)
    assert "test_registry.py" in str(e.value)
