"""The command ``python -m staticgraph profile``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from staticgraph.cli import main
from staticgraph.runtime.session import BaseSession

SCRIPT = """\
import sys
import staticgraph as tf
x = tf.placeholder(tf.float32, [None], name="x")
y, z = tf.exp(-x, name="y"), tf.exp(-x, name="z")
with tf.Session() as sess:
    for _ in range(3):
        sess.run(y, {x: [1.0, 2.0]})
with tf.Session() as sess:
    sess.run(z, {x: [1.0]})
    with sess.profile() as own:
        sess.run(z, {x: [1.0]})
print(own.runs, *sys.argv[1:])
"""


@pytest.fixture
def script(tmp_path: Path) -> str:
    file = tmp_path / "script.py"
    file.write_text(SCRIPT, encoding="utf-8")
    return str(file)


def test_every_session_of_the_script_is_profiled(
    script: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    init = BaseSession.__init__
    trace = tmp_path / "trace.json"
    assert main(["profile", script, "--trace", str(trace), "--", "an", "argument"]) == 0
    first, head, _, *rows = capsys.readouterr().out.splitlines()
    assert first == "1 an argument"
    assert head.startswith("profile of 5 runs in ")
    kernels = [row for row in rows if "k0 flat" in row]
    assert sorted(row.split()[3] for row in kernels) == ["2", "3"]
    assert all(row.endswith("Neg, Exp at script.py:4") for row in kernels)
    events = json.loads(trace.read_text())["traceEvents"]
    assert sum(e["name"] == "run" for e in events) == 5
    assert BaseSession.__init__ is init


def test_rows_can_be_grouped_and_cut(script: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", script, "--by", "kernel", "--rows", "all"]) == 0
    (kernel,) = [r for r in capsys.readouterr().out.splitlines() if "k0 flat" in r]
    assert kernel.split()[3] == "5"
    assert main(["profile", script, "--rows", "2"]) == 0
    *_, last = capsys.readouterr().out.splitlines()
    assert "rows more" in last


def test_misuse_gives_status_2_and_a_failed_script_1(
    script: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["profile", script, "--trace", str(tmp_path / "no" / "trace.json")]) == 2
    assert "there is no directory" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["profile", script, "--rows", "few"])
    empty = tmp_path / "empty.py"
    empty.write_text("import staticgraph as tf\ntf.constant(1.0)\n", encoding="utf-8")
    assert main(["profile", str(empty)]) == 2
    assert "ran no session" in capsys.readouterr().err
    failing = tmp_path / "failing.py"
    failing.write_text(SCRIPT + "1 / 0\n", encoding="utf-8")
    assert main(["profile", str(failing)]) == 1
    out = capsys.readouterr()
    assert "profile of 5 runs" in out.out
    assert "ZeroDivisionError" in out.err
