"""The library's functions in compiled functions: the numbers and gradients of define by run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import staticgraph as tf
import staticgraph.dynamic as torch
from staticgraph.dynamic.nn import functional as F
from staticgraph.errors import OutOfBoundsError


def floats(*shape: int, lo: float = -2, hi: float = 2) -> Any:
    return torch.tensor(np.random.default_rng([*shape]).uniform(lo, hi, shape))


def integers(n: int, *shape: int) -> Any:
    return torch.tensor(np.random.default_rng([n, *shape]).integers(0, n, shape))


X, Y, P = floats(4, 6), floats(4, 6, lo=-1), floats(4, 6, lo=0.1, hi=0.9)
CLASSES, IMAGE, SERIES = integers(6, 4), floats(2, 4, 8, 8), floats(5, 2, 6)
WEIGHTS = torch.arange(1.0, 7.0).double()

CASES: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "binary_cross_entropy": (F.binary_cross_entropy, (P, P)),
    "with_logits": (
        lambda a, b: F.binary_cross_entropy_with_logits(a, b, pos_weight=WEIGHTS), (X, P)
    ),
    "kl_div": (
        lambda a, b: F.kl_div(F.log_softmax(a, 1), b, reduction="batchmean"), (X, P)
    ),
    "cross_entropy": (F.cross_entropy, (X, CLASSES)),
    "smoothed": (lambda a, k: F.cross_entropy(a, k, label_smoothing=0.1), (X, CLASSES)),
    "ignored": (lambda a, k: F.cross_entropy(a, k, ignore_index=2), (X, CLASSES)),
    "weighted": (lambda a, k: F.cross_entropy(a, k, weight=WEIGHTS), (X, CLASSES)),
    "probabilities": (lambda a, b: F.cross_entropy(a, b.softmax(1)), (X, Y)),
    "nll": (lambda a, k: F.nll_loss(F.log_softmax(a, 1), k), (X, CLASSES)),
    "triplet": (lambda a, b: F.triplet_margin_loss(a, b, b * 2), (X, Y)),
    "cosine": (F.cosine_similarity, (X, Y)),
    "one_hot": (lambda k: F.one_hot(k, 6), (CLASSES,)),
    "normalize": (F.normalize, (X,)),
    "embedding": (lambda k, w: F.embedding(k, w, padding_idx=1), (CLASSES, floats(6, 3))),
    "layer_norm": (lambda x: F.layer_norm(x, (6,)), (X,)),
    "group_norm": (lambda x: F.group_norm(x, 2), (IMAGE,)),
    "batch_norm": (lambda x: F.batch_norm(x, None, None, training=True), (X,)),
    "max_pool": (lambda x: F.max_pool2d(x, 3, 2, 1), (IMAGE,)),
    "avg_pool": (lambda x: F.avg_pool2d(x, 3, 2, 1), (IMAGE,)),
    "adaptive": (lambda x: F.adaptive_avg_pool2d(x, (3, 1)), (IMAGE,)),
    "conv": (
        lambda x, w: F.conv2d(x, w, stride=2, padding=1, groups=2), (IMAGE, floats(6, 2, 3, 3))
    ),
    "conv_transpose": (
        lambda x, w: F.conv_transpose2d(x, w, stride=2, padding=1), (IMAGE, floats(4, 3, 3, 3))
    ),
    "reflect": (lambda x: F.pad(x, (1, 2, 1, 1), mode="reflect"), (IMAGE,)),
    "bilinear": (F.bilinear, (X, Y, floats(2, 6, 6))),
    "attention": (
        lambda a, b: F.scaled_dot_product_attention(a, b, b, is_causal=True),
        (floats(2, 5, 4), floats(2, 5, 4, lo=0)),
    ),
    "einsum": (lambda a, b: torch.einsum("ij,kj->ik", a, b), (X, Y)),
    "tril": (lambda x: x.tril(), (X,)),
    "sort": (lambda x: x.sort(0, descending=True)[0], (X,)),
    "topk": (lambda x: x.topk(2)[0], (X,)),
    "argsort": (lambda x: x.argsort(1), (X,)),
    "median": (lambda x: x.median(1)[0] + x.nan_to_num(0.0).median(), (X,)),
    "repeat_interleave": (lambda x: x.repeat_interleave(2, 0), (X,)),
    "max": (lambda x: x.max(1)[0], (X,)),
    "gather": (lambda x, k: x.gather(1, k[:, None]), (X, CLASSES)),
    "scatter": (lambda x, k: x.scatter(1, k[:, None], 0.0), (X, CLASSES)),
    "scatter_add": (lambda x, k: x.scatter_add(1, k[:, None], x), (X, CLASSES)),
    "chosen": (lambda x, k: x[torch.arange(4), k], (X, CLASSES)),
    "index_put": (
        lambda x: (x * 1).index_put((torch.tensor([0, -1]),), x[1], accumulate=True), (X,)
    ),
    **{
        f"index {i}": (f, (floats(2, 3, 4), torch.tensor([-1, 1])))
        for i, f in enumerate((
            lambda x, i: x[i], lambda x, i: x[..., i], lambda x, i: x[i, i],
            lambda x, i: x[None, :, i], lambda x, i: x[-1, i], lambda x, i: x[i[0]],
            lambda x, i: x[i[1], 1:, i], lambda x, i: x[:, [-1, 1], 0],
            lambda x, i: x.index_select(1, i), lambda x, i: x[x[:, 0, 0] > -9, -1],
        ))
    },
    "unbind": (lambda x: sum(x.unbind(0)), (SERIES,)),
    "std": (lambda x: x.std(1), (X,)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients(name: str) -> None:
    function, args = CASES[name]
    given = [a.clone().requires_grad_() if a.is_floating_point() else a for a in args]
    leaves = [a for a in given if a.requires_grad]
    found, wanted = tf.function(function)(*given), function(*given)
    assert found.dtype == wanted.dtype
    np.testing.assert_allclose(
        found.detach().numpy(), wanted.detach().numpy(), rtol=1e-9, atol=1e-12
    )
    if not wanted.requires_grad:
        return
    pairs = [
        torch.autograd.grad((y * y).sum(), leaves, materialize_grads=True) for y in (found, wanted)
    ]
    for f, w in zip(*pairs, strict=True):
        np.testing.assert_allclose(f.numpy(), w.numpy(), rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("op", ["gather", "scatter_add"])
def test_an_index_outside_of_its_axis_is_no_element_of_another_row(op: str) -> None:
    def at(x: Any, k: Any) -> Any:
        return x.gather(1, k) if op == "gather" else x.scatter_add(1, k, x)

    f = tf.function(at)
    x = floats(2, 3)
    np.testing.assert_array_equal(
        f(x, torch.tensor([[-1], [0]])).numpy(), at(x, torch.tensor([[-1], [0]])).numpy()
    )
    for wrong in (3, -4):
        with pytest.raises(OutOfBoundsError, match="is outside"):
            f(x, torch.tensor([[wrong], [0]]))


def test_a_probability_outside_of_its_range_is_no_number() -> None:
    f = tf.function(F.binary_cross_entropy)
    assert f(torch.tensor([0.5, 1.5]), torch.ones(2)).isnan()
    assert not f(torch.tensor([0.5, 1.0]), torch.ones(2)).isnan()


def test_a_class_outside_of_its_range() -> None:
    f = tf.function(lambda k: F.one_hot(k, 3))
    assert f(torch.tensor([2, 0])).tolist() == [[0, 0, 1], [1, 0, 0]]
    with pytest.raises(OutOfBoundsError, match="is outside"):
        f(torch.tensor([3, 0]))
