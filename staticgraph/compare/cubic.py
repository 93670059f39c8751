"""The cubic that is fitted to a sine, in every form that the documents give it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

import staticgraph as tf
from staticgraph.compare.pair import Pair, Step, Values, parameters, set_linear, tensors, whole

POINTS = 2000
_TUTORIAL = "Learning PyTorch with Examples"


def _points(dtype: Any) -> dict[str, np.ndarray]:
    x = np.linspace(-math.pi, math.pi, POINTS, dtype=dtype)
    return {"x": x, "y": np.sin(x)}


def coefficients(names: str = "abcd", dtype: Any = np.float32) -> Callable[[], Values]:
    """Points of the sine, and coefficients drawn from a normal distribution."""

    def values() -> Values:
        drawn = np.random.RandomState(0).randn(len(names)).astype(dtype)
        return {**_points(dtype), **{n: np.array(v) for n, v in zip(names, drawn, strict=True)}}

    return values


def _legendre_start() -> Values:
    start = {"a": 0.0, "b": -1.0, "c": 0.0, "d": 0.3}
    return {**_points(np.float32), **{n: np.array(v, np.float32) for n, v in start.items()}}


def _layer_start() -> Values:
    draw = np.random.RandomState(0)
    bound = 1 / math.sqrt(3)
    return {
        **_points(np.float32),
        "linear.weight": draw.uniform(-bound, bound, (1, 3)).astype(np.float32),
        "linear.bias": draw.uniform(-bound, bound, 1).astype(np.float32),
    }


# ---------------------------------------------------------------- static
def _fed(values: Values) -> tuple[Any, Any, Callable[[Any], Mapping[Any, Any]]]:
    kind = tf.as_dtype(values["x"].dtype)
    x = tf.placeholder(kind, [None], name="x")
    y = tf.placeholder(kind, [None], name="y")
    feed = {x: values["x"], y: values["y"]}
    return x, y, lambda _: feed


def _variables(values: Values, names: str) -> list[Any]:
    return [tf.Variable(values[n], name=n) for n in names]


def _descend(variables: Sequence[Any], gradients: Sequence[Any], rate: float) -> Any:
    return tf.group(
        *(tf.assign_sub(v, rate * g) for v, g in zip(variables, gradients, strict=True))
    )


@whole
def _static_by_hand(values: Values) -> Any:
    x, y, feed = _fed(values)
    a, b, c, d = _variables(values, "abcd")
    y_pred = a + b * x + c * x**2 + d * x**3
    loss = tf.reduce_sum(tf.square(y_pred - y))
    grad = 2.0 * (y_pred - y)
    sums = [tf.reduce_sum(g) for g in (grad, grad * x, grad * x**2, grad * x**3)]
    return [loss, _descend([a, b, c, d], sums, 1e-6)], feed


@whole
def _static_gradients(values: Values) -> Any:
    x, y, feed = _fed(values)
    a, b, c, d = variables = _variables(values, "abcd")
    loss = tf.reduce_sum((a + b * x + c * x**2 + d * x**3 - y) ** 2)
    return [loss, _descend(variables, tf.gradients(loss, variables), 1e-6)], feed


@tf.custom_gradient
def _legendre(input: Any) -> Any:
    def backward(grad_output: Any) -> Any:
        return grad_output * 1.5 * (5 * input**2 - 1)

    return 0.5 * (5 * input**3 - 3 * input), backward


@whole
def _static_custom_function(values: Values) -> Any:
    x, y, feed = _fed(values)
    a, b, c, d = variables = _variables(values, "abcd")
    loss = tf.reduce_sum((a + b * _legendre(c + d * x) - y) ** 2)
    return [loss, _descend(variables, tf.gradients(loss, variables), 5e-6)], feed


def _layer(values: Values) -> Any:
    x, y, feed = _fed(values)
    weight = tf.Variable(values["linear.weight"].T, name="weight")
    bias = tf.Variable(values["linear.bias"], name="bias")
    powers = tf.stack([x, x**2, x**3], axis=1)
    y_pred = tf.reshape(tf.matmul(powers, weight) + bias, [-1])
    return [weight, bias], tf.reduce_sum(tf.squared_difference(y_pred, y)), feed


@whole
def _static_nn(values: Values) -> Any:
    _, loss, feed = _layer(values)
    return [loss, tf.train.GradientDescentOptimizer(1e-6).minimize(loss)], feed


@whole
def _static_optim(values: Values) -> Any:
    variables, loss, feed = _layer(values)
    updates = []
    for v, g in zip(variables, tf.gradients(loss, variables), strict=True):
        square = tf.Variable(tf.zeros_like(v.initialized_value()), trainable=False, name="square")
        mean = tf.assign(square, 0.99 * square + (1 - 0.99) * tf.square(g))
        updates.append(tf.assign_sub(v, 1e-3 * g / (tf.sqrt(mean) + 1e-8)))
    return [loss, tf.group(*updates)], feed


@whole
def _static_module(values: Values) -> Any:
    x, y, feed = _fed(values)
    a, b, c, d = _variables(values, "abcd")
    loss = tf.reduce_sum(tf.squared_difference(a + b * x + c * x**2 + d * x**3, y))
    return [loss, tf.train.GradientDescentOptimizer(1e-6).minimize(loss)], feed


def _momentum(variables: Sequence[Any], loss: Any, unused: Any) -> Any:
    """Descent with momentum; the last variable stands still where `unused` holds."""
    updates = []
    for v, g in zip(variables, tf.gradients(loss, variables), strict=True):
        velocity = tf.Variable(0.0, trainable=False, name="velocity")
        rolling = 0.9 * velocity + g
        if v is variables[-1]:
            rolling = tf.where(unused, velocity, rolling)
        faster = tf.assign(velocity, rolling)
        moved = tf.where(unused, 0.0, 1e-8 * faster) if v is variables[-1] else 1e-8 * faster
        updates.append(tf.assign_sub(v, moved))
    return tf.group(*updates)


@whole
def _static_dynamic_net(values: Values) -> Any:
    x, y, feed = _fed(values)
    end = tf.placeholder(tf.int32, [], name="end")
    a, b, c, d, e = variables = _variables(values, "abcde")
    _, y_pred, _ = tf.while_loop(
        lambda exp, *_: exp < end,
        lambda exp, total, power: (exp + 1, total + e * power, power * x),
        [tf.constant(4), a + b * x + c * x**2 + d * x**3, x**4],
    )
    loss = tf.reduce_sum(tf.squared_difference(y_pred, y))
    update = _momentum(variables, loss, tf.equal(end, 4))
    return [loss, update], lambda item: {**feed(item), end: item}


def _static_unrolled(values: Values) -> Any:
    """A graph for each degree, over the same variables."""
    x, y, feed = _fed(values)
    a, b, c, d, e = variables = _variables(values, "abcde")
    velocities = [tf.Variable(0.0, trainable=False, name="velocity") for _ in variables]
    fetches: dict[int, list[Any]] = {}
    for end in range(4, 7):
        y_pred = a + b * x + c * x**2 + d * x**3
        for exp in range(4, end):
            y_pred = y_pred + e * x**exp
        loss = tf.reduce_sum(tf.squared_difference(y_pred, y))
        used = variables if end > 4 else variables[:-1]
        updates = []
        for v, g, velocity in zip(used, tf.gradients(loss, used), velocities, strict=False):
            faster = tf.assign(velocity, 0.9 * velocity + g)
            updates.append(tf.assign_sub(v, 1e-8 * faster))
        fetches[end] = [loss, tf.group(*updates)]
    return lambda item: (fetches[item], feed(item))


# ---------------------------------------------------------------- define-by-run
def _dynamic_by_hand(torch: Any, values: Values) -> Step:
    x, y, a, b, c, d = tensors(torch, values, *"xyabcd")

    def step(_: Any) -> float:
        y_pred = a + b * x + c * x**2 + d * x**3
        loss = (y_pred - y).pow(2).sum()
        grad = 2.0 * (y_pred - y)
        sums = grad.sum(), (grad * x).sum(), (grad * x**2).sum(), (grad * x**3).sum()
        for p, g in zip((a, b, c, d), sums, strict=True):
            p -= 1e-6 * g
        return float(loss.item())

    return step


def _descending(torch: Any, params: Sequence[Any], loss_of: Callable[[], Any], rate: float) -> Step:
    def step(_: Any) -> float:
        loss = loss_of()
        loss.backward()
        with torch.no_grad():
            for p in params:
                p -= rate * p.grad
                p.grad = None
        return float(loss.item())

    return step


def _dynamic_autograd(torch: Any, values: Values) -> Step:
    x, y = tensors(torch, values, "x", "y")
    a, b, c, d = params = parameters(torch, values, *"abcd")
    return _descending(
        torch, params, lambda: (a + b * x + c * x**2 + d * x**3 - y).pow(2).sum(), 1e-6
    )


def _dynamic_custom_function(torch: Any, values: Values) -> Step:
    class LegendrePolynomial3(torch.autograd.Function):  # type: ignore[misc]
        """The Legendre polynomial of degree three."""

        @staticmethod
        def forward(ctx: Any, input: Any) -> Any:
            ctx.save_for_backward(input)
            return 0.5 * (5 * input**3 - 3 * input)

        @staticmethod
        def backward(ctx: Any, grad_output: Any) -> Any:
            (input,) = ctx.saved_tensors
            return grad_output * 1.5 * (5 * input**2 - 1)

    x, y = tensors(torch, values, "x", "y")
    a, b, c, d = params = parameters(torch, values, *"abcd")
    legendre = LegendrePolynomial3.apply
    return _descending(torch, params, lambda: (a + b * legendre(c + d * x) - y).pow(2).sum(), 5e-6)


def _sequential(torch: Any, values: Values) -> tuple[Any, Any, Any]:
    x, y = tensors(torch, values, "x", "y")
    powers = x.unsqueeze(-1).pow(torch.tensor([1, 2, 3]))
    linear = set_linear(torch, torch.nn.Linear(3, 1), values, "linear")
    return torch.nn.Sequential(linear, torch.nn.Flatten(0, 1)), powers, y


def _dynamic_nn(torch: Any, values: Values) -> Step:
    model, powers, y = _sequential(torch, values)
    loss_fn = torch.nn.MSELoss(reduction="sum")

    def step(_: Any) -> float:
        loss = loss_fn(model(powers), y)
        model.zero_grad()
        loss.backward()
        with torch.no_grad():
            for param in model.parameters():
                param -= 1e-6 * param.grad
        return float(loss.item())

    return step


def trained(model: Any, inputs: Any, y: Any, loss_fn: Any, *optimizers: Any) -> Step:
    """The loop that the documents have for every model with an optimizer."""

    def step(_: Any) -> float:
        loss = loss_fn(model(inputs), y)
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        return float(loss.item())

    return step


def _dynamic_optim(torch: Any, values: Values) -> Step:
    model, powers, y = _sequential(torch, values)
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3)
    return trained(model, powers, y, torch.nn.MSELoss(reduction="sum"), optimizer)


def _dynamic_module(torch: Any, values: Values) -> Step:
    class Polynomial3(torch.nn.Module):  # type: ignore[misc]
        """A polynomial of degree three."""

        def __init__(self) -> None:
            super().__init__()
            for n in "abcd":
                setattr(self, n, torch.nn.Parameter(tensors(torch, values, n)[0]))

        def forward(self, x: Any) -> Any:
            return self.a + self.b * x + self.c * x**2 + self.d * x**3

    x, y = tensors(torch, values, "x", "y")
    model = Polynomial3()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
    return trained(model, x, y, torch.nn.MSELoss(reduction="sum"), optimizer)


def _dynamic_dynamic_net(torch: Any, values: Values) -> Step:
    class DynamicNet(torch.nn.Module):  # type: ignore[misc]
        """Degree three, four or five; the last two share a coefficient."""

        def __init__(self) -> None:
            super().__init__()
            for n in "abcde":
                setattr(self, n, torch.nn.Parameter(tensors(torch, values, n)[0]))

        def forward(self, x: Any, end: int) -> Any:
            y = self.a + self.b * x + self.c * x**2 + self.d * x**3
            for exp in range(4, end):
                y = y + self.e * x**exp
            return y

    x, y = tensors(torch, values, "x", "y")
    model = DynamicNet()
    criterion = torch.nn.MSELoss(reduction="sum")
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-8, momentum=0.9)

    def step(end: int) -> float:
        loss = criterion(model(x, end), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return float(loss.item())

    return step


# ---------------------------------------------------------------- by hand
def _hand_descent(values: Values) -> Step:
    x, y, *params = (values[n].copy() for n in "xyabcd")

    def step(_: Any) -> float:
        a, b, c, d = params
        y_pred = a + b * x + c * x**2 + d * x**3
        loss = np.square(y_pred - y).sum()
        grad = 2.0 * (y_pred - y)
        sums = grad.sum(), (grad * x).sum(), (grad * x**2).sum(), (grad * x**3).sum()
        for i, g in enumerate(sums):
            params[i] = params[i] - 1e-6 * g
        return float(loss)

    return step


def _hand_custom_function(values: Values) -> Step:
    x, y, *params = (values[n].copy() for n in "xyabcd")

    def step(_: Any) -> float:
        a, b, c, d = params
        z = c + d * x
        p3 = 0.5 * (5 * z**3 - 3 * z)
        rest = a + b * p3 - y
        loss = np.square(rest).sum()
        grad = 2.0 * rest
        grad_z = grad * b * 1.5 * (5 * z**2 - 1)
        for i, g in enumerate((grad.sum(), (grad * p3).sum(), grad_z.sum(), (grad_z * x).sum())):
            params[i] = params[i] - 5e-6 * g
        return float(loss)

    return step


def _hand_layer(values: Values) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    x, y = values["x"].copy(), values["y"].copy()
    powers = np.stack([x, x**2, x**3], axis=1)
    return powers, y, [values["linear.weight"].T.copy(), values["linear.bias"].copy()]


def _hand_gradients(
    powers: np.ndarray, y: np.ndarray, params: Sequence[np.ndarray]
) -> tuple[float, list[np.ndarray]]:
    weight, bias = params
    rest = (powers @ weight + bias).reshape(-1) - y
    grad = (2.0 * rest).reshape(-1, 1)
    return float(np.square(rest).sum()), [powers.T @ grad, grad.sum(axis=0)]


def _hand_nn(values: Values) -> Step:
    powers, y, params = _hand_layer(values)

    def step(_: Any) -> float:
        loss, gradients = _hand_gradients(powers, y, params)
        for p, g in zip(params, gradients, strict=True):
            p -= 1e-6 * g
        return loss

    return step


def _hand_optim(values: Values) -> Step:
    powers, y, params = _hand_layer(values)
    squares = [np.zeros_like(p) for p in params]

    def step(_: Any) -> float:
        loss, gradients = _hand_gradients(powers, y, params)
        for p, g, square in zip(params, gradients, squares, strict=True):
            square *= 0.99
            square += (1 - 0.99) * g * g
            p -= 1e-3 * g / (np.sqrt(square) + 1e-8)
        return loss

    return step


def _hand_dynamic_net(values: Values) -> Step:
    x, y, *params = (values[n].copy() for n in "xyabcde")
    velocities = [np.zeros_like(p) for p in params]

    def step(end: int) -> float:
        a, b, c, d, e = params
        shared = [x**exp for exp in range(4, end)]
        rest = a + b * x + c * x**2 + d * x**3 - y
        for power in shared:
            rest = rest + e * power
        loss = np.square(rest).sum()
        grad = 2.0 * rest
        sums = [grad.sum(), (grad * x).sum(), (grad * x**2).sum(), (grad * x**3).sum()]
        if shared:
            of_e = (grad * shared[0]).sum()
            for power in shared[1:]:
                of_e = of_e + (grad * power).sum()
            sums.append(of_e)
        for i, g in enumerate(sums):
            velocities[i] = 0.9 * velocities[i] + g
            params[i] = params[i] - 1e-8 * velocities[i]
        return float(loss)

    return step


def _degrees(n: int) -> list[int]:
    return [int(v) for v in np.random.RandomState(1).randint(4, 7, n)]


def _pair(name: str, title: str, section: str, values: Any, *forms: Any, **more: Any) -> Pair:
    static, dynamic, by_hand = forms
    settings: dict[str, Any] = {"group": "cubic fit", **more}
    return Pair(
        f"polynomial_{name}", title, f"{_TUTORIAL}, {section}", values=values, static=static,
        dynamic=dynamic, by_hand=by_hand, **settings,
    )  # fmt: skip


CUBIC = (
    _pair("numpy", "cubic fit, derivatives by hand, 64 bits", "Warm-up: numpy",
          coefficients(dtype=np.float64), _static_by_hand, _dynamic_by_hand, _hand_descent),
    _pair("tensors", "cubic fit, derivatives by hand, 32 bits", "PyTorch: Tensors",
          coefficients(), _static_by_hand, _dynamic_by_hand, _hand_descent),
    _pair("autograd", "cubic fit, differentiated", "PyTorch: Tensors and autograd",
          coefficients(), _static_gradients, _dynamic_autograd, _hand_descent),
    _pair("custom_function", "Legendre polynomial with a backward of its own",
          "PyTorch: Defining new autograd functions", _legendre_start,
          _static_custom_function, _dynamic_custom_function, _hand_custom_function),
    _pair("nn", "cubic fit as a linear layer", "PyTorch: nn",
          _layer_start, _static_nn, _dynamic_nn, _hand_nn),
    _pair("optim", "cubic fit by RMSprop", "PyTorch: optim",
          _layer_start, _static_optim, _dynamic_optim, _hand_optim),
    _pair("module", "cubic fit as a module", "PyTorch: Custom nn Modules",
          coefficients(), _static_module, _dynamic_module, _hand_descent),
    _pair("dynamic_net", "polynomial whose degree changes",
          "PyTorch: Control Flow + Weight Sharing", coefficients("abcde"),
          _static_dynamic_net, _dynamic_dynamic_net, _hand_dynamic_net,
          group="control flow", items=_degrees, iterations=lambda end: end - 4,
          variants={"unrolled": _static_unrolled}),
)  # fmt: skip

__all__ = ["CUBIC", "coefficients", "trained"]
