"""What the registry's samples cannot say of elementwise ops: names, kinks, parameters, sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import staticgraph.ops  # noqa: F401
from staticgraph.api import activations, casting, clip, comparison, division, math
from staticgraph.errors import DtypeError, ShapeError, UsageError
from staticgraph.ir import dtypes
from staticgraph.ir.build import constant
from staticgraph.ir.evaluate import evaluate
from staticgraph.ir.function import Builder
from staticgraph.ir.graph import Graph
from staticgraph.ir.op import lookup
from staticgraph.ir.types import TensorType
from staticgraph.passes.autodiff import vjp


def apply(name: str, *arrays: Any, **attrs: Any) -> Any:
    """A function of one op, float64 unless the array says otherwise."""
    b = Builder(name)
    arrays = tuple(np.asarray(a) for a in arrays)
    xs = [
        b.param("feed", f"x{i}", TensorType(dtypes.as_dtype(a.dtype), a.shape))
        for i, a in enumerate(arrays)
    ]
    with b:
        y = lookup(name)(*xs, **attrs)
    return b.finish([y]), arrays


def gradients(name: str, *arrays: Any, order: int = 1, **attrs: Any) -> list[np.ndarray]:
    """Cotangents of all operands for a cotangent of ones."""
    f, args = apply(name, *arrays, **attrs)
    g: Any = f
    for _ in range(order):
        ones = [np.ones(r.shape, r.dtype) for r in evaluate(g, args)[0]]
        g, args = vjp(g), (*args, *ones)
    return evaluate(g, args)[0]


@pytest.mark.parametrize(("name", "args", "expected"), [
    ("Relu", ([0.0, -0.0, 1.0],), [[0, 0, 1]]),
    ("Relu6", ([0.0, 6.0, 3.0],), [[0, 0, 1]]),
    ("Abs", ([0.0, -2.0],), [[0, -1]]),
    ("Maximum", ([1.0, 1.0, 2.0], [1.0, 2.0, 1.0]), [[1, 0, 1], [0, 1, 0]]),
    ("Minimum", ([1.0, 1.0, 2.0], [1.0, 2.0, 1.0]), [[1, 1, 0], [0, 0, 1]]),
    ("Elu", ([0.0, -800.0, 800.0],), [[1, 0, 1]]),
    ("Softplus", ([-800.0, 800.0],), [[0, 1]]),
    ("Pow", ([0.0, 0.0, -2.0], [0.0, 1.0, 2.0]), [[0, 1, -4], [0, 0, 0]]),
    ("Xlogy", ([0.0, 2.0], [0.0, 1.0]), [[0, 0], [0, 2]]),
    ("Xdivy", ([0.0, 2.0], [0.0, 1.0]), [[0, 1], [0, -2]]),
    ("MulNoNan", ([np.inf, 2.0], [0.0, 3.0]), [[0, 3], [np.inf, 2]]),
    ("DivNoNan", ([1.0, 2.0], [0.0, 1.0]), [[0, 1], [0, -2]]),
    ("ClipByValue", ([-2.0, -1.0, 0.0, 2.0], -1.0, 1.0), [[0, 1, 1, 0], 1, 1]),
])  # fmt: skip
def test_gradients_at_kinks_are_tensorflows(name: str, args: Any, expected: Any) -> None:
    for have, want in zip(gradients(name, *args), expected, strict=True):
        np.testing.assert_array_equal(have, np.asarray(want, dtype=float))


@pytest.mark.parametrize("name", ["Elu", "Selu", "Softplus", "Sigmoid", "Tanh", "Softsign"])
def test_second_gradients_of_activations_stay_finite_far_out(name: str) -> None:
    for g in gradients(name, [-1e3, -30.0, 0.0, 30.0, 1e3], order=2):
        assert np.isfinite(g).all()


def test_second_gradients_of_powers_are_finite_at_zero() -> None:
    for x, y in ((0.0, 0.0), (0.0, 1.0), (0.0, 2.0), (-1.0, 2.0)):
        for g in gradients("Pow", x, y, order=2):
            assert np.isfinite(g).all(), (x, y, g)


@pytest.mark.parametrize(("name", "parameters", "x"), [
    ("Polygamma", (2.0,), 1.3), ("Zeta", (2.5,), 0.7), ("Igamma", (1.7,), 0.9),
    ("Igammac", (1.7,), 2.9), ("Betainc", (1.2, 2.3), 0.4),
])  # fmt: skip
def test_gradients_in_the_last_operand_of_parameterised_functions(
    name: str, parameters: tuple[float, ...], x: float
) -> None:
    eps = 1e-5
    high, low = (evaluate(*apply(name, *parameters, x + d))[0][0] for d in (eps, -eps))
    have = gradients(name, *parameters, x)[-1]
    assert have == pytest.approx((high - low) / (2 * eps), rel=1e-6)
    slopes = [gradients(name, *parameters, x + d)[-1] for d in (eps, -eps)]
    f, args = apply(name, *parameters, x)
    second = vjp(vjp(f))
    zeros = [np.zeros(r.shape) for r in evaluate(vjp(f), (*args, np.ones(())))[0]]
    zeros[-1] = np.ones(())
    out = evaluate(second, (*args, np.ones(()), *zeros))[0]
    assert out[len(parameters)] == pytest.approx((slopes[0] - slopes[1]) / (2 * eps), rel=1e-5)


def names(g: Graph) -> list[tuple[str, str]]:
    return [(op.name, op.type) for op in g.get_operations()]


def test_division_is_named_as_in_tensorflow() -> None:
    with Graph().as_default() as g:
        i, f = constant([1, 2], name="i"), constant([1.0], name="f")
        assert (f / 2).dtype is dtypes.float32
        assert (i / 2).dtype is dtypes.float64
        assert (1.0 / f).op.name == "truediv_2"
        division.div(i, 2)
        assert names(g)[2:] == [
            ("truediv/y", "Const"), ("truediv", "RealDiv"),
            ("truediv_1/y", "Const"), ("truediv_1/Cast", "Cast"), ("truediv_1/Cast_1", "Cast"),
            ("truediv_1", "RealDiv"),
            ("truediv_2/x", "Const"), ("truediv_2", "RealDiv"),
            ("div/y", "Const"), ("div", "FloorDiv"),
        ]  # fmt: skip


def test_division_of_values_in_functions_converts_integers() -> None:
    b = Builder("f")
    x = b.param("feed", "x", TensorType(dtypes.int32, (2,)))
    with b:
        out = [x / 2, x / x, 3 / x]
    for v, want in zip(
        evaluate(b.finish(out), [np.array([1, 2])])[0], ([0.5, 1], [1, 1], [3, 1.5]), strict=True
    ):
        assert v.dtype == np.float64
        np.testing.assert_array_equal(v, want)


def test_clipping_builds_the_operations_of_tensorflow() -> None:
    with Graph().as_default() as g:
        t = constant([1.0], name="t")
        clip.clip_by_value(t, -1.0, 1.0)
        assert names(g)[1:] == [
            ("clip_by_value/Minimum/y", "Const"), ("clip_by_value/Minimum", "Minimum"),
            ("clip_by_value/y", "Const"), ("clip_by_value", "Maximum"),
        ]  # fmt: skip
        with pytest.raises(ValueError, match="2"):
            clip.clip_by_value(t, [0.0, 0.0], 1.0)


def test_arithmetic_on_sizes_is_followed() -> None:
    with Graph().as_default():
        x = lookup("Placeholder")(dtype=dtypes.float32, shape=(None, 4))
        n = lookup("Shape")(x)
        for y in (
            n * 2 - 1,
            -n,
            n // 2,
            n % 3,
            math.maximum(n, 0),
            casting.cast(n, dtypes.int64) + 1,
        ):
            assert y.known is not None


def test_refusals_say_what_to_do() -> None:
    with Graph().as_default():
        x, i = constant([1.0]), constant([1])
        with pytest.raises(DtypeError, match="RealDiv: dtypes differ, float32 and int32"):
            x / i
        with pytest.raises(ShapeError, match="the scalar has shape"):
            math.scalar_mul([1.0, 2.0], x)
        with pytest.raises(UsageError, match="both x and y"):
            comparison.where([True], x)
        with pytest.raises(UsageError, match="at least one tensor"):
            math.add_n([])


def test_casting_to_the_same_type_builds_nothing() -> None:
    with Graph().as_default() as g:
        x = constant([1.0])
        assert casting.cast(x, "float32") is x
        assert activations.leaky_relu(constant(1)).dtype is dtypes.float32
        assert [op.name for op in g.get_operations()][-2:] == ["LeakyRelu/Cast", "LeakyRelu"]


def test_norms_are_clipped_where_the_rank_is_unknown() -> None:
    with Graph().as_default():
        x = lookup("Placeholder")(dtype=dtypes.float32, shape=None)
        assert clip.clip_by_norm(x, 1.0).dtype is dtypes.float32
        assert clip.clip_by_average_norm(x, 1.0).dtype is dtypes.float32
        (y, nothing), norm = clip.clip_by_global_norm([x, None], 1.0)
        assert nothing is None
        assert (y.op.name, norm.shape.ndims) == ("clip_by_global_norm/clip_by_global_norm_0", 0)
