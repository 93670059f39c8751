"""The benchmark harness, on works and peers made for it.  No time is ever asserted."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import __main__ as command
from benchmarks import machine, memory, ours, peers, report, results, runner, table, verdict
from benchmarks.case import Target, load
from benchmarks.works import NAMES

ROOT = Path(__file__).parents[2]
FAKES = "tests.benchmarks.fakes"
FIXTURE = Path(__file__).parent / "recorded.jsonl"
FAST = runner.Settings(quick=True, rounds=3, round_s=0.0, warm_s=0.0, answer_s=60.0, least=1)


class _Anyone(dict[str, str]):
    def __missing__(self, peer: str) -> str:
        return sys.executable


def make(settings: runner.Settings, lines: list[str]) -> runner.Runner:
    return runner.Runner(_Anyone(), settings, lines.append, package=FAKES)


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def fakes(lines: list[str]) -> Iterator[runner.Runner]:
    made = make(FAST, lines)
    yield made
    made.close()


def run(fakes: runner.Runner, *names: str, variant: str = "few") -> dict[str, dict[str, Any]]:
    rows = fakes.run(load("counting", FAKES), variant, names)
    return {row["peer"]: row for row in rows}


def test_rows_say_what_was_seen(fakes: runner.Runner, lines: list[str]) -> None:
    rows = run(fakes, "slow", "floor", "noisy", "timed")
    slow = rows["slow"]
    assert slow["rounds"] == 3
    assert slow["q1_s"] <= slow["median_s"] <= slow["q3_s"]
    assert slow["min_s"] <= slow["q1_s"]
    assert slow["bytes"] == 80.0
    assert slow["bytes_per_s"] == 80.0 / slow["median_s"]
    assert slow["flops"] == 20.0
    assert slow["calls"] >= 1
    assert slow["peak_bytes"] > 0
    assert slow["grown_bytes"] >= 0
    assert {"import_s", "build_s", "first_s"} <= slow.keys()
    assert rows["noisy"]["rounds"] == 3
    assert rows["timed"]["median_s"] == 0.25
    assert any("round 3 of 3" in line for line in lines)


def test_what_does_not_run_says_why_and_stops_nothing(
    fakes: runner.Runner, lines: list[str]
) -> None:
    rows = run(fakes, "later", "broken", "dying", "failing", "absent", "floor")
    assert "absent" not in rows
    assert rows["later"]["not_yet"] == "no counting yet"
    assert rows["broken"]["error"] == "RuntimeError: it broke"
    assert rows["dying"]["error"] == "the process ended: last words"
    assert "no more" in rows["failing"]["error"]
    assert [p for p, row in rows.items() if "median_s" in row] == ["floor"]
    assert "  later: no counting yet" in lines


def test_a_worker_that_does_not_answer_is_given_up(lines: list[str]) -> None:
    made = make(runner.Settings(quick=True, answer_s=0.5), lines)
    try:
        assert "no answer within" in run(made, "hanging")["hanging"]["error"]
    finally:
        made.close()


def test_ours_is_built_twice_for_a_cold_and_a_warm_cache(fakes: runner.Runner) -> None:
    row = run(fakes, "staticgraph")["staticgraph"]
    assert {"cold_s", "build_s", "first_s"} <= row.keys()
    assert row["facts"] == {"count": 3}


def test_results_are_compared_with_ours(fakes: runner.Runner) -> None:
    rows = run(fakes, "slow", "staticgraph", "different", "floor")
    assert rows["slow"]["agrees"]
    assert not rows["different"]["agrees"]
    assert "agrees" not in rows["floor"]
    assert "(other result)" in table.plain(list(rows.values()), {}, 0.0)


def test_slow_ones_get_fewer_rounds(lines: list[str]) -> None:
    made = make(runner.Settings(quick=True, rounds=9, round_s=0.0, warm_s=0.0, share_s=0.0), lines)
    try:
        assert run(made, "floor")["floor"]["rounds"] == made.settings.least
    finally:
        made.close()


def test_quick_changes_parameters() -> None:
    work = load("counting", FAKES)
    assert work.params("few", quick=True).n == 10
    assert work.params("few", quick=False).n == 100
    assert work.params("many", quick=True).n == 1000
    assert (work.title, work.floor, work.unit) == ("Counting, a call", "Nothing at all", "step")


@pytest.mark.parametrize("name", NAMES)
def test_every_work_is_whole(name: str) -> None:
    work = load(name)
    assert work.title
    assert work.implements("staticgraph")
    assert sum(work.implements(p) for p in peers.PEERS) >= 3
    for variant in work.variants:
        small, full = (work.traffic(variant, quick) for quick in (True, False))
        assert small.bytes <= full.bytes
        assert small.flops <= full.flops
    for target in work.targets:
        assert set(target.variants) <= work.variants.keys()
        verdict.judge(target, [], {})


def test_every_file_of_works_is_run() -> None:
    folder = Path(command.__file__).parent / "works"
    assert {f.stem for f in folder.glob("*.py")} - {"__init__"} == set(NAMES)


# ---- peers
def test_a_missing_peer_is_found_missing() -> None:
    nothing = peers.Peer("x", "x", ("no_such_module_here.sub",), ("no-such-package",))
    assert peers.probe(nothing, sys.executable).missing == ("no_such_module_here",)
    floor = peers.probe(peers.PEERS["floor"], sys.executable)
    assert not floor.missing
    assert {"python", "numba", "numpy"} <= floor.versions.keys()
    assert peers.probe(nothing, "/no/such/python").missing


def test_interpreters_of_peers() -> None:
    found = peers.interpreters(["jax=/x/python"])
    assert found["jax"] == "/x/python"
    assert found["torch"] == sys.executable
    for wrong in ("jax", "nobody=/x"):
        with pytest.raises(ValueError, match="is not PEER=PATH"):
            peers.interpreters([wrong])


def test_memory_is_measured() -> None:
    memory.forget()
    before = memory.peak()
    kept = bytearray(64 << 20)
    kept[::4096] = b"x" * len(kept[::4096])
    assert memory.peak() - before >= 60 << 20
    assert memory.current() > 0


def test_arrays_of_a_package_are_counted_apart() -> None:
    import staticgraph as tf

    x = tf.placeholder(tf.float32, [1000])
    y = tf.exp(x)
    with tf.Session() as sess, memory.Arrays("staticgraph") as seen:
        mine = np.ones(1_000_000, np.float32)
        result = sess.run(y, {x: mine[:1000]})
        assert 3 * result.nbytes <= seen.bytes() < 5 * result.nbytes
        told = ours.facts(sess)["planned_bytes"]
        assert told == pytest.approx(seen.bytes(), rel=0.1)


# ---- files
def test_files_are_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.jsonl"
    results.write(path, [{"kind": "run", "x": "µ"}, {"kind": "row", "work": "w", "variant": "v"}])
    assert [p.name for p in path.parent.iterdir()] == ["a.jsonl"]
    read = results.read(path)
    assert read.run["x"] == "µ"
    assert list(read.variants()) == [("w", "v")]
    with pytest.raises(TypeError):
        results.write(path, [{"kind": object()}])
    assert [p.name for p in path.parent.iterdir()] == ["a.jsonl"]
    assert results.read(path) == read


def test_a_file_without_a_run_is_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    with pytest.raises(ValueError, match="does not tell of a run"):
        results.read(empty)


def test_the_machine_is_told() -> None:
    here = machine.describe()
    assert here["cpu"]
    assert here["cores"] >= 1
    assert machine.slug(here).endswith(f"-{here['cores']}")


# ---- verdicts
def row(peer: str, seconds: float, **more: Any) -> dict[str, Any]:
    return {"peer": peer, "median_s": seconds, "q1_s": seconds, "q3_s": seconds, **more}


@pytest.mark.parametrize(
    ("target", "met", "seen"),
    [
        (Target("faster", 2.0, "jax"), True, "3×"),
        (Target("faster", 4.0, "jax"), False, "3×"),
        (Target("faster", 2.0, "best"), False, "1.5×"),
        (Target("time", 1.1, "floor"), False, "2×"),
        (Target("time", 1.0, "torch"), True, "0.667×"),
        (Target("memory", 1.0, "best"), True, "0.5×"),
        (Target("bandwidth", 0.8), True, "90 %"),
        (Target("bandwidth", 0.95), False, "90 %"),
        (Target("fact", 2, "steps"), True, "2"),
        (Target("fact", 2, "unknown"), None, "not run"),
        (Target("seconds", 0.5), False, "1 s"),
        (Target("faster", 2.0, "tf1"), None, "not run"),
    ],
)
def test_targets(target: Target, met: bool | None, seen: str) -> None:
    rows = [
        row("staticgraph", 1.0, bytes=100.0, bytes_per_s=9.0, grown_bytes=50, facts={"steps": 2}),
        row("floor", 0.5, grown_bytes=1),
        row("jax", 3.0, grown_bytes=100),
        row("torch", 1.5, grown_bytes=200),
        {"peer": "tf1", "error": "x"},
    ]
    found = verdict.judge(target, rows, copies={"90": 10.0, "1000": 1.0})
    assert (found.met, found.seen) == (met, seen)


def test_an_unknown_measure_is_refused() -> None:
    with pytest.raises(ValueError, match="no measure"):
        verdict.judge(Target("colour", 1.0), [], {})


def test_ceilings_are_the_better_of_two() -> None:
    a = {"copies": {"8": 1.0, "16": 5.0}, "gemm": 2.0}
    b = {"copies": {"8": 3.0, "16": 4.0}, "gemm": 1.0}
    both = runner.best_ceilings(a, b)
    assert (both["copies"], both["copy"], both["gemm"]) == ({"8": 3.0, "16": 5.0}, 5.0, 2.0)


# ---- the report
def test_the_report_of_a_recorded_run(tmp_path: Path) -> None:
    path = report.write(results.read(FIXTURE), [FIXTURE], tmp_path / "root")
    text = path.read_text(encoding="utf-8")
    assert (path.parent / "images" / "performance.png").read_bytes().startswith(b"\x89PNG")
    assert "(../benchmarks/results/recorded.jsonl)" in text
    assert "copy 40.0 GB/s, GEMM 200 GFLOP/s" in text
    assert "- not run: TF1 Session, which needs tensorflow" in text
    assert "| chain 10M | ≥ 80 % of copy bandwidth | 75 % | **missed** |" in text
    assert "| chain 10M | ≥ 5× as fast as JAX jit | 6× | met |" in text
    assert "| staticgraph | 2.67 ms | -3 +3 % | 1× | 30.0 | 75 % | 90.0 ms | 81.0 MB |" in text
    assert "| PyTensor | failed: it broke |" in text
    assert "| staticgraph | build | 1.00 | 10.0 µs |" in text
    assert "a quick run" in text
    for line in text.splitlines():
        assert not line.endswith(" ")


def test_the_readme_gets_its_table(tmp_path: Path) -> None:
    begin, end = report.MARKS
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{begin}\nold\n{end}\nafter\n", encoding="utf-8")
    recorded = results.read(FIXTURE)
    report.write(recorded, [FIXTURE], tmp_path)
    lines = readme.read_text(encoding="utf-8").splitlines()
    assert lines[:3] == ["before", begin, ""]
    assert lines[-3:] == ["", end, "after"]
    assert lines[3] == "|  | staticgraph | PyTorch | JAX | TensorFlow 1 | PyTensor |"
    assert lines[5:-3] == [
        "| tanh, exp and a division of 10 million numbers | 2.67 ms |  | 6.00× |  |  |"
    ]


def test_the_tables_that_are_kept_are_of_the_results_that_they_name() -> None:
    text = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    names = re.findall(r"\]\(\.\./(benchmarks/results/[^)]*\.jsonl)\)", text)
    sources = [ROOT / name for name in names]
    kept = results.together([results.read(source) for source in sources])
    made = report.document(
        kept, [s.name for s in sources], "../benchmarks/results", "images/performance.png"
    )
    assert made == text
    assert report.summary(kept) in (ROOT / "README.md").read_text(encoding="utf-8")


def test_tables_of_the_recorded_run() -> None:
    recorded = results.read(FIXTURE)
    shown = table.plain(recorded.variants()["chain", "10M"], {"80000000": 40e9}, 200e9).splitlines()
    names = ["staticgraph", "JAX jit", "PyTensor", "floor"]
    assert [line.split("  ")[0] for line in shown[1:]] == names


# ---- the command
def test_the_command_runs_what_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "QUICK", FAST)
    monkeypatch.setattr(
        runner.Runner, "ceilings", lambda self: {"copies": {"8": 1e9}, "copy": 1e9, "gemm": 1e9}
    )
    monkeypatch.setitem(
        peers.PEERS, "jax", peers.Peer("jax", "JAX jit", ("no_such_module_here",), ())
    )
    command.main(["--quick", "--works", "scalar", "--peers", "floor,jax", "--out", str(tmp_path)])
    out = capsys.readouterr()
    (path,) = tmp_path.glob("*.jsonl")
    assert path.with_suffix(".png").exists()
    first, *rest = (json.loads(line) for line in path.read_text().splitlines())
    assert first["kind"] == "run"
    assert first["skipped"] == ["JAX jit, which needs no_such_module_here"]
    assert "skipped: JAX jit, which needs no_such_module_here" in out.err
    assert [r.get("peer") for r in rest] == [None, "floor", "floor"]
    assert "Scalar graph" in out.out


def test_the_command_refuses_unknown_names(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["--works", "nothing"])
    assert "'nothing' is none of scalar" in capsys.readouterr().err
