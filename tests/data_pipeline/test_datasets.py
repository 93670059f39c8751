"""Datasets by index, put together and taken apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from staticgraph import dynamic
from staticgraph.data import ConcatDataset, Dataset, Subset, TensorDataset, random_split
from staticgraph.errors import BatchError, DataIndexError, UsageError
from tests.data_pipeline.sources import Rows, Stream

HERE = Path(__file__).name


def test_rows_of_tensors_keep_their_dtypes() -> None:
    x, y = np.arange(6, dtype=np.float16).reshape(3, 2), np.array([7, 8, 9], np.uint8)
    data = TensorDataset(x, y, ["a", "b", "c"])
    row, label, name = data[-1]
    assert row.tolist() == [4.0, 5.0] and row.dtype == np.float16
    assert label == 9 and label.dtype == np.uint8
    assert name == "c" and len(data) == 3
    assert [int(label) for _, label, _ in data] == [7, 8, 9]  # by index, until there are no more


def test_a_slice_of_arrays() -> None:
    data = TensorDataset(np.arange(6).reshape(3, 2), dynamic.arange(3.0))
    x, y = data[1:]
    assert x.tolist() == [[2, 3], [4, 5]] and isinstance(y, dynamic.Tensor) and len(y) == 2
    assert len(data[:][0]) == 3 and len(data[5:][1]) == 0


@pytest.mark.parametrize("index", [1.0, "1", None, [1]])
def test_an_index_that_is_no_integer(index: Any) -> None:
    for dataset in (TensorDataset([1, 2]), ConcatDataset([[1, 2]]), Subset("ab", [0, 1])):
        with pytest.raises(UsageError, match=f"must be an integer, not {type(index).__name__}"):
            dataset[index]
    assert TensorDataset([1, 2])[np.int8(1)] == (2,)


def test_tensors_of_different_lengths() -> None:
    with pytest.raises(BatchError) as e:
        TensorDataset(np.zeros((3, 2)), np.zeros(3), np.zeros((4, 1), np.int32))
    message, line, *operands = str(e.value).splitlines()
    assert message == "TensorDataset: array 0 has 3 rows and array 2 has 4"
    assert line.startswith(f"  {HERE}:") and "TensorDataset(np.zeros((3, 2))" in line
    assert operands == ["  array 0: float64[3, 2]", "  array 2: int32[4, 1]"]


def test_tensors_without_rows() -> None:
    with pytest.raises(BatchError, match="array 1 is a scalar"):
        TensorDataset([1], 2)
    with pytest.raises(UsageError, match="at least one array"):
        TensorDataset()


@pytest.mark.parametrize("index", [3, -4])
@pytest.mark.parametrize(
    "data",
    [TensorDataset(np.arange(3)), ConcatDataset([[1], [2, 3]]), Subset("abcde", [4, 0, 1])],
    ids=lambda d: type(d).__name__,
)
def test_an_index_outside(data: Dataset[object], index: int) -> None:
    with pytest.raises(DataIndexError) as e:
        data[index]
    message, line = str(e.value).splitlines()
    name = type(data).__name__
    assert message == f"{name}: index {index} is out of range, there are 3 items"
    assert line.endswith("data[index]")
    assert isinstance(e.value, IndexError)


def test_datasets_one_after_the_other() -> None:
    more = ConcatDataset([[10, 11], Rows(0)])
    joined = Rows(2) + more + Rows(1)
    assert isinstance(joined, ConcatDataset)
    assert len(joined) == 5
    assert [x if isinstance(x, int) else x[1] for x in joined] == [0, 1, 10, 11, 0]
    assert joined[-2] == 11
    with pytest.raises(UsageError, match="dataset 1 is an IterableDataset"):
        ConcatDataset([Rows(2), Stream(3)])  # type: ignore[list-item]
    with pytest.raises(UsageError, match="at least one dataset"):
        ConcatDataset([])


def test_subsets() -> None:
    inner = Subset(range(100, 200), [5, -1, 7])
    assert list(inner) == [105, 199, 107]
    assert list(Subset(inner, [2, 0])) == [107, 105]
    assert list(Subset(range(3), [])) == []
    with pytest.raises(DataIndexError, match="Subset: index 100 is out of range, there are 100"):
        Subset(range(100), [1, 100, 2])
    with pytest.raises(UsageError, match=r"a vector of integers, not float64\[2\]"):
        Subset(range(100), [0.5, 1.0])  # type: ignore[list-item]


def test_a_split_takes_every_item_once_and_is_the_same_for_a_seed() -> None:
    parts = random_split(range(10), [5, 3, 2], seed=4)
    assert [len(p) for p in parts] == [5, 3, 2]
    items = [x for part in parts for x in part]
    assert sorted(items) == list(range(10)) and items != list(range(10))
    again = random_split(range(10), [5, 3, 2], seed=4)
    assert [x for part in again for x in part] == items
    rng = np.random.default_rng(4)
    assert [x for p in random_split(range(10), [5, 3, 2], generator=rng) for x in p] == items
    assert [x for p in random_split(range(10), [5, 3, 2], seed=5) for x in p] != items


def test_a_split_by_fractions() -> None:
    assert [len(p) for p in random_split(range(11), [0.5, 0.25, 0.25])] == [6, 3, 2]
    assert [len(p) for p in random_split(range(3), [0.1, 0.9])] == [1, 2]


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ([5, 4], r"the lengths \[5, 4\] add up to 9, and there are 10 items"),
        ([11, -1], r"the lengths \[11, -1\] add up to 10"),
        ([0.5, 0.4], r"the fractions \[0.5, 0.4\] add up to 0.9 instead of 1"),
        ([1.5, -0.5], r"the fractions \[1.5, -0.5\] add up to 1 instead"),
    ],
)
def test_a_split_that_does_not_add_up(lengths: list[float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        random_split(range(10), lengths)


def test_the_names_that_pipelines_use_are_free() -> None:
    taken = {"from_tensor_slices", "map", "batch", "shuffle", "repeat", "prefetch"}
    assert not taken & set(dir(Dataset))


def test_what_a_subclass_has_to_define() -> None:
    class Empty(Dataset[int]):
        pass

    with pytest.raises(NotImplementedError, match="Empty does not define __getitem__"):
        Empty()[0]
    with pytest.raises(NotImplementedError, match="Empty does not define __len__"):
        len(Empty())
