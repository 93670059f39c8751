"""The command line of the benchmarks: names, files that cannot be written, and being stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import __main__ as command
from benchmarks import peers, results, runner, table
from benchmarks.case import load
from benchmarks.remote import Remote
from benchmarks.works import NAMES
from tests.benchmarks.test_harness import FAKES, FAST, make

TOP = {"kind": "ceilings", "copies": {"8": 1e9}, "copy": 1e9, "gemm": 1e9}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of no length, without ceilings."""
    monkeypatch.setattr(command, "QUICK", FAST)
    monkeypatch.setattr(runner.Runner, "ceilings", lambda self: TOP)


# ---- what is named
def test_works_are_named_as_arguments_or_with_an_option_and_run_once() -> None:
    def works(*argv: str) -> list[str]:
        found: list[str] = command.arguments(argv).works
        return found

    assert works() == list(NAMES)
    assert works("adam", "chain", "adam") == ["adam", "chain"]
    assert works("chain", "--works", "adam,chain", "--quick") == ["chain", "adam"]
    assert command.arguments(["--peers", "jax,jax"]).peers == ["jax"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["layernorm"], "did you mean 'layer_norm'"),
        (["jax"], "did you mean '--peers jax'"),
        (["reprot"], "did you mean 'report'"),
        (["--works", "xyz"], "'xyz' is none of scalar"),
        (["--works", " , "], "there is no name in"),
        (["--peers", "pytorch"], "did you mean 'torch'"),
        (["--rounds", "0"], "'0' is no positive number"),
        (["--rounds", "-3"], "'-3' is no positive number"),
    ],
)
def test_what_is_misspelt_is_told(
    argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        command.main(argv)
    assert message in capsys.readouterr().err


def test_the_help_tells_the_number_of_rounds() -> None:
    assert f"({runner.Settings().rounds})" in command.parser().format_help()


def test_nothing_to_run_is_an_error(
    quick: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = peers.Peer("jax", "JAX jit", ("no_such_module_here",), ())
    monkeypatch.setitem(peers.PEERS, "jax", nothing)
    argv = ["scalar", "--quick", "--peers", "jax", "--out", str(tmp_path / "new")]
    with pytest.raises(SystemExit, match="nothing to run: JAX jit, which needs no_such"):
        command.main(argv)
    assert not (tmp_path / "new").exists()


def test_a_work_that_no_peer_has_is_passed_over(
    quick: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work = load("graph_size")
    assert not work.implements("floor")
    command.main(["graph_size", "--quick", "--peers", "floor", "--out", str(tmp_path)])
    assert "graph_size is not written for floor" in capsys.readouterr().err
    assert len(table.plain([], {}, 0.0).splitlines()) == 1


# ---- files
@pytest.mark.parametrize("kind", ["a file in the way", "a folder in the way"])
def test_results_that_cannot_be_written_are_told_before_anything_is_run(
    kind: str, quick: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner.Runner, "run", None)
    path = tmp_path / "there" / "r.jsonl"
    if kind == "a file in the way":
        path.parent.write_text("")
    else:
        path.mkdir(parents=True)
    with pytest.raises(SystemExit, match=f"^error: cannot write {path}"):
        command.main(["scalar", "--quick", "--peers", "floor", "--out", str(path)])


def test_a_full_disk_leaves_files_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "a.jsonl"
    results.put(path, b"before")
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(OSError, match=f"cannot write {path}: No space left"):
            results.put(path, b"after")
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["a.jsonl"]


RUN = json.dumps({"kind": "run", "quick": False})


@pytest.mark.parametrize("text", ["{'kind'", "[1]", "{}", '{"kind": "row", "wo', "\x00\xff"])
def test_a_damaged_file_names_its_line(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cut.jsonl"
    path.write_bytes(f"{RUN}\n{text}".encode("latin-1"))
    with pytest.raises(SystemExit, match=r"cut\.jsonl is damaged: line 2 is no result"):
        command.main(["report", str(path)])
    with pytest.raises(SystemExit, match=r"No such file or directory: .*none\.jsonl"):
        command.main(["report", str(tmp_path / "none.jsonl")])
    with pytest.raises(SystemExit, match="0"):
        command.main(["report", "--help"])
    assert "the last whole run" in " ".join(capsys.readouterr().out.split())


def test_the_report_is_of_the_last_whole_run(tmp_path: Path) -> None:
    def ran(name: str, *works: str, quick: bool = False) -> None:
        rows = [{"kind": "row", "work": w, "variant": "v"} for w in works]
        results.write(tmp_path / name, [{"kind": "run", "quick": quick}, *rows])

    with pytest.raises(FileNotFoundError, match="makes one"):
        results.last(tmp_path, ["a", "b"])
    ran("2026-01-02T000000-m.jsonl", "a", "b")
    ran("2026-01-10T000000-m.jsonl", "b", "a", "c")
    ran("2026-01-11T000000-m.jsonl", "a")  # asked for one work, or stopped
    ran("2026-01-12T000000-m.jsonl", "a", "b", quick=True)
    assert results.last(tmp_path, ["a", "b"]).name.startswith("2026-01-10")


# ---- being stopped
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_keeps_what_it_has(
    number: signal.Signals, quick: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    path, before = tmp_path / "r.jsonl", signal.getsignal(signal.SIGTERM)
    real = runner.Runner.run

    def run(self: runner.Runner, work: Any, variant: str, peers: Any) -> list[dict[str, Any]]:
        if path.exists():
            os.kill(os.getpid(), number)
        return real(self, work, variant, peers)

    monkeypatch.setattr(runner.Runner, "run", run)
    with pytest.raises(SystemExit, match="130"):
        command.main(["scalar", "--quick", "--peers", "floor", "--out", str(path)])
    assert f"stopped; what was run is kept in {path}" in capsys.readouterr().err
    assert [r["variant"] for r in results.read(path).rows] == ["make_callable"]
    assert not path.with_suffix(".png").exists()
    assert signal.getsignal(signal.SIGTERM) is before


def test_workers_end_with_the_runner_whatever_they_are_doing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    made = make(FAST, [])
    monkeypatch.setattr(Remote, "ask", interrupted)
    with pytest.raises(KeyboardInterrupt):
        made.run(load("counting", FAKES), "few", ["hanging"])
    (worker,) = made._remotes
    assert worker._process.poll() is None
    made.close()
    assert worker._process.poll() is not None


def test_tables_are_printed_whatever_the_terminal_can_show(tmp_path: Path) -> None:
    code = (
        "from benchmarks import __main__ as c, table, results\n"
        "c.run = lambda args: print(table.duration(5e-6)) or exit()\n"
        "c.main(['--quick'])"
    )
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=root, env=env)
    assert (done.stdout, done.stderr) == (b"5.00 ?s\n", b"")


def test_progress_stays_out_of_pipes() -> None:
    code = "from benchmarks.__main__ import Progress as P; p = P(); p('\\r1 of 2'); p('done')"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)
    assert (done.stdout, done.stderr) == ("", "done\n")
