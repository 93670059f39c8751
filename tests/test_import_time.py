"""What importing the package and running known graphs must not load."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

TRAIN = """
import json, sys
import numpy as np
import staticgraph as tf

x = tf.placeholder(tf.float32, [None, 5])
y = tf.placeholder(tf.float32, [None, 2])
w = tf.Variable(tf.zeros([5, 2]))
b = tf.Variable(tf.zeros([2]))
loss = tf.reduce_mean(tf.squared_difference(tf.tanh(tf.matmul(x, w) + b), y))
train = tf.train.GradientDescentOptimizer(0.1).minimize(loss)
rng = np.random.RandomState(0)
feed = {x: rng.randn(8, 5).astype(np.float32), y: rng.rand(8, 2).astype(np.float32)}
with tf.Session() as sess:
    sess.run(tf.global_variables_initializer())
    losses = [float(sess.run([loss, train], feed)[0]) for _ in range(5)]
from staticgraph.codegen import cache
made = cache.compiled_count()
print(json.dumps({"losses": losses, "numba": "numba" in sys.modules, "compiled": made}))
"""


def python(program: str, cache: Path) -> str:
    """What a program prints in a process of its own, where warnings are errors."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env={**os.environ, "STATICGRAPH_CACHE": str(cache), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_the_package_loads_no_heavy_package(tmp_path: Path) -> None:
    heavy = [
        "numba",
        "scipy",
        "matplotlib",
        "graphviz",
        "pygraphviz",
        "sklearn",
        "pytest",
        "IPython",
    ]
    program = f"import sys, staticgraph; print([m for m in {heavy} if m in sys.modules])"
    assert python(program, tmp_path / "kernels").strip() == "[]"


def test_a_second_process_trains_without_numba_and_compiles_nothing(tmp_path: Path) -> None:
    first = json.loads(python(TRAIN, tmp_path / "kernels"))
    assert first["compiled"] > 0, "if the first compiles nothing, the second proves nothing"
    assert first["losses"] == sorted(first["losses"], reverse=True)
    second = json.loads(python(TRAIN, tmp_path / "kernels"))
    assert second == {"losses": first["losses"], "numba": False, "compiled": 0}


def test_kernels_made_through_numba_are_loaded_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATICGRAPH_CODEGEN", "numba")
    first = json.loads(python(TRAIN, tmp_path / "kernels"))
    assert first["numba"] and first["compiled"] > 0
    second = json.loads(python(TRAIN, tmp_path / "kernels"))
    assert second == {"losses": first["losses"], "numba": False, "compiled": 0}
