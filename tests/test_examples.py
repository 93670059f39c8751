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


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("char_lstm.py missing.txt", "missing.txt: No such file or directory"),
        ("char_lstm.py short.txt", "the text has 3 letters, 1632 are needed"),
        ("digits.py --out short.txt", "--out short.txt: File exists"),
        ("train_in_graph.py --steps 0", "--steps and --points must be at least 1"),
        ("static/data_loading.py --images 0", "--images must be at least 3, --workers at least 0"),
        ("dynamic/elman_rnn.py --steps 0", "--steps must be at least 1"),
    ],
)
def test_wrong_arguments_are_told_of(command: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("abc", encoding="utf-8")
    name, *args = command.split()
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *args], cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, encoding="utf-8",
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1] == f"{Path(name).name}: error: {message}"


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


def test_images_that_workers_read(tmp_path: Path) -> None:
    out = run("image_folder.py", "--epochs", "6", "--workers", "1", cwd=tmp_path)
    right = re.findall(r"^(static|dynamic): (\d+) of 120 images right", out, re.MULTILINE)
    assert [form for form, _ in right] == ["static", "dynamic"]
    assert all(int(count) >= 105 for _, count in right)
    difference = re.search(r"losses of the two forms differ by at most (\S+)$", out)
    assert difference
    assert float(difference[1]) < 1e-3
    assert not list(tmp_path.iterdir())


def test_a_seed_gives_the_same_digits(tmp_path: Path) -> None:
    def once() -> list[str]:
        out = run("digits.py", "--steps", "30", "--seed", "3", "--batch", "50", cwd=tmp_path)
        return re.findall(r"loss [\d.]+, accuracy .*", out)

    first = once()
    assert len(first) == 1
    assert once() == first


def test_the_names_of_syllables(tmp_path: Path) -> None:
    out = run("elman_rnn.py", "--steps", "120", "--hidden", "48", "gweong", cwd=tmp_path)
    rates = [int(x) for x in re.findall(r"held out (\d+)%", out)]
    commonest = re.search(r"(\d+)% by the commonest", out)
    assert commonest
    assert rates[-1] > int(commonest[1]) + 20
    assert re.search(r"^gweong: (Canadian|Ethiopic|Hangul|Vai|Yi)$", out, re.MULTILINE)


def test_a_text_is_learned_and_written(tmp_path: Path) -> None:
    text = "the cat sat on the mat; the dog sat on the log. " * 40
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    sizes = ["--width", "32", "--layers", "1", "--batch", "8", "--length", "20", "--write", "60"]
    out = run("char_lstm.py", "text.txt", "--steps", "150", *sizes, cwd=tmp_path)
    bits = [float(x) for x in re.findall(r"([\d.]+) bits a letter", out)]
    assert len(bits) == 10
    assert bits[-1] < 0.6 * bits[0]
    written = out.rstrip("\n").rpartition("\n")[2]
    assert len(written) == 60
    assert set(written) <= set(text)


def test_the_lynx_and_the_hare(tmp_path: Path) -> None:
    out = run("lynx_and_hare.py", "--steps", "200", cwd=tmp_path)
    misfits = [float(x) for x in re.findall(r"misfit ([\d.]+)$", out, re.MULTILINE)]
    assert misfits[0] > 0.7
    assert misfits[-1] < 0.049
    rates = re.search(
        r"hare' = ([\d.]+) hare - ([\d.]+) .* lynx' = ([\d.]+) .* - ([\d.]+) lynx", out
    )
    assert rates
    # what is known of these data: Carpenter, "Predator-Prey Population Dynamics", Stan case study
    for found, known in zip(map(float, rates.groups()), [0.545, 0.028, 0.024, 0.80], strict=True):
        assert abs(found / known - 1) < 0.06


def test_training_in_the_graph(tmp_path: Path) -> None:
    out = run("train_in_graph.py", "--steps", "300", cwd=tmp_path)
    losses = re.findall(r"loss ([\d.]+)$", out, re.MULTILINE)
    assert len(losses) == 2
    assert losses[0] == losses[1]
    assert "differ by at most 0.0e+00" in out
