"""The command ``python -m staticgraph explain``."""

from __future__ import annotations

from pathlib import Path

import pytest

from staticgraph.cli import main

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
    head = "an argument\n1 executable, 1 kernel, 144 bytes planned\nexecutable 0: y:0\n"
    assert out.startswith(head)
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


def test_misuse_gives_status_2(
    script: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", script, "--fetch", "z", "--stage", "fusion"]) == 2
    assert "there is no stage 'fusion'" in capsys.readouterr().err
    empty = tmp_path / "empty.py"
    empty.write_text("import staticgraph as tf\ntf.constant(1.0)\n", encoding="utf-8")
    assert main(["explain", str(empty)]) == 2
    assert "ran nothing" in capsys.readouterr().err
