"""The programs that stand in examples twice: both forms print the same, to rounding."""

from __future__ import annotations

import importlib
import os
import random
import re
import runpy
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import staticgraph as tf
import staticgraph.dynamic as ours

EXAMPLES = Path(__file__).parents[1] / "examples"
NUMBER = re.compile(r"-?\d+(?:\.\d*)?(?:e[+-]?\d+)?|-?inf|nan")
# How many steps show something: the polynomials print every hundredth loss.
STEPS = {"polynomial": 200, "two": 12, "elman": 60, "torch": 2}
PAIRS = sorted(p.stem for p in (EXAMPLES / "dynamic").glob("*.py"))
RUN_HERE = [p for p in PAIRS if p != "data_loading"]  # which starts processes


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """What programs set for the whole process is as it was."""
    state, drawn = np.random.get_state(), random.getstate()
    yield
    np.random.set_state(state)
    random.setstate(drawn)


def steps_of(name: str) -> str:
    return str(STEPS[name.partition("_")[0]])


def printed(path: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> str:
    """What a program prints, run in this process."""
    monkeypatch.setattr(sys, "argv", [str(path), "--steps", steps_of(name), "--seed", "3"])
    capsys.readouterr()
    with tf.Graph().as_default(), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the arguments of old losses
        runpy.run_path(str(path), run_name="__main__")
    return str(capsys.readouterr().out)


def plain(text: str) -> str:
    """The text without what only one of the two forms writes."""
    only = r"tensor\(|torch\.Size\(|Tensor\(\"Sum:0\".*|, dtype=[\w.]+|grad_fn=\S+"
    return re.sub(r"[\[\](),]", " ", re.sub(only, "", text))


def numbers(text: str) -> np.ndarray:
    return np.array([float(n) for n in NUMBER.findall(plain(text))])


def words(text: str) -> list[str]:
    return NUMBER.sub("#", plain(text)).split()


def test_both_folders_hold_the_same_names_and_the_index_tells_of_all() -> None:
    assert sorted(p.stem for p in (EXAMPLES / "static").glob("*.py")) == PAIRS
    index = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert [p for p in PAIRS if f"`{p}.py`" not in index] == []
    assert {p.partition("_")[0] for p in RUN_HERE} == set(STEPS)


@pytest.mark.parametrize("name", RUN_HERE)
def test_static_and_dynamic_agree(name: str, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    dynamic = printed(EXAMPLES / "dynamic" / f"{name}.py", name, monkeypatch, capsys)
    static = printed(EXAMPLES / "static" / f"{name}.py", name, monkeypatch, capsys)
    if name == "two_layer_tf_002":  # the first line shows the loss, or the tensor that it is
        assert static.startswith('Tensor("Sum:0", shape=(), dtype=float32)\n')
        assert re.match(r"tensor\(\d+\.(\d+)?, grad_fn=<SumBackward0>\)\n", dynamic)
        dynamic, static = (t.split("\n", 1)[1] for t in (dynamic, static))
    left, right = numbers(dynamic), numbers(static)
    assert len(left) >= 3
    np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-6)
    assert words(dynamic) == words(static)


@pytest.mark.slow
def test_data_loading(tmp_path: Path) -> None:
    outs = []
    for kind in ("dynamic", "static"):
        done = subprocess.run(
            [sys.executable, str(EXAMPLES / kind / "data_loading.py"), "--steps", "1",
             "--images", "70", "--workers", "2"],
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(EXAMPLES.parent)},
            capture_output=True, encoding="utf-8", check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        outs.append(done.stdout)
    assert outs[0].splitlines()[0] == "torch.Size([3, 28, 28])"
    assert numbers(outs[0]).tolist()[:9] == [3, 28, 28] * 3
    assert numbers(outs[0]).tolist()[9:13] == [64, 3, 28, 28]
    np.testing.assert_allclose(numbers(outs[0]), numbers(outs[1]), atol=2e-5)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name", [p for p in RUN_HERE if p not in ("torch_users", "polynomial_numpy", "two_layer_numpy")]
)
def test_the_installed_pytorch_prints_the_same(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: Any, tmp_path: Path
) -> None:
    """With the import lines as they were, and the random numbers of our generator."""
    pytest.importorskip("torch")
    real: Any = importlib.import_module("torch")

    def randn(*size: Any, **options: Any) -> Any:
        kinds = {k: v for k, v in options.items() if k == "requires_grad"}
        return real.from_numpy(ours.randn(*size).numpy()).requires_grad_(
            **kinds or {"requires_grad": False}
        )

    def uniform_(self: Any, low: float = 0.0, high: float = 1.0, **_: Any) -> Any:
        drawn = ours.empty(tuple(self.shape)).uniform_(low, high)
        return self.copy_(real.from_numpy(drawn.numpy()))

    monkeypatch.setattr(real, "randn", randn)
    monkeypatch.setattr(real.Tensor, "uniform_", uniform_)
    monkeypatch.setattr(real, "manual_seed", ours.manual_seed)
    path = EXAMPLES / "dynamic" / f"{name}.py"
    text = path.read_text(encoding="utf-8")
    source = text.replace("import staticgraph.dynamic as torch", "import torch").replace(
        "staticgraph.dynamic.", "torch."
    )
    assert source != text and "staticgraph" not in source
    twin = tmp_path / f"{name}.py"
    twin.write_text(source, encoding="utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        want = printed(twin, name, monkeypatch, capsys)
    got = printed(path, name, monkeypatch, capsys)
    np.testing.assert_allclose(numbers(got), numbers(want), rtol=1e-5, atol=1e-6)
    assert words(got) == words(want)
