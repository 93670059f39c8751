"""Batches for programs that are written with `staticgraph.dynamic`."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pytest

import staticgraph.dynamic as torch
from staticgraph.data import DataLoader, Subset, TensorDataset, default_collate, to_tensors
from staticgraph.errors import BatchError
from tests.data_pipeline.sources import Rows, Stream


class Pair(NamedTuple):
    x: Any
    name: Any


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_of_tensors(workers: int) -> None:
    loader = DataLoader(Rows(5), 2, collate_fn=to_tensors, num_workers=workers)
    batches = list(loader)
    assert all(isinstance(t, torch.Tensor) for b in batches for t in b)
    assert [b[1].tolist() for b in batches] == [[0, 1], [2, 3], [4]]
    assert batches[1][0].tolist() == [[2.0] * 3, [3.0] * 3]
    assert batches[0][0].dtype == torch.float32 and batches[0][1].dtype == torch.int64
    batches[0][0].add_(1.0)
    assert batches[0][0].tolist() == [[1.0] * 3, [2.0] * 3]
    stream = DataLoader(Stream(3), 2, collate_fn=to_tensors, num_workers=min(workers, 1))
    assert [b.tolist() for b in stream] == [[0, 1], [2]]


def test_structures() -> None:
    batch = to_tensors([{"p": Pair(np.ones(2), "a"), "l": [1, (2.0,)]}] * 2)
    assert isinstance(batch["p"], Pair) and batch["p"].name == ["a", "a"]
    assert batch["p"].x.tolist() == [[1.0, 1.0]] * 2
    assert isinstance(batch["l"], list) and isinstance(batch["l"][1], tuple)
    assert batch["l"][1][0].tolist() == [2.0, 2.0]


def test_tensors_stay_tensors() -> None:
    batch = default_collate([(torch.ones(2), 1), (torch.zeros(2), 2)])
    assert isinstance(batch[0], torch.Tensor) and batch[0].tolist() == [[1.0, 1.0], [0.0, 0.0]]
    with pytest.raises(BatchError, match=r"different shapes, \[2\] and \[3\]"):
        default_collate([torch.ones(2), torch.ones(3)])


def test_numbers_beside_tensors_become_tensors() -> None:
    def item(i: int) -> Any:
        return {"x": Pair(torch.ones(2), f"{i}"), "y": [i, (float(i), np.int64(i))], "z": True}

    batch = default_collate([item(0), item(1)])
    assert batch["x"].name == ["0", "1"] and type(batch["x"]) is Pair
    whole, (real, numpys) = batch["y"]
    assert (whole.dtype, real.dtype, batch["z"].dtype) == (torch.int64, torch.float32, torch.bool)
    assert whole.tolist() == real.tolist() == [0, 1]
    assert isinstance(numpys, np.ndarray)  # who makes numbers of numpy gets arrays of numpy
    proxy = MappingProxyType({"x": torch.ones(2), "y": 1})
    assert isinstance(default_collate([proxy])["y"], torch.Tensor)
    assert isinstance(default_collate([1, 2]), np.ndarray)


@pytest.mark.parametrize("collate", [None, to_tensors])
def test_datasets_of_tensors(collate: Any) -> None:
    x, y = torch.arange(6.0).reshape(3, 2), np.arange(3)
    data = TensorDataset(x, y)
    row, label = data[1]
    assert isinstance(row, torch.Tensor) and row.tolist() == [2.0, 3.0] and label == 1
    assert isinstance(TensorDataset(torch.arange(3))[2][0], torch.Tensor)
    for batches in (
        DataLoader(data, 2, collate_fn=collate),
        DataLoader(Subset(data, [0, 1, 2]), 2, collate_fn=collate),
        DataLoader([data[i] for i in range(3)], 2, collate_fn=collate),
    ):
        (a, i), (b, j) = batches
        assert isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor)
        assert a.tolist() == [[0.0, 1.0], [2.0, 3.0]] and b.tolist() == [[4.0, 5.0]]
        assert isinstance(i, torch.Tensor if collate else np.ndarray)
        assert [*i.tolist(), *j.tolist()] == [0, 1, 2]


def test_arrays_need_nothing_of_tensors() -> None:
    """A program that makes none does not load them."""
    import subprocess
    import sys
    from pathlib import Path

    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys\n"
            "from staticgraph.data import DataLoader, TensorDataset\n"
            "print([len(x) for (x,) in DataLoader(TensorDataset([1, 2, 3]), 2)])\n"
            "print([m for m in ('staticgraph.dynamic', 'PIL') if m in sys.modules])\n",
        ],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("[2, 1]\n[]\n", "")
