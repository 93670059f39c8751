"""Each optimizer against a transcription of its formula in numpy, and what surrounds them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import staticgraph as tf

STEPS = 5
START = np.array([[1.0, -2.0, 0.5], [0.25, 3.0, -0.75]], np.float32)
SLOPE = np.array([[0.5, 1.5, -1.0], [2.0, -0.25, 1.0]], np.float32)


@pytest.fixture(autouse=True)
def graph() -> Iterator[tf.Graph]:
    with tf.Graph().as_default() as g:
        yield g


def slope(w: np.ndarray) -> np.ndarray:
    """The gradient of sum(w**2 * SLOPE / 2 + w)."""
    return w * SLOPE + 1


def trained(optimizer: Any, steps: int = STEPS) -> list[np.ndarray]:
    w = tf.Variable(START, name="w")
    loss = tf.reduce_sum(w * w * SLOPE / 2.0 + w)
    step = optimizer.minimize(loss)
    values = []
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        for _ in range(steps):
            values.append(sess.run([step, w])[1])
    return values


def gradient_descent(w: Any, g: Any, s: dict[str, Any], t: int) -> Any:
    return w - 0.1 * g


def momentum(w: Any, g: Any, s: dict[str, Any], t: int) -> Any:
    s["a"] = 0.9 * s.get("a", 0) + g
    return w - 0.1 * s["a"]


def nesterov(w: Any, g: Any, s: dict[str, Any], t: int) -> Any:
    s["a"] = 0.9 * s.get("a", 0) + g
    return w - (g * 0.1 + s["a"] * 0.9 * 0.1)


def adagrad(w: Any, g: Any, s: dict[str, Any], t: int) -> Any:
    s["a"] = s.get("a", 0.1) + g * g
    return w - 0.1 * g / np.sqrt(s["a"])


def adadelta(w: Any, g: Any, s: dict[str, Any], t: int) -> Any:
    s["a"] = 0.95 * s.get("a", 0) + 0.05 * g * g
    u = g * np.sqrt(s.get("d", 0) + 1e-6) / np.sqrt(s["a"] + 1e-6)
    s["d"] = 0.95 * s.get("d", 0) + 0.05 * u * u
    return w - 1.0 * u


def rmsprop(w: Any, g: Any, s: dict[str, Any], t: int) -> Any:
    s["r"] = 0.9 * s.get("r", 1.0) + 0.1 * g * g
    s["m"] = 0.5 * s.get("m", 0) + 0.1 * g / np.sqrt(s["r"] + 1e-10)
    return w - s["m"]


def rmsprop_centered(w: Any, g: Any, s: dict[str, Any], t: int) -> Any:
    s["r"] = 0.9 * s.get("r", 1.0) + 0.1 * g * g
    s["g"] = 0.9 * s.get("g", 0) + 0.1 * g
    s["m"] = 0.5 * s.get("m", 0) + 0.1 * g / np.sqrt(s["r"] - s["g"] ** 2 + 1e-10)
    return w - s["m"]


def adam(w: Any, g: Any, s: dict[str, Any], t: int) -> Any:
    s["m"] = 0.9 * s.get("m", 0) + 0.1 * g
    s["v"] = 0.999 * s.get("v", 0) + 0.001 * g * g
    rate = 0.1 * np.sqrt(1 - 0.999**t) / (1 - 0.9**t)
    return w - rate * s["m"] / (np.sqrt(s["v"]) + 1e-8)


def ftrl(w: Any, g: Any, s: dict[str, Any], t: int, power: float = 0.5) -> Any:
    n = s.get("n", 0.1)
    total = n + g * g
    push = g + 2 * 0.05 * w
    s["z"] = s.get("z", 0) + push - (total**power - n**power) / 0.5 * w
    s["n"] = total
    l1, l2 = 0.2, 0.3
    new = (np.sign(s["z"]) * l1 - s["z"]) / (total**power / 0.5 + 2 * l2)
    return np.where(np.abs(s["z"]) > l1, new, 0)


def proximal(w: Any, g: Any, s: dict[str, Any], t: int) -> Any:
    p = w - 0.1 * g
    return np.sign(p) * np.maximum(np.abs(p) - 0.1 * 0.2, 0) / (1 + 0.1 * 0.3)


def proximal_adagrad(w: Any, g: Any, s: dict[str, Any], t: int) -> Any:
    s["a"] = s.get("a", 0.1) + g * g
    rate = 0.1 / np.sqrt(s["a"])
    p = w - rate * g
    return np.sign(p) * np.maximum(np.abs(p) - rate * 0.2, 0) / (1 + rate * 0.3)


CASES: list[tuple[Callable[..., Any], Callable[[], Any]]] = [
    (gradient_descent, lambda: tf.train.GradientDescentOptimizer(0.1)),
    (momentum, lambda: tf.train.MomentumOptimizer(0.1, 0.9)),
    (nesterov, lambda: tf.train.MomentumOptimizer(0.1, 0.9, use_nesterov=True)),
    (adagrad, lambda: tf.train.AdagradOptimizer(0.1)),
    (adadelta, lambda: tf.train.AdadeltaOptimizer(1.0, 0.95, 1e-6)),
    (rmsprop, lambda: tf.train.RMSPropOptimizer(0.1, momentum=0.5)),
    (rmsprop_centered, lambda: tf.train.RMSPropOptimizer(0.1, momentum=0.5, centered=True)),
    (adam, lambda: tf.train.AdamOptimizer(0.1)),
    (
        ftrl,
        lambda: tf.train.FtrlOptimizer(
            0.5,
            l1_regularization_strength=0.2,
            l2_regularization_strength=0.3,
            l2_shrinkage_regularization_strength=0.05,
        ),
    ),
    (
        lambda *a: ftrl(*a, power=0.7),
        lambda: tf.train.FtrlOptimizer(
            0.5,
            -0.7,
            l1_regularization_strength=0.2,
            l2_regularization_strength=0.3,
            l2_shrinkage_regularization_strength=0.05,
        ),
    ),
    (proximal, lambda: tf.train.ProximalGradientDescentOptimizer(0.1, 0.2, 0.3)),
    (proximal_adagrad, lambda: tf.train.ProximalAdagradOptimizer(0.1, 0.1, 0.2, 0.3)),
]


@pytest.mark.parametrize(("formula", "make"), CASES, ids=lambda c: getattr(c, "__name__", ""))
def test_five_steps_follow_the_formula(formula: Any, make: Any) -> None:
    state: dict[str, Any] = {}
    w = START.astype(np.float64)
    want = []
    for t in range(1, STEPS + 1):
        w = formula(w, slope(w), state, t)
        want.append(w)
    # 1 - beta2 keeps few digits in float32
    np.testing.assert_allclose(trained(make()), want, rtol=2e-5, atol=5e-6)


def test_adam_steps_in_the_precision_of_the_variable() -> None:
    w = tf.Variable(START.astype(np.float64))
    step = tf.train.AdamOptimizer(0.125, 0.5, 0.75).minimize(w * SLOPE.astype(np.float64))
    want, m, v = START.astype(np.float64), np.zeros_like(START), np.zeros_like(START)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        for t in range(1, STEPS + 1):
            sess.run(step)
            m, v = m + 0.5 * (SLOPE - m), v + 0.25 * (SLOPE.astype(np.float64) ** 2 - v)
            rate = 0.125 * np.sqrt(1 - 0.75**t) / (1 - 0.5**t)
            want = want - rate * m / (np.sqrt(v) + np.float64(np.float32(1e-8)))
        np.testing.assert_allclose(sess.run(w), want, rtol=1e-13)


def test_slots_are_named_after_variable_and_optimizer() -> None:
    with tf.variable_scope("layer"):
        w = tf.get_variable("w", [2])
    adam = tf.train.AdamOptimizer()
    adam.minimize(tf.reduce_sum(w * w))
    assert [v.name for v in adam.variables()] == [
        "beta1_power:0",
        "beta2_power:0",
        "layer/w/Adam:0",
        "layer/w/Adam_1:0",
    ]
    assert adam.get_slot_names() == ["m", "v"]
    assert adam.get_slot(w, "m").op.name == "layer/w/Adam"
    assert adam.get_slot(w, "n") is None
    assert tf.trainable_variables() == [w]
    assert [op.name for op in tf.get_collection(tf.GraphKeys.TRAIN_OP)] == ["Adam"]


def test_the_global_step_counts() -> None:
    w = tf.Variable(1.0)
    step = tf.train.get_or_create_global_step()
    assert tf.train.get_or_create_global_step() is step
    train = tf.train.GradientDescentOptimizer(0.1).minimize(w * w, global_step=step)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        for _ in range(3):
            sess.run(train)
        assert tf.train.global_step(sess, step) == 3
        assert sess.run(w) == pytest.approx(0.8**3)


def test_the_fetched_cost_is_that_before_the_step() -> None:
    w = tf.Variable(2.0)
    cost = w * w
    train = tf.train.GradientDescentOptimizer(0.25).minimize(cost)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        assert sess.run([train, cost, w]) == [None, 4.0, 1.0]


def test_a_constraint_is_applied_after_the_update() -> None:
    w = tf.Variable([3.0, -3.0], constraint=lambda v: tf.maximum(v, 0.0))
    train = tf.train.GradientDescentOptimizer(0.1).minimize(tf.reduce_sum(w))
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        sess.run(train)
        np.testing.assert_allclose(sess.run(w), [2.9, 0.0])


def test_gradients_can_be_changed_between_computing_and_applying() -> None:
    w = tf.Variable([3.0, -3.0])
    other = tf.Variable(1.0)
    optimizer = tf.train.GradientDescentOptimizer(1.0)
    pairs = optimizer.compute_gradients(tf.reduce_sum(w * w))
    assert [g is None for g, _ in pairs] == [False, True] and pairs[1][1] is other
    train = optimizer.apply_gradients(
        [(tf.clip_by_value(g, -1.0, 1.0), v) for g, v in pairs if g is not None]
    )
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        sess.run(train)
        np.testing.assert_allclose(sess.run(w), [2.0, -2.0])


def test_misuse_is_refused() -> None:
    w = tf.Variable(1.0)
    optimizer = tf.train.GradientDescentOptimizer(1.0)
    with pytest.raises(ValueError, match="depends on none"):
        optimizer.minimize(tf.constant(1.0), var_list=[w])
    with pytest.raises(ValueError, match="no variables were given"):
        optimizer.apply_gradients([])
    with pytest.raises(ValueError, match="no gradient for any"):
        optimizer.apply_gradients([(None, w)])
    with pytest.raises(TypeError, match="int32; only floating"):
        optimizer.minimize(tf.constant(1))


# ---------------------------------------------------------------- learning rates
def rates(make: Callable[[Any], Any], steps: list[int]) -> list[float]:
    step = tf.placeholder(tf.int64, [])
    rate = make(step)
    with tf.Session() as sess:
        return [float(sess.run(rate, {step: s})) for s in steps]


SCHEDULES: list[tuple[str, Callable[[Any], Any], Callable[[int], float]]] = [
    (
        "exponential",
        lambda s: tf.train.exponential_decay(0.1, s, 10, 0.5),
        lambda s: 0.1 * 0.5 ** (s / 10),
    ),
    (
        "staircase",
        lambda s: tf.train.exponential_decay(0.1, s, 10, 0.5, staircase=True),
        lambda s: 0.1 * 0.5 ** (s // 10),
    ),
    (
        "natural",
        lambda s: tf.train.natural_exp_decay(0.1, s, 10, 0.5),
        lambda s: 0.1 * np.exp(-0.5 * s / 10),
    ),
    (
        "inverse",
        lambda s: tf.train.inverse_time_decay(0.1, s, 10, 0.5),
        lambda s: 0.1 / (1 + 0.5 * s / 10),
    ),
    (
        "polynomial",
        lambda s: tf.train.polynomial_decay(0.1, s, 20, 0.01, 2.0),
        lambda s: 0.09 * (1 - min(s, 20) / 20) ** 2 + 0.01,
    ),
    (
        "cycle",
        lambda s: tf.train.polynomial_decay(0.1, s, 20, 0.01, cycle=True),
        lambda s: 0.09 * (1 - s / (20 * max(1, np.ceil(s / 20)))) + 0.01,
    ),
    (
        "piecewise",
        lambda s: tf.train.piecewise_constant(s, [5, 20], [0.1, 0.2, 0.3]),
        lambda s: 0.1 if s <= 5 else 0.2 if s <= 20 else 0.3,
    ),
    (
        "cosine",
        lambda s: tf.train.cosine_decay(0.1, s, 20, 0.1),
        lambda s: 0.1 * (0.9 * 0.5 * (1 + np.cos(np.pi * min(s, 20) / 20)) + 0.1),
    ),
    (
        "linear cosine",
        lambda s: tf.train.linear_cosine_decay(0.1, s, 20),
        lambda s: (
            0.1 * ((1 - min(s, 20) / 20) * 0.5 * (1 + np.cos(np.pi * min(s, 20) / 20)) + 0.001)
        ),
    ),
]


@pytest.mark.parametrize(("name", "make", "formula"), SCHEDULES, ids=[s[0] for s in SCHEDULES])
def test_learning_rates_follow_their_formula(name: str, make: Any, formula: Any) -> None:
    steps = [0, 3, 5, 10, 19, 20, 27, 45]
    np.testing.assert_allclose(
        rates(make, steps), [formula(s) for s in steps], rtol=1e-5, atol=1e-8
    )


def test_cosine_restarts_begin_again_at_full_height() -> None:
    have = rates(lambda s: tf.train.cosine_decay_restarts(0.1, s, 10, 2.0, 0.5), [0, 5, 10, 20, 30])
    np.testing.assert_allclose(have, [0.1, 0.05, 0.05, 0.025, 0.025], rtol=1e-4)


# ---------------------------------------------------------------- moving averages
def test_a_moving_average_follows_its_variable() -> None:
    w = tf.Variable(1.0, name="w")
    ema = tf.train.ExponentialMovingAverage(0.9)
    with tf.control_dependencies([w.assign(2.0)]):
        update = ema.apply([w])
    assert ema.average_name(w) == "w/ExponentialMovingAverage"
    assert ema.average(w).op.name == "w/ExponentialMovingAverage"
    assert ema.variables_to_restore() == {"w/ExponentialMovingAverage": w}
    assert tf.moving_average_variables() == [w]
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        sess.run(update)
        assert sess.run(ema.average(w)) == pytest.approx(0.9 * 1.0 + 0.1 * 2.0)


def test_early_updates_of_a_moving_average_keep_less() -> None:
    w = tf.Variable(1.0)
    ema = tf.train.ExponentialMovingAverage(0.99, num_updates=tf.constant(3))
    update = ema.apply([w])
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        w.load(5.0, sess)
        sess.run(update)
        d = 4 / 13
        assert sess.run(ema.average(w)) == pytest.approx(d + (1 - d) * 5.0)


def test_the_average_of_a_tensor_is_corrected_for_its_start() -> None:
    x = tf.placeholder(tf.float32, [])
    ema = tf.train.ExponentialMovingAverage(0.9, zero_debias=True)
    update = ema.apply([x])
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        biased, seen = 0.0, []
        for t, value in enumerate([3.0, 5.0, 4.0], start=1):
            sess.run(update, {x: value})
            biased = 0.9 * biased + 0.1 * value
            seen.append(biased / (1 - 0.9**t))
            assert sess.run(ema.average(x)) == pytest.approx(seen[-1], rel=1e-5)
