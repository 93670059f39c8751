"""The command ``python -m staticgraph explain``."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from staticgraph.cli import main
from staticgraph.runtime.session import BaseSession

SCRIPT = """\
import sys
import staticgraph as tf
x = tf.placeholder(tf.float32, [None], name="x")
y = tf.exp(-x, name="y")
z = tf.exp(x, name="z")
with tf.Session() as sess:
    sess.run(y, {x: [1.0, 2.0]})
print(*sys.argv[1:])
"""


@pytest.fixture
def script(tmp_path: Path) -> str:
    file = tmp_path / "script.py"
    file.write_text(SCRIPT, encoding="utf-8")
    return str(file)


def test_it_tells_of_every_session_of_the_script(
    script: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", script, "--", "an", "argument"]) == 0
    out = capsys.readouterr().out
    head = r"an argument\n1 executable, 1 kernel, \d+ bytes planned, \d+ of them for calls\n"
    assert re.match(head + "executable 0: y:0\n", out)
    assert "Neg, Exp at script.py:4" in out
    assert "def kernel" not in out


def test_sources_and_stages_are_shown_on_request(
    script: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", script, "--sources"]) == 0
    assert "def kernel(args, lo, hi):" in capsys.readouterr().out
    assert main(["explain", script, "--fetch", "z"]) == 0
    assert "compiled: no, these fetches were not run" in capsys.readouterr().out
    assert main(["explain", script, "--fetch", "z", "--stage", "fuse"]) == 0
    assert "fused {\n  flat (d0: n0) {" in capsys.readouterr().out


SESSIONS = """\
import sys
import staticgraph as tf
x = tf.placeholder(tf.float32, [], name="x")
first, second = tf.exp(x, name="first"), tf.tanh(x, name="second")
one, two = tf.Session(), tf.Session()
two.run(second, {x: 1.0})
two.close()
one.run(first, {x: 1.0})
tf.Session()
"""


@pytest.mark.parametrize(
    ("end", "status", "told"),
    [
        ("", 0, ""),
        ("sys.exit()", 0, ""),
        ("sys.exit(3)", 1, "exited with 3"),
        ("sys.exit('because')", 1, "exited with 'because'"),
        ("1 / 0", 1, "ZeroDivisionError"),
        ("raise KeyboardInterrupt", 130, "was interrupted"),
    ],
)
def test_however_a_script_ends_its_sessions_are_told_in_the_order_of_opening(
    end: str, status: int, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "sessions.py"
    file.write_text(SESSIONS + end + "\n", encoding="utf-8")
    init, close = BaseSession.__init__, BaseSession.close
    assert main(["explain", str(file)]) == status
    seen = capsys.readouterr()
    heads = [line for line in seen.out.splitlines() if line.startswith("executable")]
    assert heads == ["executable 0: first:0", "executable 0: second:0"]
    assert told in seen.err
    assert "cli.py" not in seen.err
    assert (BaseSession.__init__, BaseSession.close) == (init, close)


@pytest.mark.parametrize("text", ["def f(:\n", "import sys; sys.exit(3)\n", "1 / 0\n"])
def test_a_script_that_failed_before_it_ran_anything_is_not_misuse(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "failing.py"
    file.write_text(text, encoding="utf-8")
    for command in ("explain", "profile"):
        assert main([command, str(file)]) == 1
        error = capsys.readouterr().err
        assert "failing.py" in error
        assert not re.search(r"cli\.py|runpy|ran no", error)


def test_compiled_functions_are_told_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "functions.py"
    file.write_text(
        "import staticgraph as tf\n"
        "import staticgraph.dynamic as torch\n"
        "@tf.function\n"
        "def area(x, y):\n"
        "    return (x @ y).tanh()\n"
        "for _ in range(3):\n"
        "    area(torch.ones(2, 3), torch.ones(3, 4))\n",
        encoding="utf-8",
    )
    assert main(["explain", str(file)]) == 0
    out = capsys.readouterr().out
    assert "executable 0: area\n  compiled: first call; 3 runs, each one native call\n" in out
    assert "Tanh at functions.py:5" in out
    assert "with n0=2, n1=3, n2=4: reads 72 bytes, writes 32, 48 flops" in out


def test_misuse_gives_status_2(
    script: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", script, "--fetch", "z", "--stage", "fusion"]) == 2
    assert "there is no stage 'fusion'\n  hint: one of close" in capsys.readouterr().err
    assert main(["explain", script, "--fetch", "zz"]) == 2
    name = "staticgraph explain: error: the graph holds no operation named 'zz'\n"
    assert capsys.readouterr().err == name
    with pytest.raises(SystemExit, match="2"):
        main(["explain", script, "--steps", "5"])
    assert "--steps 5; arguments of the script stand after --" in capsys.readouterr().err
    empty = tmp_path / "empty.py"
    empty.write_text("import staticgraph as tf\ntf.constant(1.0)\n", encoding="utf-8")
    assert main(["explain", str(empty)]) == 2
    assert "ran nothing" in capsys.readouterr().err
