"""The net of two layers, in every form that the documents give it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import staticgraph as tf
from staticgraph.compare import two_layer_dynamic as dynamic
from staticgraph.compare import two_layer_static as static
from staticgraph.compare.pair import Pair, Step, Values
from staticgraph.compare.two_layer_values import BATCH, CLIP, layers, weights

_README = "pytorch-examples"
_NOTEBOOK = "the notebook"


def _hand_descent(clip: float | None = None) -> Callable[[Values], Step]:
    def start(values: Values) -> Step:
        x, y, w1, w2 = (values[n].copy() for n in ("x", "y", "w1", "w2"))

        def step(_: Any) -> float:
            h = x @ w1
            h_relu = np.maximum(h, 0)
            rest = h_relu @ w2 - y
            grad = 2.0 * rest
            grad_h = np.where(h < 0, 0, grad @ w2.T)
            grads = [x.T @ grad_h, h_relu.T @ grad]
            if clip is not None:
                norm = np.sqrt(np.square(grads[0]).sum() + np.square(grads[1]).sum())
                if norm > clip:
                    grads = [g * (clip / norm) for g in grads]
            for w, g in zip((w1, w2), grads, strict=True):
                w -= 1e-6 * g
            return float(np.square(rest).sum())

        return step

    return start


Update = Callable[[str, np.ndarray, np.ndarray], None]


def _hand_layers(mean: bool, updates: Callable[[], Update]) -> Callable[[Values], Step]:
    def start(values: Values) -> Step:
        p: dict[str, np.ndarray] = {k: v.copy() for k, v in values.items()}
        update = updates()

        def step(_: Any) -> float:
            h = p["x"] @ p["linear1.weight"].T + p["linear1.bias"]
            h_relu = np.maximum(h, 0)
            rest = h_relu @ p["linear2.weight"].T + p["linear2.bias"] - p["y"]
            share = 1 / rest.size if mean else 1.0
            grad = 2.0 * share * rest
            grad_h = np.where(h > 0, grad @ p["linear2.weight"], 0)
            for name, g in (
                ("linear1.weight", grad_h.T @ p["x"]), ("linear1.bias", grad_h.sum(axis=0)),
                ("linear2.weight", grad.T @ h_relu), ("linear2.bias", grad.sum(axis=0)),
            ):  # fmt: skip
                update(name, p[name], g)
            return float(np.square(rest).sum() * share)

        return step

    return start


def _hand_sgd(rate: float, momentum: float = 0.0) -> Callable[[], Update]:
    def start() -> Update:
        velocities: dict[str, np.ndarray] = {}

        def update(name: str, p: np.ndarray, g: np.ndarray) -> None:
            if momentum:
                v = velocities.setdefault(name, np.zeros_like(p))
                v *= momentum
                v += g
                g = v
            p -= rate * g

        return update

    return start


def _hand_adam(rate: float) -> Callable[[], Update]:
    def start() -> Update:
        means: dict[str, list[np.ndarray]] = {}
        steps: dict[str, int] = {}

        def update(name: str, p: np.ndarray, g: np.ndarray) -> None:
            m, v = means.setdefault(name, [np.zeros_like(p), np.zeros_like(p)])
            t = steps[name] = steps.get(name, 0) + 1
            m *= 0.9
            m += 0.1 * g
            v *= 0.999
            v += 0.001 * g * g
            p -= rate / (1 - 0.9**t) * m / (np.sqrt(v) / np.sqrt(1 - 0.999**t) + 1e-8)

        return update

    return start


def _hand_both() -> Update:
    first, second = _hand_adam(1e-4)(), _hand_sgd(1e-5, 0.9)()

    def update(name: str, p: np.ndarray, g: np.ndarray) -> None:
        (first if name.startswith("linear1") else second)(name, p, g)

    return update


def _hand_dynamic_net(values: Values) -> Step:
    p: dict[str, np.ndarray] = {k: v.copy() for k, v in values.items()}
    update = _hand_sgd(1e-4, 0.9)()

    def layer(h: np.ndarray, name: str) -> np.ndarray:
        out: np.ndarray = h @ p[f"{name}.weight"].T + p[f"{name}.bias"]
        return out

    def step(times: int) -> float:
        hidden = [np.maximum(layer(p["x"], "input"), 0)]
        for _ in range(times):
            hidden.append(np.maximum(layer(hidden[-1], "middle"), 0))
        rest = layer(hidden[-1], "output") - p["y"]
        grad = 2.0 * rest
        grads = {"output.weight": grad.T @ hidden[-1], "output.bias": grad.sum(axis=0)}
        grads["middle.weight"] = np.zeros_like(p["middle.weight"])
        grads["middle.bias"] = np.zeros_like(p["middle.bias"])
        back = grad @ p["output.weight"]
        for before, after in zip(hidden[-2::-1], hidden[:0:-1], strict=True):
            back = np.where(after > 0, back, 0)
            grads["middle.weight"] += back.T @ before
            grads["middle.bias"] += back.sum(axis=0)
            back = back @ p["middle.weight"]
        back = np.where(hidden[0] > 0, back, 0)
        grads |= {"input.weight": back.T @ p["x"], "input.bias": back.sum(axis=0)}
        for name, g in grads.items():
            update(name, p[name], g)
        return float(np.square(rest).sum())

    return step


def _depths(n: int) -> list[int]:
    return [int(v) for v in np.random.RandomState(1).randint(0, 4, n)]


def _pair(name: str, title: str, place: str, values: Any, *forms: Any, **more: Any) -> Pair:
    static, dynamic, by_hand = forms
    settings: dict[str, Any] = {"group": "two layers", **more}
    return Pair(
        f"two_layer_{name}", title, place, values=values, static=static, dynamic=dynamic,
        by_hand=by_hand, **settings,
    )  # fmt: skip


_GRAPHS = "PyTorch vs TensorFlow: Static vs Dynamic Graphs"
_NAMES = ("linear1", "linear2")

TWO_LAYER = (
    _pair("numpy", "net of two layers, derivatives by hand, 64 bits",
          f"{_NOTEBOOK}, Warm up: NumPy", weights(dtype=np.float64),
          static.by_hand, dynamic.by_hand, _hand_descent()),
    _pair("tensors", "net of two layers, derivatives by hand, 32 bits",
          f"{_README}, Tensors", weights(),
          static.by_hand, dynamic.by_hand, _hand_descent()),
    _pair("autograd", "net of two layers, differentiated",
          f"{_README}, Variables and autograd", weights(),
          static.net(lambda h: tf.maximum(h, 0.0)), dynamic.autograd,
          _hand_descent()),
    _pair("custom_function", "relu with a backward of its own",
          f"{_README}, Defining new autograd functions", weights(),
          static.net(static.my_relu), dynamic.custom_function, _hand_descent()),
    _pair("tf_002", "TensorFlow program, 100 inputs and 1000 hidden units",
          f"{_NOTEBOOK}, TensorFlow: Static Graphs", weights(100, 1000),
          static.tensorflow(BATCH, tf.squared_difference), dynamic.autograd,
          # the loss falls to a ten-millionth, so that the rounding of what it was counts
          _hand_descent(), tolerance=1e-3),
    _pair("tf_004", "TensorFlow program, 1000 inputs and 100 hidden units",
          f"{_README}, {_GRAPHS}", weights(),
          static.tensorflow(None, lambda p, y: (y - p) ** 2.0), dynamic.autograd,
          _hand_descent()),
    _pair("nn", "net as a sequence of layers", f"{_NOTEBOOK}, PyTorch: nn",
          layers(*_NAMES, uniform=True),
          static.layers(static.mean_of, lambda loss: static.all_descend(loss, 1e-2)),
          dynamic.nn, _hand_layers(True, _hand_sgd(1e-2))),
    _pair("optim", "net trained by Adam", f"{_README}, optim: The optimization library",
          layers(*_NAMES),
          static.layers(static.sum_of, static.by_adam),
          dynamic.optim, _hand_layers(False, _hand_adam(1e-4))),
    _pair("optim_subsets", "Adam for one layer, momentum for the other",
          f"{_README}, optim: The optimization library", layers(*_NAMES),
          static.layers(static.sum_of, static.subsets), dynamic.subsets,
          _hand_layers(False, _hand_both)),
    _pair("module", "net as a module", f"{_NOTEBOOK}, PyTorch: Custom nn Modules",
          layers(*_NAMES, uniform=True),
          static.layers(static.mean_of, static.by_descent),
          dynamic.module, _hand_layers(True, _hand_sgd(1e-2))),
    _pair("dynamic_net", "net whose depth changes, with shared weights",
          f"{_README}, Control Flow and Weight Sharing", layers("input", "middle", "output"),
          static.dynamic_net, dynamic.dynamic_net, _hand_dynamic_net, group="control flow",
          items=_depths, iterations=lambda times: times,
          variants={"unrolled": static.unrolled}),
    _pair("clipped", "gradient clipped if it is long: a branch",
          "an `if` on what was computed; not in the documents", weights(),
          static.clipped, dynamic.clipped, _hand_descent(CLIP), group="control flow",
          example=False),
)  # fmt: skip

__all__ = ["TWO_LAYER"]
