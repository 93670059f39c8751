"""The page on static and dynamic graphs is made of the kept results, and leaves no claim out."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

from staticgraph.compare import PAIRS, Comparison, plots

DOCS = Path(__file__).parents[2] / "docs"

# Every sentence of the documents about static and dynamic graphs, by words that it is known by.
SENTENCES = {
    "what a graph is": (
        "does not know anything about computation graphs", "keep track of a computational graph",
        "Tensors do not know anything", "using Variables defines",
        "both frameworks define a computational graph", "graphs are static",
        "nodes will be Tensors", "a node in a computational graph",
        "a Tensor a node in it",
    ),
    "once and again": (
        "define the graph once", "feeding different input data",
        "each forward pass defines a new", "each forward pass builds a dynamic",
    ),
    "derivatives": (
        "very hairy", "backpropagating through this graph", "references to intermediate values",
        "we don't need to track this", "gradients are not computed", "accumulated in buffers",
        "really two functions", "inside the current graph", "requires no arguments",
        "handled automatically by autograd",
    ),
    "optimisation": (
        "optimize the graph up front", "fuse some graph operations", "many GPUs or machines",
        "potentially costly", "can be amortized",
    ),
    "control flow": (
        "differ is control flow", "different computation for each data point",
        "unrolled for different numbers", "implemented as a loop", "part of the graph",
        "tf.scan", "situation is simpler", "imperative flow control", "RNNs are particularly easy",
        "power of PyTorch's dynamic graphs", "weight sharing", "perfectly safe to reuse",
    ),
    "running": (
        "not actually perform any numeric operations", "prints the node",
        "filled with real data", "persists its value", "initialize the variables",
        "updating the weights is part of", "outside the computational graph",
        "evaluate new_w1 and new_w2", "returned as numpy arrays", "construct tensors within",
        "enter a TensorFlow session",
    ),
    "around": (
        "too low-level", "higher-level abstractions", "torch.jit.trace",
        "data-dependent control flow", "human readable representation", "is well formed",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def generator() -> Any:
    spec = importlib.util.spec_from_file_location("make_comparison", DOCS / "make_comparison.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def kept(generator: Any) -> Comparison:
    return Comparison.from_json(generator.RESULTS.read_text(encoding="utf-8"))


def test_the_page_is_what_the_results_give(generator: Any, kept: Comparison) -> None:
    have = generator.PAGE.read_text(encoding="utf-8")
    assert generator.page(kept) == have, "write it anew with: python docs/make_comparison.py"


def test_no_sentence_is_left_out(generator: Any) -> None:
    quotes = [claim["quote"] for claim in generator.claims()]
    wanted = [words for group in SENTENCES.values() for words in group]
    assert [w for w in wanted if not any(w in q for q in quotes)] == []
    assert [q for q in quotes if not any(w in q for w in wanted)] == []


def test_every_claim_has_a_place_and_something_to_show(generator: Any, kept: Comparison) -> None:
    numbers = generator.Numbers(kept)
    documents = {"tutorial", "pytorch-examples", "notebook", "cheat sheet", "translation"}
    for claim in generator.claims():
        assert claim["places"] and {p.partition(",")[0] for p in claim["places"]} <= documents
        assert len(claim["quote"]) < 80
        told = numbers.put_into(claim["text"])
        assert not set("{}") & set(told)
        assert len(told.split()) > 8


def test_the_kept_results_are_of_all_pairs_and_agree(kept: Comparison) -> None:
    assert [p.name for p in kept.pairs] == [p.name for p in PAIRS]
    assert kept.agrees and kept.has_torch and not kept.quick
    by_name = {p.name: p for p in PAIRS}
    for p in kept.pairs:
        assert {f.form for f in p.forms} == {
            "numpy", "dynamic", "static", "torch", *by_name[p.name].variants,
        }  # fmt: skip


def test_pictures_are_there(generator: Any) -> None:
    shown = re.findall(r"\]\((images/\S+)\)", generator.PAGE.read_text(encoding="utf-8"))
    assert sorted(shown) == [f"images/compare_{name}.svg" for name in sorted(plots.PICTURES)]
    assert all((DOCS / path).stat().st_size > 1000 for path in shown)
