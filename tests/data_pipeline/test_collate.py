"""Batches from items."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pytest

import staticgraph as tf
from staticgraph.data import DataLoader, Subset, TensorDataset, default_collate
from staticgraph.errors import BatchError


class Pair(NamedTuple):
    left: Any
    right: Any


@pytest.mark.parametrize(
    ("items", "dtype"),
    [
        ([1, 2], "int64"),
        ([True, False], "bool"),
        ([True, 2], "int64"),
        ([0.5, 2], "float32"),
        ([1j, 2.0], "complex64"),
        ([np.float64(1), np.float64(2)], "float64"),
        ([np.int8(1), np.int8(2)], "int8"),
        ([1.5, np.float64(2)], "float64"),
        ([np.zeros((2, 0), np.float16)] * 2, "float16"),
        ([np.ones(2, np.float32), [1.0, 2.0]], None),
    ],
)
def test_numbers_and_arrays(items: list[Any], dtype: str | None) -> None:
    if dtype is None:
        with pytest.raises(BatchError, match="different kinds, ndarray and list"):
            default_collate(items)
        return
    batch = default_collate(items)
    assert isinstance(batch, np.ndarray)
    assert batch.dtype == dtype
    np.testing.assert_array_equal(batch, np.stack([np.asarray(x) for x in items]))


def test_structures_are_kept() -> None:
    items = [{"pair": Pair(np.full(2, i), [str(i), b"x"]), "size": (i, i / 2)} for i in range(3)]
    batch = default_collate(items)
    assert list(batch) == ["pair", "size"]
    assert isinstance(batch["pair"], Pair)
    assert batch["pair"].left.tolist() == [[0, 0], [1, 1], [2, 2]]
    assert batch["pair"].right == [["0", "1", "2"], [b"x", b"x", b"x"]]
    sizes, halves = batch["size"]
    assert sizes.tolist() == [0, 1, 2] and halves.tolist() == [0.0, 0.5, 1.0]
    assert isinstance(batch["size"], tuple)


def test_kinds_of_dicts() -> None:
    made = defaultdict(list, a=1)
    batch = default_collate([made, {"a": 2}])
    assert isinstance(batch, defaultdict) and batch["a"].tolist() == [1, 2] and made == {"a": 1}
    assert isinstance(default_collate([OrderedDict(a=1)]), OrderedDict)
    assert type(default_collate([MappingProxyType({"a": 1})])) is dict


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([], "there are no items"),
        ([None], "cannot make a batch of NoneType objects, item 0 of the batch"),
        ([(1, {1})], r"cannot make a batch of set objects at \[1\], item 0"),
        ([{"a": 1}, {"b": 1}], r"dicts of different keys, \['a'\] and \['b'\]\n.*\n  item 0"),
        ([(1, 2), (1,)], "tuples of different lengths, 2 and 1"),
        ([1, "a"], "items of different kinds, int and str"),
        (["a", 1], "items of different kinds, str and int"),
        ([np.float32(1), "a"], "items of different kinds, float32 and str"),
        ([{"a": [1]}, {"a": 1}], r"items of different kinds at \['a'\], list and int"),
        ([1, np.ma.masked_array([1], [True])], "items of diff"),
        ([(np.ma.masked_array([1]),)], r"a masked array at \[0\] would lose its mask, item 0 of"),
        ([1, 2**63], "9223372036854775808 does not fit into int64, item 1 of the batch"),
    ],
)
def test_items_that_make_no_batch(items: list[Any], message: str) -> None:
    with pytest.raises(BatchError, match=f"^default_collate: {message}"):
        default_collate(items)


def test_arrays_of_different_shapes() -> None:
    items = [{"x": (0, np.zeros((2, 3), np.uint8))}, {"x": (0, np.zeros((2, 4)))}]
    with pytest.raises(BatchError) as e:
        default_collate(items, [40, 7])
    lines = str(e.value).splitlines()
    assert lines[0] == (
        "default_collate: arrays of different shapes at ['x'][1], [2, 3] and [2, 4]"
    )
    assert lines[1].endswith("default_collate(items, [40, 7])")
    assert lines[2:4] == [
        "  item 0 of the batch (index 40 of the dataset): uint8[2, 3]",
        "  item 1 of the batch (index 7 of the dataset): float64[2, 4]",
    ]
    assert lines[4].startswith("  hint: ")


def test_a_whole_batch_of_tensors_is_what_its_items_make(rng: np.random.Generator) -> None:
    data = TensorDataset(
        rng.normal(size=(9, 2, 3)), rng.normal(size=9), np.arange(9), list("abcdefghi")
    )
    order = [3, -1, 3, 0]
    for whole in (data, Subset(data, [8, 7, 6, 5, 4])):
        expected = default_collate([whole[i] for i in order])
        (batch,) = DataLoader(whole, batch_sampler=[order])
        for have, want in zip(batch, expected, strict=True):
            assert have.dtype == want.dtype
            np.testing.assert_array_equal(have, want)


def test_batches_feed_placeholders() -> None:
    x = tf.placeholder(tf.float32, [None, 2])
    y = tf.placeholder(tf.int64, [None])
    z = tf.placeholder(tf.float32, [None])
    total = tf.reduce_sum(x, axis=1) + tf.cast(y, tf.float32) + z
    data = [(np.full(2, i, np.float32), i, i / 2) for i in range(3)]
    with tf.Session() as sess:
        sums = [sess.run(total, {x: a, y: b, z: c}).tolist() for a, b, c in DataLoader(data, 2)]
    assert sums == [[0.0, 3.5], [7.0]]
