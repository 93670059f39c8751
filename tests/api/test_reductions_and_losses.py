"""Reductions, contractions, losses and normalisation against numpy, and their derivatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import special

import staticgraph.ops  # noqa: F401
from staticgraph.api import contraction, gradients, linalg, losses, normalization, reduction
from staticgraph.api import loss_functions as functions
from staticgraph.errors import StaticGraphError
from staticgraph.ir.build import constant
from staticgraph.ir.graph import Graph
from staticgraph.ir.op import lookup

RNG = np.random.default_rng(0)
X, Z = RNG.normal(size=(3, 4)), RNG.normal(size=(3, 4))
P = special.softmax(Z, -1)
K = np.array([1, 0, 3])


def value(t: Any) -> np.ndarray:
    """The value of a tensor that depends on constants alone, by the numpy rules."""
    memo: dict[Any, np.ndarray] = {}
    for op in t.graph.get_operations():
        data, static = op.split()
        attrs = dict(op.attrs)
        for k, x in static.items():
            attrs[k] = tuple(memo[x].tolist()) if memo[x].ndim else memo[x].item()
        with np.errstate(all="ignore"):
            out = op.record.numpy(*[memo[x] for x in data], **attrs)
        outs = out if isinstance(out, (tuple, list)) else (out,)
        for y, o in zip(op.outputs, outs, strict=True):
            memo[y] = np.asarray(o, dtype=y.dtype.base.np)
    return memo[t]


EQUATIONS = [
    ("ij,jk->ik", (2, 3), (3, 4)), ("bij,bjk->bik", (2, 3, 4), (2, 4, 5)), ("ij->ji", (2, 3)),
    ("ij->", (2, 3)), ("ii->i", (3, 3)), ("ii", (3, 3)), ("i,j->ij", (2,), (3,)),
    ("abc,cd,de->abe", (2, 3, 4), (4, 5), (5, 2)), ("ij,ij->i", (2, 3), (2, 3)),
    ("bhid,bhjd->bhij", (2, 3, 4, 5), (2, 3, 6, 5)), ("ijk,j->ki", (2, 3, 4), (3,)),
    ("i,i->", (3,), (3,)), ("abcd,cdef->abef", (2, 2, 3, 2), (3, 2, 2, 2)), ("ba,c", (2, 3), (2,)),
]  # fmt: skip


@pytest.mark.parametrize(("equation", "shapes"), [(e, s) for e, *s in EQUATIONS])
def test_einsum_is_that_of_numpy(equation: str, shapes: list[tuple[int, ...]]) -> None:
    arrays = [RNG.normal(size=s) for s in shapes]
    with Graph().as_default():
        got = value(contraction.einsum(equation, *map(constant, arrays)))
    np.testing.assert_allclose(got, np.einsum(equation, *arrays))


@pytest.mark.parametrize(
    ("equation", "n"), [("ij,jk->iz", 2), ("ij", 2), ("i->i", 1), ("ij,jk->iik", 2), ("i.j", 1)]
)
def test_einsum_refuses_what_does_not_fit(equation: str, n: int) -> None:
    with Graph().as_default(), pytest.raises(ValueError, match="einsum: "):
        contraction.einsum(equation, *[constant(X), constant(Z.T)][:n])


@pytest.mark.parametrize("axes", [0, 1, 2, [[1, 2], [1, 0]], [[-1], [0]]])
def test_tensordot_is_that_of_numpy(axes: Any) -> None:
    a = RNG.normal(size=(2, 3, 4))
    b = RNG.normal(size=(3, 4, 2) if axes == 2 else (4, 3, 5))
    with Graph().as_default():
        got = value(contraction.tensordot(constant(a), constant(b), axes))
    np.testing.assert_allclose(got, np.tensordot(a, b, axes))


VALUES: dict[str, tuple[Callable[[], Any], Any]] = {
    "softmax along axis 0": (lambda: losses.softmax(constant(X), 0), special.softmax(X, 0)),
    "log_softmax": (lambda: losses.log_softmax(constant(X)), special.log_softmax(X, -1)),
    "dense cross entropy": (
        lambda: losses.softmax_cross_entropy_with_logits(labels=constant(P), logits=constant(X)),
        -(P * special.log_softmax(X, -1)).sum(-1),
    ),
    "dense cross entropy along axis 0": (
        lambda: losses.softmax_cross_entropy_with_logits_v2(constant(P.T), constant(X.T), axis=0),
        -(P * special.log_softmax(X, -1)).sum(-1),
    ),
    "sparse cross entropy": (
        lambda: losses.sparse_softmax_cross_entropy_with_logits(
            labels=constant(K), logits=constant(X)
        ),
        -special.log_softmax(X, -1)[np.arange(3), K],
    ),
    "sigmoid cross entropy": (
        lambda: losses.sigmoid_cross_entropy_with_logits(labels=constant(P), logits=constant(X)),
        -(P * special.log_expit(X) + (1 - P) * special.log_expit(-X)),
    ),
    "logsumexp": (lambda: reduction.reduce_logsumexp(constant(X), 1), special.logsumexp(X, 1)),
    "std": (lambda: reduction.reduce_std(constant(X), 0), X.std(0)),
    "moments": (lambda: normalization.moments(constant(X), [0])[1], X.var(0)),
    "fused_batch_norm": (
        lambda: normalization.fused_batch_norm(
            constant(X[None, None]), constant(np.ones(4)), constant(np.zeros(4)), epsilon=0.0
        )[0],
        ((X - X.mean(0)) / X.std(0))[None, None],
    ),
    "fused_batch_norm, channels second": (
        lambda: normalization.fused_batch_norm(
            constant(X.T[None, :, None]), constant(np.ones(4)), constant(np.zeros(4)), epsilon=0.0,
            data_format="NCHW",
        )[0],
        ((X - X.mean(0)) / X.std(0)).T[None, :, None],
    ),
    "weighted mean squared error": (
        lambda: functions.mean_squared_error(
            constant(X), constant(Z), constant(np.array([[1.0], [0], [2]]))
        ),
        (((X - Z) ** 2) * [[1], [0], [2]]).sum() / 8,
    ),
    "spectral norm": (lambda: linalg.norm(constant(X), 2, (0, 1)), np.linalg.norm(X, 2)),
    "trace": (lambda: linalg.trace(constant(X[:, :3])), np.trace(X[:, :3])),
}  # fmt: skip


@pytest.mark.parametrize("case", VALUES)
def test_values(case: str) -> None:
    build, want = VALUES[case]
    with Graph().as_default():
        np.testing.assert_allclose(value(build()), want, rtol=1e-9)


def _sum(t: Any) -> Any:
    return reduction.reduce_sum(t)


SMOOTH: dict[str, tuple[Callable[..., Any], tuple[np.ndarray, ...]]] = {
    "dense cross entropy, labels too": (
        lambda a, b: _sum(losses.softmax_cross_entropy_with_logits_v2(losses.softmax(b), a)),
        (X, Z),
    ),
    "sparse cross entropy": (
        lambda a: _sum(
            losses.sparse_softmax_cross_entropy_with_logits(labels=constant(K), logits=a)
        ),
        (X,),
    ),
    "logsumexp": (lambda a: _sum(lookup("Square")(reduction.reduce_logsumexp(a, 1))), (X,)),
    "moments": (lambda a: _sum(normalization.moments(a, [0])[1] * constant(Z[0])), (X,)),
    "product": (lambda a: _sum(reduction.reduce_prod(a, [0, 1])), (X,)),
    "extremes": (
        lambda a: _sum(reduction.reduce_max(a, 0) * reduction.reduce_min(a, 1, True)), (X,),
    ),
    "cholesky": (
        lambda a: _sum(linalg.cholesky(linalg.matmul(a, a, transpose_b=True)) * constant(Z[:, :3])),
        (X[:, :3] + 2 * np.eye(3),),
    ),
    "normalised einsum": (
        lambda a, b: _sum(
            linalg.l2_normalize(contraction.einsum("ij,kj->ik", a, b), 1) * constant(Z[:, :3])
        ),
        (X, Z),
    ),
}  # fmt: skip


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("case", SMOOTH)
def test_derivatives_agree_with_central_differences(case: str, order: int) -> None:
    first, arrays = SMOOTH[case]
    directions = [np.random.default_rng(i).normal(size=a.shape) for i, a in enumerate(arrays)]

    def second(*ts: Any) -> Any:
        gs = gradients.gradients(first(*ts), list(ts))
        return _sum(sum(_sum(g * constant(d)) for g, d in zip(gs, directions, strict=True)))

    build = first if order == 1 else second

    def run(sign: float) -> float:
        moved = [a + sign * 1e-5 * d for a, d in zip(arrays, directions, strict=True)]
        with Graph().as_default():
            return float(value(build(*map(constant, moved))))

    with Graph().as_default():
        ts = [constant(a) for a in arrays]
        gs = [value(g) for g in gradients.gradients(build(*ts), ts)]
    along = sum(float((g * d).sum()) for g, d in zip(gs, directions, strict=True))
    np.testing.assert_allclose(along, (run(1) - run(-1)) / 2e-5, rtol=1e-6, atol=1e-6)


def test_reducing_everything_puts_the_axes_beside_the_op() -> None:
    with Graph().as_default() as graph:
        x = constant(X, name="x")
        reduction.reduce_sum(x)
        reduction.reduce_mean(x, 1)
        linalg.matmul(x, x, transpose_a=True)
        names = [(op.name, op.type) for op in graph.get_operations()]
    assert names == [
        ("x", "Const"), ("Const", "Const"), ("Sum", "Sum"), ("Mean/reduction_indices", "Const"),
        ("Mean", "Mean"), ("MatMul", "MatMul"),
    ]  # fmt: skip


def test_losses_are_collected_and_misuse_is_named() -> None:
    with Graph().as_default():
        functions.mean_squared_error(constant(X), constant(Z))
        functions.absolute_difference(constant(X), constant(Z))
        assert [t.name for t in functions.get_losses()] == [
            "mean_squared_error/value:0", "absolute_difference/value:0",
        ]  # fmt: skip
        np.testing.assert_allclose(
            value(functions.get_total_loss()), ((X - Z) ** 2).mean() + abs(X - Z).mean()
        )
        with pytest.raises(ValueError, match="do not broadcast"):
            functions.mean_squared_error(constant(X), constant(Z), constant(np.ones(4)))
        with pytest.raises(TypeError, match="by name"):
            losses.softmax_cross_entropy_with_logits(X, Z)
        with pytest.raises(StaticGraphError, match="two names of one argument"):
            reduction.reduce_sum(X, axis=0, reduction_indices=0)
        with pytest.raises(StaticGraphError, match="label 4 is outside"):
            value(losses.sparse_softmax_cross_entropy_with_logits(labels=[0, 4, 1], logits=X))
