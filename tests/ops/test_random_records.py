"""Random operations: names, seeds and draws of TensorFlow 1.15, and the counters they thread."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import staticgraph.ops  # noqa: F401
from staticgraph.api import random
from staticgraph.ir import dtypes
from staticgraph.ir.build import constant
from staticgraph.ir.evaluate import evaluate
from staticgraph.ir.function import Builder
from staticgraph.ir.graph import Graph
from staticgraph.ir.op import lookup
from staticgraph.ir.tensor import Operation
from staticgraph.ir.types import TensorType

GOLDEN = json.loads((Path(__file__).parents[1] / "data" / "tf1_random.json").read_text())["draws"]
TYPES = {
    "RandomStandardNormal", "RandomUniform", "TruncatedNormal", "RandomUniformInt",
    "RandomShuffle", "Multinomial",
}  # fmt: skip


def build_golden_program(case: str) -> tuple[Graph, list[Operation]]:
    graph_seed, op_seed = (
        None if (text := part.split("=")[1]) == "None" else int(text) for part in case.split(",")
    )
    graph = Graph()
    with graph.as_default():
        if graph_seed is not None:
            random.set_random_seed(graph_seed)
        random.random_normal([6], seed=op_seed)
        random.random_uniform([6], seed=op_seed)
        random.truncated_normal([6], seed=op_seed)
        random.random_uniform([6], 0, 1000, dtypes.int32, seed=op_seed)
        random.random_shuffle(lookup("Range")(0, 8, 1, name="range"), seed=op_seed)
        random.multinomial([[0.0, 1.0, 2.0]], 6, seed=op_seed)
    return graph, [op for op in graph.get_operations() if op.type in TYPES]


@pytest.mark.parametrize("case", GOLDEN)
def test_names_and_seeds_are_tensorflows(case: str) -> None:
    _, ops = build_golden_program(case)
    have = [[op.name, op.type, op.get_attr("seed"), op.get_attr("seed2")] for op in ops]
    assert have == GOLDEN[case]["seeds"]


def run_twice(op: Operation, *data: np.ndarray) -> list[np.ndarray]:
    """The draws of two runs, the counter of the second being what the first gave."""
    b = Builder(op.name)
    counter = b.param("counter", "counter", TensorType(dtypes.int64, ()))
    values = [
        b.param("feed", f"x{i}", TensorType(dtypes.as_dtype(a.dtype), a.shape))
        for i, a in enumerate(data)
    ]
    static = {k: op.graph.static_value(t) for k, t in op.split()[1].items()}
    assert op.record.decompose is not None
    with b:
        draw, after = op.record.decompose(counter, *values, **static, **op.attrs)
    f = b.finish([draw, after])
    first, used = evaluate(f, [np.int64(0), *data])[0]
    second, _ = evaluate(f, [used, *data])[0]
    return [first, second]


@pytest.mark.parametrize("case", GOLDEN)
def test_draws_of_two_runs_are_tensorflows(case: str) -> None:
    _, ops = build_golden_program(case)
    data: list[tuple[Any, ...]] = [
        (), (), (), (np.int32(0), np.int32(1000)), (np.arange(8, dtype=np.int32),),
        (np.array([[0.0, 1.0, 2.0]], np.float32),),
    ]  # fmt: skip
    for i, (op, args) in enumerate(zip(ops, data, strict=True)):
        for got, run in zip(
            run_twice(op, *map(np.asarray, args)), ("first", "second"), strict=True
        ):
            np.testing.assert_allclose(
                got, np.array(GOLDEN[case][run][i]), rtol=1e-6, err_msg=op.name
            )


def test_random_normal_makes_the_operations_that_tensorflow_makes() -> None:
    with Graph().as_default() as graph:
        random.random_normal((100, 1000))
        random.random_uniform([2])
    assert [(op.name, op.type) for op in graph.get_operations()] == [
        ("random_normal/shape", "Const"), ("random_normal/mean", "Const"),
        ("random_normal/stddev", "Const"),
        ("random_normal/RandomStandardNormal", "RandomStandardNormal"),
        ("random_normal/mul", "Mul"), ("random_normal", "Add"),
        ("random_uniform/shape", "Const"), ("random_uniform/min", "Const"),
        ("random_uniform/max", "Const"), ("random_uniform/RandomUniform", "RandomUniform"),
        ("random_uniform/sub", "Sub"), ("random_uniform/mul", "Mul"), ("random_uniform", "Add"),
    ]  # fmt: skip


def test_without_any_seed_a_draw_is_marked_and_differs() -> None:
    with Graph().as_default() as graph:
        random.random_uniform([2])
        random.random_uniform([2])
        assert random.get_seed(None) == (None, None)
    one, two = (op for op in graph.get_operations() if op.type == "RandomUniform")
    assert one.get_attr("nondeterministic")
    assert one.get_attr("seed") != two.get_attr("seed")


def test_dropout_names_and_rates() -> None:
    with Graph().as_default() as graph:
        x = constant(np.ones((2, 3), np.float32), name="x")
        y = random.dropout(x, 0.8, seed=1)
        assert y.shape.as_list() == [2, 3]
        assert random.dropout(x, rate=0) is x
        with pytest.raises(ValueError, match="the rate is in"):
            random.dropout(x, rate=1.0)
    assert [op.name for op in graph.get_operations()][1:] == [
        "dropout/rate", "dropout/Shape", "dropout/random_uniform/min", "dropout/random_uniform/max",
        "dropout/random_uniform/RandomUniform", "dropout/random_uniform/sub",
        "dropout/random_uniform/mul", "dropout/random_uniform", "dropout/sub/x", "dropout/sub",
        "dropout/truediv/x", "dropout/truediv", "dropout/GreaterEqual", "dropout/mul",
        "dropout/Cast", "dropout/mul_1",
    ]  # fmt: skip
