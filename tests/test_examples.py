"""The examples run, each in a process of its own, and print what they promise."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
PNG = b"\x89PNG\r\n\x1a\n"


def run(name: str, *args: str, cwd: Path) -> str:
    """What an example prints; a warning that it shows is a failure."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *args],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr, done.stderr
    return done.stdout


def test_every_example_is_tested_and_told_of() -> None:
    index = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    here = Path(__file__).read_text(encoding="utf-8")
    for example in EXAMPLES.glob("*.py"):
        assert f"({example.name})" in index
        assert f'"{example.name}"' in here


def test_the_net_of_the_second_document(tmp_path: Path) -> None:
    out = run("tf_two_layer_net_002.py", cwd=tmp_path)
    assert out.startswith('Tensor("Sum:0", shape=(), dtype=float32)\n')
    assert re.search(r"t = 500\tLoss = 0\.0\d$", out)


def test_the_net_of_the_fourth_document(tmp_path: Path) -> None:
    losses = [float(line) for line in run("tf_two_layer_net_004.py", cwd=tmp_path).splitlines()]
    assert len(losses) == 500
    assert losses[0] > 1e6
    assert losses[-1] < 0.1


def test_the_cubic_fit(tmp_path: Path) -> None:
    out = run("cubic_fit.py", "--steps", "2000", "--show", cwd=tmp_path)
    assert "kernel " in out
    losses = [float(x) for x in re.findall(r"^ *\d+  ([\d.]+)$", out, re.MULTILINE)]
    assert len(losses) == 20
    assert losses == sorted(losses, reverse=True)
    found = re.search(r"y = (\S+) \+ (\S+) x \+ (\S+) x\^2 \+ (\S+) x\^3", out)
    assert found
    a, b, c, d = map(float, found.groups())
    assert abs(a) < 0.2
    assert 0.6 < b < 1.0
    assert abs(c) < 0.05
    assert -0.13 < d < -0.05


@pytest.mark.slow
def test_the_digits(tmp_path: Path) -> None:
    out = run("digits.py", "--out", "pictures", cwd=tmp_path)
    accuracy = re.search(r"accuracy on 450 held-out digits ([\d.]+)%", out)
    assert accuracy
    assert float(accuracy[1]) >= 97.0
    assert re.search(r"[\d,]+ steps/s", out)
    assert re.search(
        r"executable \d+: \d+ steps, \d+ distinct kernels, 1500 runs, [1-9][\d,]* bytes", out
    )
    for name in ("digits_curve.png", "digits_graph.png"):
        assert (tmp_path / "pictures" / name).read_bytes().startswith(PNG)


def test_a_seed_gives_the_same_digits(tmp_path: Path) -> None:
    def once() -> list[str]:
        out = run("digits.py", "--steps", "30", "--seed", "3", "--batch", "50", cwd=tmp_path)
        return re.findall(r"loss [\d.]+, accuracy .*", out)

    first = once()
    assert len(first) == 1
    assert once() == first
