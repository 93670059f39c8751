"""What importing the package and running known graphs must not load."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LLVM = not (sys.platform == "linux" and platform.machine() == "x86_64")
"""Whether LLVM is needed to load code, too; see `codegen.loader`."""

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
print(json.dumps({"losses": losses, "numba": "numba" in sys.modules, "compiled": made,
    "llvm": "llvmlite.binding" in sys.modules}))
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
        "llvmlite.binding",
        "torch",
        "jax",
        "PIL",
        "matplotlib",
        "graphviz",
        "pygraphviz",
        "sklearn",
        "pytest",
        "IPython",
    ]
    program = f"import sys, staticgraph; print([m for m in {heavy} if m in sys.modules])"
    assert python(program, tmp_path / "kernels").strip() == "[]"


def test_what_most_programs_do_without_is_imported_when_asked_for(tmp_path: Path) -> None:
    later = ["app", "compat", "contrib", "flags", "gfile", "logging", "losses", "nn", "python"]
    later += ["test", "train"]
    program = f"""
import sys
import staticgraph as tf

there = lambda: [n for n in {later} if "staticgraph." + n in sys.modules]
assert not there(), there()
assert {{*{later}, "math", "Session"}} <= {{*dir(tf)}}
assert tf.nn.relu and there() == ["nn"], there()
assert tf.train.GradientDescentOptimizer and there() == ["nn", "train"], there()
assert tf.losses.mean_squared_error and there() == ["losses", "nn", "train"], there()
assert tf.contrib.rnn.BasicLSTMCell and tf.logging.INFO == 20 and tf.test.TestCase
assert there() == ["contrib", "logging", "losses", "nn", "test", "train"], there()
try:
    tf.nothing
except AttributeError as e:
    print(e)
from staticgraph import *
assert there() == [n for n in {later} if n != "python"]  # which was never given
"""
    assert (
        python(program, tmp_path / "kernels") == "module 'staticgraph' has no attribute 'nothing'\n"
    )


def test_a_second_process_trains_without_numba_and_compiles_nothing(tmp_path: Path) -> None:
    first = json.loads(python(TRAIN, tmp_path / "kernels"))
    assert first["compiled"] > 0, "if the first compiles nothing, the second proves nothing"
    assert first["llvm"], "else it is not told whether LLVM is loaded"
    assert first["losses"] == sorted(first["losses"], reverse=True)
    second = json.loads(python(TRAIN, tmp_path / "kernels"))
    assert second == {"losses": first["losses"], "numba": False, "compiled": 0, "llvm": LLVM}


def test_kernels_made_through_numba_are_loaded_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATICGRAPH_CODEGEN", "numba")
    first = json.loads(python(TRAIN, tmp_path / "kernels"))
    assert first["numba"] and first["compiled"] > 0
    second = json.loads(python(TRAIN, tmp_path / "kernels"))
    assert second == {"losses": first["losses"], "numba": False, "compiled": 0, "llvm": LLVM}


LIBRARY = """
import sys
import numpy as np
import staticgraph as tf

words = tf.placeholder(tf.int32, [None])
image = tf.placeholder(tf.float32, [2, 6, 6, 1])
table = tf.Variable(tf.random_uniform([9, 4]))
weights = tf.Variable(tf.truncated_normal([3, 3, 1, 2]))
noise = tf.random_normal([4]) + tf.cast(tf.random_uniform([4], 0, 7, tf.int32), tf.float32)
looked = tf.nn.dropout(tf.nn.embedding_lookup(table, words), 0.5) + noise
seen = tf.nn.conv2d(image, weights, [1, 1, 1, 1], "SAME")
loss = tf.reduce_sum(tf.cumsum(looked)) + tf.reduce_sum(seen ** 2.0)
train = tf.train.GradientDescentOptimizer(0.1).minimize(loss)
with tf.Session() as sess:
    sess.run(tf.global_variables_initializer())
    for _ in range(2):
        sess.run([loss, train], {words: [1, 1, 8], image: np.ones((2, 6, 6, 1))})
    kinds = {s.kind for e in sess.executables() for s in e.program.steps if hasattr(s, "kind")}
    assert kinds == {"conv", "cumulative", "philox", "scatter"}, kinds
from staticgraph.codegen import cache
assert cache.compiled_count() > 10
print([m for m in ("numba", "scipy") if m in sys.modules])
"""


def test_no_kernel_of_the_library_needs_numba_either(tmp_path: Path) -> None:
    assert python(LIBRARY, tmp_path / "kernels").strip() == "[]"
