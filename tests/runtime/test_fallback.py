"""Kernels that cannot be compiled, and caches that cannot be used: slower, never wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import staticgraph as tf
from staticgraph.errors import CompileError, CompileFallbackWarning
from staticgraph.runtime import binding

ROOT = Path(__file__).parents[2]
real = binding.kernel_addresses


def _no_tanh(sources: Sequence[str], *more: Any) -> list[int]:
    if any("tanh(" in source for source in sources):
        raise CompileError("the kernel could not be compiled: out of registers")
    return real(sources, *more)


def test_the_warning_names_what_the_kernel_computes_and_the_run_goes_on(
    monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    monkeypatch.setattr(binding, "kernel_addresses", _no_tanh)
    x = tf.placeholder(tf.float32, [None, 3])
    w = tf.Variable(np.full((3, 3), 0.5, np.float32))
    good = tf.reduce_sum(tf.exp(x), axis=0)
    bad = tf.tanh(tf.matmul(x, w))
    train = tf.assign_add(w, bad[:3])
    a = np.arange(9, dtype=np.float32).reshape(3, 3) / 9
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        for k in range(2):
            before = sess.run(w)
            found = sess.run([good, bad, train], {x: a})
            want = np.tanh(a @ before)
            np.testing.assert_allclose(found[0], np.exp(a).sum(0), rtol=1e-6)
            np.testing.assert_allclose(found[1], want, rtol=1e-6)
            np.testing.assert_allclose(sess.run(w), before + want, rtol=1e-6)
            assert len(recwarn) == 1, k
        told = [e.mode for e in sess.explain().executables if e.steps]
    assert told.count("evaluated by the numpy reference") == 1
    (warning,) = recwarn
    assert issubclass(warning.category, CompileFallbackWarning)
    assert warning.filename == __file__
    first, *lines = str(warning.message).splitlines()
    assert first == (
        "the kernel could not be compiled: out of registers; "
        "the run falls back to the numpy reference, which is slow; it is code for"
    )
    assert len(lines) <= 2
    here = Path(__file__).read_text(encoding="utf-8").splitlines()
    line = 1 + next(k for k, text in enumerate(here) if "bad = tf.tanh" in text)
    assert any("Tanh" in told and told.endswith(f"at test_fallback.py:{line}") for told in lines)
    assert "Exp" not in str(warning.message)


def test_of_many_lines_some_are_named(
    monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    def nothing(*_: object) -> list[int]:
        raise CompileError("no compiler")

    monkeypatch.setattr(binding, "kernel_addresses", nothing)
    program = ["h = tf.placeholder(tf.float32, [2])", "x = h"]
    program += [f"h = tf.reduce_sum(h * {k}.0) + h" for k in range(12)]
    scope: dict[str, object] = {"tf": tf}
    exec(compile("\n".join(program), "many.py", "exec"), scope)
    with tf.Session() as sess:
        sess.run(scope["h"], {scope["x"]: [0.0, 0.0]})
    lines = str(recwarn[0].message).splitlines()
    assert len(lines) == 1 + binding.LINES_NAMED + 1
    assert lines[-1] == "  and from 4 lines more"


BROKEN = """
import sys
import llvmlite.binding as llvm
import numpy as np
import staticgraph as tf

def broken(*_):
    raise RuntimeError("no")

llvm.parse_assembly = broken
x = tf.placeholder(tf.float32, [None])
w = tf.Variable(2.0)
step = tf.assign_add(w, tf.reduce_sum(tf.tanh(x)))
with tf.Session() as sess:
    sess.run(tf.global_variables_initializer())
    with sess.profile() as profile:
        for _ in range(5):
            found = sess.run(step, {x: [0.0, 1.0]})
    print(found.round(3), profile.runs, {r.kind for r in profile.rows} >= {"reference"})
"""


def test_programs_run_where_nothing_can_be_compiled(tmp_path: Path) -> None:
    script = tmp_path / "broken.py"
    script.write_text(BROKEN)
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=True,
        env={**os.environ, "STATICGRAPH_CACHE": "off", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.stdout == "5.808 5 True\n"
    told = [line for line in done.stderr.splitlines() if "Warning" in line]
    assert len(told) == 2
    assert all(line.startswith(f"{script}:") for line in told)
    assert "Sum, Tanh" in done.stderr or "Tanh, Sum" in done.stderr
    assert "sg_" not in done.stderr


PROGRAM = """
import warnings
import numpy as np
import staticgraph as tf
x = tf.placeholder(tf.float32, [4])
with tf.Session() as sess:
    print(sess.run(tf.reduce_sum(x * x + 3.0), {x: np.arange(4)}))
"""


@pytest.mark.parametrize("state", ["missing", "file", "damaged", "shared"])
def test_programs_run_whatever_the_cache_is(state: str, tmp_path: Path) -> None:
    folder = tmp_path / "kernels"

    def run(*flags: str) -> str:
        done = subprocess.run(
            [sys.executable, *flags, "-c", PROGRAM],
            env={**os.environ, "STATICGRAPH_CACHE": str(folder), "PYTHONPATH": str(ROOT)},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert done.stdout == "26.0\n"
        return done.stderr

    if state == "missing":
        assert run("-W", "error") == ""
    elif state == "file":
        folder.write_text("not a folder")
        assert "CacheWarning" in run()
    elif state == "damaged":
        assert run("-W", "error") == ""
        files = [f for f in folder.rglob("*") if f.is_file()]
        assert files
        for f in files:
            f.write_bytes(f.read_bytes()[:-7] + b"garbage")
        assert run("-W", "error") == ""
    else:
        folder.mkdir()
        folder.chmod(0o777)
        assert "CacheWarning" in run()
        assert not any(folder.iterdir())
