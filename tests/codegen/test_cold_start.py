"""What a process with an empty cache does, and in which order: counts, never times."""

from __future__ import annotations

import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from staticgraph.codegen import cache, native, workers
from tests.codegen.kernels import call, finish, python

TEXT = "define i64 @entry(ptr %args, i64 %lo, i64 %hi) {{\n  ret i64 {}\n}}\n"

HELPER = """
import sys, types
package = sys.modules["staticgraph"] = types.ModuleType("staticgraph")
package.__path__ = [sys.argv[1]]
from staticgraph.codegen import native, workers
native.target_machine()
assert workers._compiler()
print([m for m in ("numpy", "numba", "staticgraph.ir") if m in sys.modules])
"""

FIRST = """
import sys
from staticgraph.codegen import workers

seen = []
begin = workers._Helper.__init__
workers._Helper.__init__ = lambda self, numba: seen.append("llvmlite.binding" in sys.modules)
workers._helpers, workers._Helper.goes_on = lambda wanted: 1, False
workers._Helper.begin = workers._Helper.stop = lambda self, *batch: None
text = "define i64 @entry(ptr %args, i64 %lo, i64 %hi) {\\n  ret i64 0\\n}\\n"
assert all(workers.compile_many_ir({"cold_one": lambda: text}).values())
print(seen, "llvmlite.binding" in sys.modules)
"""


class Counted:
    """A function that counts its calls."""

    def __init__(self, function: object) -> None:
        self.function, self.calls = function, 0

    def __call__(self, *args: object, **more: object) -> object:
        self.calls += 1
        return self.function(*args, **more)  # type: ignore[operator]


def test_a_helper_imports_llvm_and_nothing_else_that_is_heavy(tmp_path: Path) -> None:
    package = str(Path(workers.__file__).parents[1])
    assert finish(python(HELPER, package, cache=tmp_path)) == "[]"


def test_helpers_start_before_this_process_imports_llvm(tmp_path: Path) -> None:
    assert finish(python(FIRST, cache=tmp_path)) == "[False] True"


def test_what_is_likely_is_compiled_along_with_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATICGRAPH_CACHE", str(tmp_path / "kernels"))
    likely = [TEXT.format(700 + i) for i in range(2)]
    texts = {f"# cold start {i}": partial(TEXT.format, 710 + i) for i in range(2)}
    made: list[list[str]] = []
    compile_many_ir = workers.compile_many_ir

    def watched(emitters: dict[str, object], *more: object) -> workers.Results:
        made.append(sorted(emitters))
        return compile_many_ir(emitters, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(workers, "compile_many_ir", watched)
    here = Counted(native.compile_ir)
    monkeypatch.setattr(native, "compile_ir", here)
    before = cache.compiled_count()
    cache.kernel_addresses(list(texts), texts, likely=likely)
    assert [len(symbols) for symbols in made] == [4]
    assert set(map(cache.symbol_of, likely)) <= set(made[0])
    assert cache.compiled_count() == before + 2, "machinery is not counted"
    alone = here.calls
    assert cache.ir_address(likely[0]) and cache.ir_address(likely[1])
    cache.kernel_addresses(list(texts), texts, likely=[*likely, TEXT.format(702)])
    assert (len(made), here.calls) == (1, alone), "nothing was missing"


def compile_with(later: list[str], number: int, fails: bool = False) -> None:
    """Compile something new, with texts for later."""
    texts = {f"# later {number}": partial(TEXT.format, number)}
    if fails:
        texts["# never written"] = lambda: str(1 / 0)
    cache.kernel_addresses(list(texts), texts, later=later)


def wait_for_helpers() -> None:
    for thread in threading.enumerate():
        if thread.name == "staticgraph-compile":
            thread.join(60)


def test_what_is_for_later_is_compiled_on_the_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATICGRAPH_CACHE", str(tmp_path / "kernels"))
    monkeypatch.setattr(workers, "_helpers", lambda wanted: 1)
    later = [TEXT.format(800 + i) for i in range(2)]
    here = Counted(native.compile_ir)
    monkeypatch.setattr(native, "compile_ir", here)
    compile_with(later, 810)
    first = cache.ir_address(later[0])  # waits for it, if it is not there yet
    wait_for_helpers()
    assert here.calls <= 1, "only the kernel may have been compiled here"
    assert cache.ir_address(later[0]) == first
    for text, number in zip(later, (800, 801), strict=True):
        assert call(cache.ir_address(text), np.zeros(1, np.int64), 0, 1) == number
    assert here.calls <= 1
    names = {path.stem for path in (tmp_path / "kernels").rglob("*.o")}
    assert {cache.symbol_of(text) for text in later} <= names
    assert not cache._building


@pytest.mark.parametrize("command", ["", "raise SystemExit(3)", "not python"])
def test_what_nobody_compiled_on_the_side_is_compiled_when_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("STATICGRAPH_CACHE", str(tmp_path / "kernels"))
    monkeypatch.setattr(workers, "_helpers", lambda wanted: bool(command))
    monkeypatch.setattr(workers, "_COMMAND", command)
    number = 820 + len(command)
    compile_with([TEXT.format(number)], 1000 + number)
    wait_for_helpers()
    assert not cache._building
    assert call(cache.ir_address(TEXT.format(number)), np.zeros(1, np.int64), 0, 1) == number


@pytest.mark.parametrize("helpers", [0, 1])
def test_a_text_that_cannot_be_written_leaves_nothing_under_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, helpers: int
) -> None:
    monkeypatch.setenv("STATICGRAPH_CACHE", str(tmp_path / "kernels"))
    monkeypatch.setattr(workers, "_helpers", lambda wanted: helpers)
    later = TEXT.format(850 + helpers)
    with pytest.raises(ZeroDivisionError):
        compile_with([later], 860 + helpers, fails=True)
    wait_for_helpers()
    assert not cache._building
    assert cache.ir_address(later)


