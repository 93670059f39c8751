"""Small programs give what PyTorch gives: values, types, shapes, texts, and refusals."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import staticgraph.dynamic as dynamic
from tests.dynamic.torch_cases import recorded, run
from tests.dynamic.torch_programs import CASES

RECORD = recorded()


def compare(found: Any, wanted: Any) -> None:
    if isinstance(wanted, dict):
        assert isinstance(found, dict)
        assert (found["dtype"], found["shape"]) == (wanted["dtype"], wanted["shape"])
        rough = wanted["dtype"] == "float16"
        np.testing.assert_allclose(
            found["values"], wanted["values"], rtol=2e-3 if rough else 1e-6, atol=1e-7
        )
    elif isinstance(wanted, list):
        assert isinstance(found, list)
        assert len(found) == len(wanted)
        for f, w in zip(found, wanted, strict=True):
            compare(f, w)
    else:
        assert found == wanted


@pytest.mark.parametrize("name", CASES)
def test_as_recorded(name: str) -> None:
    compare(run(name, dynamic), RECORD[name])


def test_the_record_is_whole() -> None:
    assert list(RECORD) == list(CASES)


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")
def test_the_record_is_pytorchs() -> None:
    torch: ModuleType = importlib.import_module("torch")
    assert sys.modules["torch"] is torch
    for name in CASES:
        compare(run(name, torch), RECORD[name])
