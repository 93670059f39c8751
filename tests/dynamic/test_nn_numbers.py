"""Layers, losses and their gradients against the numbers that PyTorch gives."""

from __future__ import annotations

import importlib
import json
from typing import Any

import numpy as np
import pytest

import staticgraph.dynamic as torch
from tests.dynamic import nn_cases as cases

KNOWN = json.loads(cases.FILE.read_text(encoding="utf-8"))


@pytest.mark.parametrize(("text", "shapes", "numbers"), KNOWN["layers"])
def test_layer(text: str, shapes: Any, numbers: list[float]) -> None:
    got = cases.layer(torch, text, shapes)
    np.testing.assert_allclose(got, numbers, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(("text", "arguments", "numbers"), KNOWN["losses"])
def test_loss(text: str, arguments: Any, numbers: list[float]) -> None:
    got = cases.loss(torch, text, arguments)
    np.testing.assert_allclose(got, numbers, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(("text", "numbers"), KNOWN["functions"])
def test_function(text: str, numbers: list[float]) -> None:
    np.testing.assert_allclose(cases.function(torch, text), numbers, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(("text", "shown"), KNOWN["texts"])
def test_text(text: str, shown: str) -> None:
    assert repr(eval(text, {"nn": torch.nn})) == shown


def test_every_case_is_in_the_file() -> None:
    assert [(t, s) for t, s, _ in KNOWN["layers"]] == cases.LAYERS
    assert [(t, a) for t, a, _ in KNOWN["losses"]] == cases.LOSSES
    assert [t for t, _ in KNOWN["functions"]] == cases.FUNCTIONS


def test_as_the_installed_pytorch() -> None:
    pytest.importorskip("torch")
    real = importlib.import_module("torch")
    for text, shapes in cases.LAYERS:
        want = cases.layer(real, text, shapes)
        np.testing.assert_allclose(cases.layer(torch, text, shapes), want, rtol=1e-7, atol=1e-9)
    for text, arguments in cases.LOSSES:
        want = cases.loss(real, text, arguments)
        np.testing.assert_allclose(cases.loss(torch, text, arguments), want, rtol=1e-7, atol=1e-9)