def test_a_helper_that_is_ready_ahead_is_taken_or_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_helpers", lambda wanted: wanted > 0)
    started: list[workers._Helper] = []
    start = workers._Helper.__init__

    def watched(self: workers._Helper, numba: bool) -> None:
        started.append(self)
        start(self, numba)

    monkeypatch.setattr(workers._Helper, "__init__", watched)
    texts = {f"cold_ahead_{i}": partial(TEXT.format, i) for i in range(3)}
    with workers.helper_ahead():
        assert len(workers._ahead) == 1
        found = workers.compile_many_ir(texts)
        assert not workers._ahead
    assert all(isinstance(code, bytes) for code in found.values()) and len(found) == 3
    assert len(started) == 1, "the one that was ready"
    with workers.helper_ahead():
        pass
    with pytest.raises(ZeroDivisionError), workers.helper_ahead():
        raise ZeroDivisionError
    assert len(started) == 3 and not workers._ahead
    assert all(helper._process and helper._process.returncode for helper in started)


AHEAD = """
import staticgraph as tf
from staticgraph.codegen import workers

log = []
start = workers._Helper.__init__
def watched(self, numba):
    log.append("helper")
    start(self, numba)
workers._Helper.__init__ = watched
workers._helpers = lambda wanted: int(wanted > 0)
import staticgraph.runtime.compile as compiling
passes = compiling.run_pipeline
compiling.run_pipeline = lambda *a: (log.append("passes"), passes(*a))[1]

def net(layers):
    x = tf.placeholder(tf.float32, [None, 3])
    y = x
    for i in range(layers):
        y = tf.tanh(y * float(i + 2))
    return y, {x: [[1.0, 2.0, 3.0]]}

for layers in (2, 60, 61):  # small, large, and large again, when something is there already
    y, feed = net(layers)
    with tf.Session() as sess:
        log.append(str(layers))
        if layers == 2:
            tf.stages(y)
        else:
            sess.run(y, feed)
print(*log)
"""


def test_a_helper_gets_ready_while_a_large_graph_is_compiled_for_the_first_time(
    tmp_path: Path,
) -> None:
    code = python(AHEAD, cache=tmp_path / "kernels", STATICGRAPH_CODEGEN="")
    assert finish(code) == "2 passes 60 helper passes 61 passes"


STEP = """
import sys
import numpy as np
import staticgraph as tf
from staticgraph.codegen import cache, workers

alone, batches = [], []
compile_alone, compile_many_ir = cache._compile_ir, workers.compile_many_ir
cache._compile_ir = lambda texts: alone.append(len(texts)) or compile_alone(texts)
workers.compile_many_ir = lambda texts, quick=(), later=None: (
    batches.append(sorted(len(texts[s]()) for s in quick)) or compile_many_ir(texts, quick, later)
)
x = tf.placeholder(tf.float32, [None, 70])
w = tf.Variable(tf.ones([70, 10]))
image = tf.placeholder(tf.float32, [None, 8, 8, 2])
filters = tf.Variable(tf.ones([3, 3, 2, 5]))
what = {"dense": tf.matmul(x, w), "image": tf.nn.conv2d(image, filters, [1, 1, 1, 1], "SAME")}
loss = tf.reduce_sum(what[sys.argv[1]] ** 2.0)
train = tf.train.GradientDescentOptimizer(0.1).minimize(loss)
given = {"dense": {x: np.ones((64, 70))}, "image": {image: np.ones((2, 8, 8, 2))}}[sys.argv[1]]
with tf.Session() as sess:
    sess.run(tf.global_variables_initializer())
    del alone[:], batches[:]
    sess.run([loss, train], given)
    first = len(alone)
    if x in given:
        for n in (1, 3, 200):
            assert sess.run(what["dense"], {x: np.ones((n, 70))}).shape == (n, 10)
    print(first, len(batches) > 0, sum(batches[0]) < 100_000)
"""


@pytest.mark.parametrize("what", ["dense", "image"])
def test_the_first_step_compiles_everything_at_once(tmp_path: Path, what: str) -> None:
    # alone: 0, and of the code for products no more than the sizes need
    code = python(STEP, what, cache=tmp_path / "kernels", STATICGRAPH_CODEGEN="")
    assert finish(code) == "0 True True"
