"""Whole programs with loops, branches and arrays have TensorFlow's values, gradients included."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import staticgraph as tf
from tests.nn.loop_programs import PROGRAMS, results

FILE = Path(__file__).parents[1] / "data" / "loop_golden.json"
CASES: list[dict[str, Any]] = json.loads(FILE.read_text(encoding="utf-8"))["cases"]


def test_every_program_has_its_numbers() -> None:
    assert [c["program"] for c in CASES] == list(PROGRAMS)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c["program"])
def test_values_are_those_of_tensorflow(case: dict[str, Any]) -> None:
    with tf.Graph().as_default():
        found = results(tf, tf.nn.rnn_cell, case["program"])
    assert len(found) == len(case["values"])
    for k, (have, want) in enumerate(zip(found, case["values"], strict=True)):
        assert have.shape == np.shape(want), k
        single = have.dtype == np.float32
        rtol, atol = (1e-5, 1e-6) if single else (1e-7, 1e-9)
        np.testing.assert_allclose(have, want, rtol=rtol, atol=atol, err_msg=str(k))
