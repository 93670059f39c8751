"""`Session.profile`: what is timed, what it is called, and that nothing of it stays."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import numpy as np
import pytest

import staticgraph as tf
from staticgraph.codegen import driver
from staticgraph.errors import CompileError, CompileFallbackWarning, OpError, UsageError
from staticgraph.ir.op import lookup
from staticgraph.python.client import timeline
from staticgraph.runtime import binding, profile, quick, timing
from staticgraph.runtime.profile import Profile, ProfileRow
from tests.runtime.native_calls import no_python


def _net() -> tuple[Any, list[Any]]:
    x = tf.placeholder(tf.float32, [None, 6], name="x")
    w = tf.Variable(np.full((6, 4), 0.1, np.float32), name="w")
    loss = tf.reduce_mean(tf.tanh(tf.matmul(x, w)) ** 2)
    return x, [loss, tf.train.GradientDescentOptimizer(0.1).minimize(loss)]


def _by_kind(p: Profile) -> Counter[str]:
    return Counter(r.kind for r in p.rows)


def _named(p: Profile, name: str) -> ProfileRow:
    (row,) = [r for r in p.rows if r.name == name]
    return row


# ---------------------------------------------------------------- what is timed
def test_every_step_is_a_row_with_its_calls_bytes_and_lines() -> None:
    x, fetches = _net()
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        with sess.profile() as p:
            for n in (5, 5, 5, 8):
                sess.run(fetches, {x: np.ones((n, 6), np.float32)})
        exe = sess.executables()[-1]
    steps = [r for r in p.rows if r.step is not None]
    assert {r.step for r in steps} == set(range(len(exe.program.steps)))
    assert {r.calls for r in steps} == {4}
    (forward,) = [r for r in steps if r.step == 0]
    assert (forward.name, [o.name for o in forward.origins]) == ("matmul", ["MatMul"])
    assert forward.flops == 2 * (3 * 5 + 8) * 6 * 4 / 4  # on average
    assert forward.bytes == 4 * ((23 / 4) * (6 + 4) + 6 * 4)
    assert any("Tanh" in line and "test_profile.py:" in line for r in steps for line in r.lines())
    assert p.runs == 4
    assert sum(r.total for r in p.rows) == pytest.approx(p.seconds)
    assert sum(r.share for r in p.rows) == pytest.approx(1.0)
    assert all(0 <= r.min <= r.mean <= r.total for r in p.rows)
    assert [r.total for r in p.rows] == sorted((r.total for r in p.rows), reverse=True)
    around = {r.kind: r.calls for r in p.rows if r.step is None}
    assert around == {"compile": 1, "plan": 2, "feed": 5, "results": 4, "python": 4}


def test_variables_that_are_copied_at_the_end_are_a_commit() -> None:
    a, b = (tf.Variable(float(i), name=f"v{i}") for i in range(2))
    swap = tf.group(tf.assign(a, b.read_value()), tf.assign(b, a.read_value()))
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        with sess.profile() as p:
            sess.run(swap)
        assert sess.run([a, b]) == [1.0, 0.0]
    assert _by_kind(p)["commit"] == 1


def test_host_steps_and_the_segments_between_them() -> None:
    x = tf.placeholder(tf.float32, [None])
    values, _ = tf.unique(tf.exp(x))
    total = tf.reduce_sum(values * 2.0)
    with tf.Session() as sess:
        with sess.profile() as p:
            for _ in range(3):
                sess.run(total, {x: [1.0, 2.0, 1.0]})
        assert not sess.executables()[0].bound
        kinds = _by_kind(p)
        assert kinds["host"] == 1
        assert kinds["kernel"] >= 2
        host = _named(p, "host Unique")
        assert host.calls == 3
        assert host.lines()[0].startswith("Unique at test_profile.py:")
        assert {r.calls for r in p.rows if r.kind == "kernel"} == {3}
        with sess.profile() as again:  # what is there already is timed too
            sess.run(total, {x: [1.0, 2.0, 1.0]})
    assert _named(again, "host Unique").calls == 1
    assert {r.calls for r in again.rows if r.kind == "kernel"} == {1}


def test_rows_that_threads_share_say_so() -> None:
    x = tf.placeholder(tf.float32, [None])
    y, z = tf.abs(x), tf.reduce_sum(x[:3])
    with tf.Session(config=tf.ConfigProto(intra_op_parallelism_threads=2)) as sess:
        with sess.profile() as p:
            big, _ = sess.run([y, z], {x: np.ones(1 << 20, np.float32)})
        assert big[-1] == 1
    events = [e["args"] for e in p.trace()["traceEvents"] if "step" in e["args"]]
    threads = {tuple(e["ops"]): e["threads"] for e in events}
    assert threads["Abs = Abs",] == 2
    assert sorted(threads.values()) == [1, 2]


def test_callables_and_their_quick_way() -> None:
    x = tf.placeholder(tf.float32, [])
    y = tf.exp(x, name="y")
    with tf.Session() as sess:
        call = sess.make_callable(y, [x])
        assert call(0.0) == 1.0
        with sess.profile() as p:
            assert [float(call(0.0)) for _ in range(5)] == [1.0] * 5
        assert call(0.0) == 1.0
    assert p.runs == 5
    (kernel,) = [r for r in p.rows if r.kind == "kernel"]
    assert (kernel.name, kernel.calls, kernel.fetches) == ("k0 flat", 5, "y:0")
    assert (kernel.bytes, kernel.flops) == (8, 1)


def test_the_reference_is_timed_node_by_node(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> list[int]:
        raise CompileError("the compiler is out of order")

    monkeypatch.setattr(binding, "kernel_addresses", refuse)
    x = tf.placeholder(tf.float32, [2])
    y = tf.reduce_sum(tf.exp(x)) - tf.random_uniform([], seed=1)
    rule = lookup("Exp").numpy
    with tf.Session() as sess, sess.profile() as p:
        with pytest.warns(CompileFallbackWarning):
            sess.run(y, {x: [0.0, 0.0]})
        sess.run(y, {x: [0.0, 0.0]})
    rows = {r.name: r for r in p.rows if r.kind == "reference"}
    assert {"Exp", "Sum", "Sub", "PhiloxUniform"} <= rows.keys()
    assert {r.calls for r in rows.values()} == {2}
    assert lookup("Exp").numpy is rule
    assert rows["Exp"].lines()[0].startswith("Exp at test_profile.py:")


def test_a_run_within_a_run() -> None:
    x = tf.placeholder(tf.float32, [])
    inner = tf.exp(x)
    sess = tf.Session()
    outer = tf.py_func(lambda v: sess.run(inner, {x: v}), [x * 1.0], tf.float32)
    with sess, sess.profile() as p:
        assert sess.run(outer, {x: 0.0}) == 1.0
    assert p.runs == 2
    events = [e for e in p.trace()["traceEvents"] if e["name"] == "run"]
    first, second = events
    assert first["ts"] <= second["ts"]
    assert second["ts"] + second["dur"] <= first["ts"] + first["dur"]
    assert p.seconds == pytest.approx(first["dur"] / 1e6)


def test_a_run_that_fails_counts_what_it_did() -> None:
    x = tf.placeholder(tf.float32, [3])
    i = tf.placeholder(tf.int32, [2])
    v = tf.Variable([1.0, 2.0])
    y = tf.gather(tf.exp(x), i)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        with sess.profile() as p:
            sess.run(y, {x: [0.0] * 3, i: [0, 1]})
            with pytest.raises(OpError, match="index 7 is outside"):
                sess.run(y, {x: [0.0] * 3, i: [0, 7]})
        assert sess.run(v).tolist() == [1.0, 2.0]
    assert p.runs == 2
    assert max(r.calls for r in p.rows if r.step is not None) == 2


# ---------------------------------------------------------------- what it costs when it is off
def _instructions(call: Any) -> Counter[CodeType]:
    """How many instructions of each code object a call runs."""
    seen: Counter[CodeType] = Counter()

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        frame.f_trace_opcodes = True
        if event == "opcode":
            seen[frame.f_code] += 1
        return trace

    old = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(old)
    return seen


def test_a_run_that_is_not_profiled_has_not_one_instruction_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("STATICGRAPH_CALLS", "python")  # native calls have none at all
    x, fetches = _net()
    feed = {x: np.ones((5, 6), np.float32)}
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        call = sess.make_callable(fetches, [x])
        ways = (lambda: sess.run(fetches, feed), lambda: call(feed[x]))
        for way in ways:
            way()
            way()
        before = [_instructions(way) for way in ways]
        walks = [w for e in sess.executables() for p in e.plans.values() for w in p.walks]
        kinds = [type(sess), *map(type, sess.executables())]
        with sess.profile() as p:
            for way in ways:
                way()
        assert p.runs == 2
        monkeypatch.setattr(driver, "timed", None)
        assert [_instructions(way) for way in ways] == before
        assert walks == [w for e in sess.executables() for p in e.plans.values() for w in p.walks]
        assert kinds == [type(sess), *map(type, sess.executables())]
    files = {Path(c.co_filename).stem for seen in before for c in seen}
    assert "session" in files
    assert not files & {"timing", "profile", "profiling", "step_stats"}


@pytest.mark.skipif(not quick.wanted(), reason="no native calls here")
def test_runs_are_native_again_after_profiles_however_they_end() -> None:
    x = tf.placeholder(tf.float32, [None])
    y = tf.reduce_sum(tf.exp(x))
    value = np.zeros(3, np.float32)
    options, metadata = tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE), tf.RunMetadata()
    with tf.Session() as sess:
        call = sess.make_callable(y, [x])
        for _ in range(3):
            assert call(value) == sess.run(y, {x: value}) == 3.0
        with pytest.raises(KeyboardInterrupt), sess.profile():
            sess.run(y, {x: value})
            raise KeyboardInterrupt
        sess.run(y, {x: value}, options=options, run_metadata=metadata)
        sess.run(y, {x: value})  # which shows the plan again
        with no_python():
            assert call(value) == sess.run(y, {x: value}) == 3.0


def test_everything_has_its_own_class_again(monkeypatch: pytest.MonkeyPatch) -> None:
    x = tf.placeholder(tf.float32, [None])
    values, _ = tf.unique(tf.exp(x))

    class Mine(tf.Session):
        pass

    with Mine() as sess:
        with sess.profile():
            assert type(sess).__name__ == "Mine"
            assert isinstance(sess, Mine)
            sess.run([values, tf.reduce_sum(x)], {x: [1.0, 2.0]})
            sess.run(tf.reduce_sum(x), {x: [1.0, 2.0]})
        everything: list[Any] = [sess, sess._store]
        for exe in sess.executables():
            everything += [exe, *exe.plans.values(), *([exe.stepwise] if exe.stepwise else [])]
            items = exe.stepwise.items if exe.stepwise else []
            everything += [s for s in items if hasattr(s, "plans")]
    assert len(everything) > 6
    assert not [x for x in everything if type(x).__module__ == timing.__name__]
    assert not [x for x in everything if {"recorder", "untimed"} & vars(x).keys()]
    assert type(sess) is Mine


# ---------------------------------------------------------------- use and misuse
def test_a_second_profile_at_once_is_refused() -> None:
    told = r"profiled already\n(.*\n)*.*profile began at"
    with tf.Session() as sess:
        with sess.profile(), pytest.raises(UsageError, match=told), sess.profile():
            pass
        with pytest.raises(ZeroDivisionError), sess.profile():
            raise ZeroDivisionError
        with sess.profile() as p:
            pass
        assert p.runs == 0
        assert p.rows == ()
    with pytest.raises(UsageError, match="closed"), sess.profile():
        pass


def test_runs_of_several_threads_are_counted_each_once() -> None:
    x = tf.placeholder(tf.float32, [4])
    y = tf.reduce_sum(tf.exp(x))
    failed: list[BaseException] = []

    with tf.Session() as sess:

        def work() -> None:
            try:
                for _ in range(25):
                    sess.run(y, {x: np.zeros(4, np.float32)})
            except BaseException as e:
                failed.append(e)

        with sess.profile() as p:
            threads = [threading.Thread(target=work, name=f"runner {i}") for i in range(4)]
            for t in threads:
                t.start()
            sess.run(y, {x: np.zeros(4)})
            while any(t.is_alive() for t in threads):
                assert str(p)
                for t in threads:
                    t.join(0.01)
    assert not failed
    assert p.runs == 101
    assert {r.calls for r in p.rows if r.step is not None} == {101}
    named = [e["args"]["name"] for e in p.trace()["traceEvents"] if e["ph"] == "M"]
    assert {f"runner {i}" for i in range(4)} < set(named)


def test_rows_by_kernel_and_by_line() -> None:
    x = tf.placeholder(tf.float32, [None])
    a, b = tf.placeholder(tf.float32, [None]), tf.placeholder(tf.float32, [None])
    with tf.Session() as sess, sess.profile() as p:
        sess.run([tf.exp(x), tf.exp(a), tf.exp(b)], {x: [1.0], a: [1.0, 2.0], b: [1.0]})
    per_step = [r for r in p.rows if r.kind == "kernel"]
    (kernel,) = [r for r in p.rows_by("kernel") if r.kind == "kernel"]
    (line,) = [r for r in p.rows_by("line") if r.kind == "kernel"]
    assert len(per_step) == kernel.calls == line.calls == 3
    assert kernel.total == pytest.approx(sum(r.total for r in per_step))
    assert kernel.min == min(r.min for r in per_step)
    assert kernel.step is None
    assert [o.name for o in kernel.origins] == ["Exp", "Exp_1", "Exp_2"]
    with pytest.raises(UsageError, match="grouped by 'op'"):
        p.rows_by("op")  # type: ignore[arg-type]


def test_the_table_shows_the_longest_rows() -> None:
    x, fetches = _net()
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        with sess.profile() as p:
            sess.run(fetches, {x: np.ones((2, 6))})
    assert repr(p).startswith("<Profile of 1 run, ")
    head, columns, *rows = str(p).splitlines()
    assert head.startswith("profile of 1 run in ")
    assert columns.split() == ["share", "total", "calls", "mean", "min", "bytes", "GB/s", "GFLOP/s"]
    assert len(rows) == len(p.rows)
    assert any("matmul" in row and "Gemm at test_profile.py:" in row for row in rows)
    assert any(row.rstrip().endswith("of Mean:0, GradientDescent") for row in rows)
    *_, last = p.table(limit=2).splitlines()
    assert last.startswith(f"  and {len(p.rows) - 2} rows more, ")


# ---------------------------------------------------------------- traces
def test_the_trace_is_a_chrome_trace(tmp_path: Path) -> None:
    x, fetches = _net()
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        with sess.profile() as p:
            for _ in range(3):
                sess.run(fetches, {x: np.ones((2, 6))})
    file = tmp_path / "trace.json"
    p.save(file)
    trace = json.loads(file.read_text())
    assert trace["otherData"] == {"runs": 3, "runs left out": 0}
    named, *events = trace["traceEvents"]
    assert named["args"]["name"] == threading.current_thread().name
    runs = {e["args"]["run"]: e for e in events if e["name"] == "run"}
    assert sorted(runs) == [1, 2, 3]
    slack = 2e-3  # microseconds are printed with three digits
    for e in events:
        run = runs[e["args"]["run"]]
        assert (e["ph"], e["pid"], e["tid"]) == ("X", os.getpid(), named["tid"])
        assert run["ts"] - slack <= e["ts"]
        assert e["ts"] + e["dur"] <= run["ts"] + run["dur"] + slack
    tanh = next(
        e for e in events if e["args"]["run"] == 2 and "Tanh = Tanh" in e["args"].get("ops", ())
    )
    assert tanh["cat"] == "kernel"
    assert any("test_profile.py:" in line and "tf.tanh" in line for line in tanh["args"]["lines"])
    steps = [e for e in events if "step" in e["args"]]
    assert Counter(e["args"]["run"] for e in steps) == dict.fromkeys(runs, len(steps) // 3)


def test_a_trace_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "trace.json"
    file.write_text("before")
    p = Profile()
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", _full)
        with pytest.raises(OSError, match="no space"):
            p.save(str(file))
    assert [f.name for f in tmp_path.iterdir()] == ["trace.json"]
    assert file.read_text() == "before"
    p.save(str(file))
    assert json.loads(file.read_text())["traceEvents"] == []
    missing = tmp_path / "nowhere" / "trace.json"
    with pytest.raises(FileNotFoundError) as nowhere:
        p.save(missing)
    assert nowhere.value.filename == str(missing)
    with pytest.raises(IsADirectoryError) as folder:
        p.save(tmp_path)
    assert folder.value.filename == str(tmp_path)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers")
def test_a_loop_that_is_stopped_has_the_time_it_took() -> None:
    n = tf.placeholder(tf.int32, [])
    end = tf.while_loop(lambda i, _: i < n, lambda i, v: (i + 1, v * 0.5 + 1.0), [0, 1.0])[1]
    with tf.Session() as sess:
        sess.run(end, {n: 3})
        before = signal.signal(signal.SIGALRM, signal.default_int_handler)
        try:
            with sess.profile() as p:
                signal.setitimer(signal.ITIMER_REAL, 0.2)
                with pytest.raises(KeyboardInterrupt):
                    sess.run(end, {n: 2_000_000_000})
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert sess.run(end, {n: 0}) == 1.0
    (loop,) = [r for r in p.rows if r.step is not None]
    assert loop.calls == 1
    assert any("Mul" in line and "test_profile.py:" in line for line in loop.lines())
    assert max(p.rows, key=lambda r: r.total) == loop
    assert sum(r.total for r in p.rows) == pytest.approx(p.seconds)


def test_events_are_in_order() -> None:
    x = tf.placeholder(tf.float32, [None])
    values, _ = tf.unique(tf.exp(x))
    total = tf.reduce_sum(values)
    sess = tf.Session()
    outer = tf.py_func(lambda v: sess.run(total, {x: v}), [x * 2.0], tf.float32) + 1.0
    with sess, sess.profile() as p:
        for _ in range(2):
            sess.run(outer, {x: [1.0, 2.0, 1.0]})
    assert p.runs == 4
    events = [e for e in p.trace()["traceEvents"] if e["ph"] == "X"]
    assert len(events) > 8
    assert [e["ts"] for e in events] == sorted(e["ts"] for e in events)
    around: list[float] = []  # where what is open ends
    for e in events:
        around = [end for end in around if end > e["ts"] + 1e-3]
        assert all(e["ts"] + e["dur"] <= end + 2e-3 for end in around)
        around.append(e["ts"] + e["dur"])


def test_a_profile_without_a_clock_in_native_code(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise CompileError("a function could not be compiled")

    x = tf.placeholder(tf.float32, [])
    y = tf.exp(x)
    with tf.Session() as sess:
        sess.run(y, {x: 0.0})
        monkeypatch.setattr(driver, "timed", refuse)
        told_as = "what kernels take is told as the time of python"
        with pytest.warns(CompileFallbackWarning, match=told_as) as told, sess.profile() as p:
            assert sess.run(y, {x: 0.0}) == 1.0
        assert told[0].filename == __file__
    assert p.runs == 1
    assert {r.kind for r in p.rows} == {"feed", "results", "python"}


def _full(*_: Any) -> None:
    raise OSError("no space")


def test_long_profiles_count_on_after_the_trace_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    x = tf.placeholder(tf.float32, [])
    y = tf.exp(x)
    monkeypatch.setattr(profile, "KEPT_SPANS", 20)
    with tf.Session() as sess, sess.profile() as p:
        for _ in range(50):
            sess.run(y, {x: 1.0})
    assert p.runs == 50
    assert _named(p, "k0 flat").calls == 50
    other = p.trace()["otherData"]
    assert other["runs"] + other["runs left out"] == 50
    assert 0 < other["runs"] < 20


# ---------------------------------------------------------------- TensorFlow's spelling
def test_a_traced_run_fills_its_metadata() -> None:
    x, fetches = _net()
    feed = {x: np.ones((2, 6), np.float32)}
    metadata = tf.RunMetadata()
    options = tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        loss, _ = sess.run(fetches, feed, options=options, run_metadata=metadata)
        assert metadata.step_stats.dev_stats[0].device.endswith("device:CPU:0")
        sess.run(fetches, feed, run_metadata=metadata)  # leaves it as it is
        call = sess.make_callable(fetches, [x], accept_options=True)
        assert call(feed[x])[0] < loss
        other = tf.RunMetadata()
        call(feed[x], options=options, run_metadata=other)
    nodes = [n for d in metadata.step_stats.dev_stats for n in d.node_stats]
    names = [n.node_name for n in nodes]
    assert "MatMul" in names
    assert "_FEED" in names
    assert [n.all_start_micros for n in nodes] == sorted(n.all_start_micros for n in nodes)
    assert any("Tanh" in n.timeline_label for n in nodes)
    assert {n.node_name for n in other.step_stats.dev_stats[0].node_stats} >= {"MatMul"}
    text = timeline.Timeline(metadata.step_stats).generate_chrome_trace_format()
    events = json.loads(text)["traceEvents"]
    assert Counter(e["ph"] for e in events) == {"M": 2, "X": len(nodes)}


def test_a_traced_run_within_a_profile_counts_in_both() -> None:
    x = tf.placeholder(tf.float32, [])
    y = tf.exp(x)
    options, metadata = tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE), tf.RunMetadata()
    with tf.Session() as sess, sess.profile() as p:
        sess.run(y, {x: 0.0})
        sess.run(y, {x: 0.0}, options=options, run_metadata=metadata)
        sess.run(y, {x: 0.0})
    assert p.runs == 3
    names = [n.node_name for n in metadata.step_stats.dev_stats[0].node_stats]
    assert names == ["_FEED", "Exp", "_RESULTS"]


def test_loops_that_are_run_step_by_step_count_their_own_time_alone() -> None:
    x = tf.placeholder(tf.float32, [])

    def body(i: Any, v: Any) -> tuple[Any, Any]:
        return i + 1, tf.py_func(lambda a: a + 1, [tf.exp(v) * 0.0], tf.float32)

    _, end = tf.while_loop(lambda i, _: i < 3, body, [0, x])
    with tf.Session() as sess, sess.profile() as p:
        assert [float(sess.run(end, {x: 0.0})) for _ in range(2)] == [1.0, 1.0]
    (loop,) = [r for r in p.rows if r.kind == "repeat"]
    host = _named(p, "host PyFunc")
    assert (loop.calls, host.calls, _named(p, "k0 flat").calls) == (2, 6, 6)
    assert host.lines()[0].startswith("PyFunc at test_profile.py:")
    assert sum(r.total for r in p.rows) == pytest.approx(p.seconds)
