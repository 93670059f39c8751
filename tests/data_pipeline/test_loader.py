"""Which batches a `DataLoader` gives, and what it asks of its arguments."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from staticgraph import dynamic
from staticgraph.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    RandomSampler,
    Subset,
    random_split,
)
from staticgraph.errors import BatchError, DataIndexError, UsageError
from tests.data_pipeline.sources import Rows, Sized, Stream, Unfit, same

HERE = Path(__file__).name


def labels(loader: DataLoader) -> list[list[int]]:
    return [batch[1].tolist() for batch in loader]


def test_batches_in_order() -> None:
    (first, second) = DataLoader(Rows(5), 3)
    assert first[0].tolist() == [[0.0] * 3, [1.0] * 3, [2.0] * 3]
    assert first[1].tolist() == [0, 1, 2] and second[1].tolist() == [3, 4]
    assert labels(DataLoader(Rows(5), 3, drop_last=True)) == [[0, 1, 2]]
    assert labels(DataLoader(Rows(2))) == [[0], [1]]
    assert labels(DataLoader(Rows(0), 3)) == []


@pytest.mark.parametrize(
    ("loader", "length"),
    [
        (DataLoader(Rows(5), 3), 2),
        (DataLoader(Rows(5), 3, drop_last=True), 1),
        (DataLoader(Rows(5), None), 5),
        (DataLoader(Rows(5), 2, sampler=[1, 2, 3]), 2),
        (DataLoader(Rows(5), batch_sampler=[[1], [2, 3], [4]]), 3),
        (DataLoader(Sized(5), 3), 2),
        (DataLoader(Sized(5), None), 5),
    ],
)
def test_length(loader: DataLoader, length: int) -> None:
    assert len(loader) == len(list(loader)) == length


def test_a_length_that_nobody_knows() -> None:
    with pytest.raises(UsageError, match=r"nobody can count the batches: .*Stream"):
        len(DataLoader(Stream(5)))
    assert len(list(DataLoader(Stream(5), 2))) == 3  # `list` asks for the length


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_the_order_depends_on_the_seed_alone(workers: int) -> None:
    loader = DataLoader(Rows(20), 3, shuffle=True, seed=7, num_workers=workers)
    first, second = labels(loader), labels(loader)
    for epoch in (first, second):
        assert sorted(label for batch in epoch for label in batch) == list(range(20))
    assert first != second
    reference = DataLoader(Rows(20), 3, shuffle=True, generator=np.random.default_rng(7))
    assert [labels(reference), labels(reference)] == [first, second]
    assert labels(DataLoader(Rows(20), 3, shuffle=True, seed=8)) != first


def test_a_generator_of_tensors_gives_the_seed() -> None:
    def drawn(seed: int) -> list[Any]:
        generator = dynamic.Generator().manual_seed(seed)
        parts = random_split(range(20), [15, 5], generator=generator)
        one, other = (DataLoader(Rows(20), 3, True, generator=generator) for _ in range(2))
        return [[p.indices.tolist() for p in parts], labels(one), labels(one), labels(other)]

    assert drawn(3) == drawn(3) != drawn(4)
    _, *epochs = drawn(3)
    assert all(a != b for a, b in combinations(epochs, 2))


def test_without_a_seed_that_of_the_tensors_decides() -> None:
    def drawn(seed: int) -> list[Any]:
        dynamic.manual_seed(seed)
        return [labels(DataLoader(Rows(20), 3, True)), list(RandomSampler(range(20)))]

    before = dynamic.generator.DEFAULT.get_state()
    try:
        assert drawn(3) == drawn(3) != drawn(4)
        dynamic.manual_seed(3)
        one, other = (DataLoader(Rows(20), 3, True) for _ in range(2))
        assert labels(one) != labels(other)
        state = dynamic.generator.DEFAULT.get_state()
        DataLoader(Rows(20), 3, True, seed=1)
        assert dynamic.generator.DEFAULT.get_state() == state  # who gives a seed draws nothing
    finally:
        dynamic.generator.DEFAULT.set_state(before)


def test_memory_is_pinned_by_nobody() -> None:
    loader = DataLoader(Rows(5), 3, pin_memory=True)
    assert loader.pin_memory and labels(loader) == [[0, 1, 2], [3, 4]]


def test_an_epoch_that_is_left_does_not_change_the_next() -> None:
    one, other = (DataLoader(Rows(20), 3, shuffle=True, seed=7) for _ in range(2))
    for _ in one:
        break
    labels(other)
    assert labels(one) == labels(other)


def test_samplers() -> None:
    assert labels(DataLoader(Rows(9), 2, sampler=[8, 0, 4])) == [[8, 0], [4]]
    assert labels(DataLoader(Rows(9), batch_sampler=[[8], [0, 4, 2]])) == [[8], [0, 4, 2]]
    order = BatchSampler(RandomSampler(range(9), seed=0), 4)
    assert labels(DataLoader(Rows(9), batch_sampler=order)) == list(
        BatchSampler(RandomSampler(range(9), seed=0), 4)
    )
    share = DistributedSampler(Rows(9), 2, 1, shuffle=False)
    assert labels(DataLoader(Rows(9), 3, sampler=share)) == [[1, 3, 5], [7, 0]]
    assert list(DataLoader("abc", sampler=[-1, 0])) == [["c"], ["a"]]


@pytest.mark.parametrize("workers", [0, 2])
def test_without_batches(workers: int) -> None:
    items = list(DataLoader(Rows(3), None, num_workers=workers))
    assert [int(i) for _, i in items] == [0, 1, 2] and items[1][0].tolist() == [1.0] * 3
    assert list(DataLoader("abc", None, collate_fn=str.upper, num_workers=workers)) == [*"ABC"]
    assert list(DataLoader(Stream(3), None, num_workers=workers)) == [0, 1, 2]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_collate_function(workers: int) -> None:
    loader = DataLoader(range(5), 2, collate_fn=same, num_workers=workers)
    assert list(loader) == [[0, 1], [2, 3], [4]]


def test_streams() -> None:
    assert [b.tolist() for b in DataLoader(Stream(5), 2)] == [[0, 1], [2, 3], [4]]
    assert [b.tolist() for b in DataLoader(Stream(5), 2, drop_last=True)] == [[0, 1], [2, 3]]
    loader = DataLoader(Stream(5), 3)
    assert len(list(loader)) == len(list(loader)) == 2


@pytest.mark.parametrize("workers", [0, 2])
def test_items_of_different_shapes(workers: int) -> None:
    with pytest.raises(BatchError) as e:
        for _ in DataLoader(Subset(Unfit(9), [2, 2, 5]), 3, num_workers=workers):
            pass
    lines = str(e.value).splitlines()
    assert lines[0] == "default_collate: arrays of different shapes, [2] and [5]"
    assert lines[1].startswith(f"  {HERE}:") and "for _ in DataLoader(Subset(" in lines[1]
    assert lines[2:4] == [
        "  item 0 of the batch (index 0 of the dataset): float64[2]",
        "  item 2 of the batch (index 2 of the dataset): float64[5]",
    ]


@pytest.mark.parametrize("workers", [0, 1])
def test_an_index_outside_the_dataset(workers: int) -> None:
    with pytest.raises(DataIndexError) as e:
        for _ in DataLoader(["a", "b"], 2, sampler=[0, 2], num_workers=workers):
            pass
    message, line = str(e.value).splitlines()
    assert message == "list: index 2 is out of range, there are 2 items"
    assert line.startswith(f"  {HERE}:") and "for _ in DataLoader" in line


def test_an_index_error_of_the_dataset_itself() -> None:
    class Hollow(Rows):
        def __getitem__(self, index: int) -> Any:
            return [][index]

    with pytest.raises(IndexError, match="list index out of range") as e:
        list(DataLoader(Hollow(3)))
    assert not isinstance(e.value, DataIndexError)


@pytest.mark.parametrize(
    ("dataset", "arguments", "message"),
    [
        (Rows(3), {"batch_size": 0}, "batch_size must be a positive integer or None, not 0"),
        (Rows(3), {"batch_size": 2.0}, "batch_size must be a positive integer or None, not 2.0"),
        (Rows(3), {"batch_size": None, "drop_last": True}, "drop_last needs a batch_size"),
        (Rows(3), {"shuffle": True, "sampler": [1]}, "takes shuffle or a sampler, not both"),
        (Rows(3), {"batch_sampler": [[1]], "batch_size": 2}, "takes the place of batch_size"),
        (Rows(3), {"batch_sampler": [[1]], "shuffle": True}, "takes the place of batch_size"),
        (Rows(3), {"seed": 1, "generator": np.random.default_rng()}, "a seed or a generator"),
        (Rows(3), {"num_workers": -1}, "num_workers must be an integer that is not negative"),
        (Rows(3), {"timeout": 3}, "timeout is for workers, and num_workers is 0"),
        (Rows(3), {"persistent_workers": True}, "persistent_workers is for workers"),
        (Rows(3), {"prefetch_factor": 3}, "prefetch_factor is for workers"),
        (Rows(3), {"worker_init_fn": print}, "worker_init_fn is for workers"),
        (Rows(3), {"num_workers": 1, "timeout": -1}, "timeout must be a number of .* not -1"),
        (Rows(3), {"num_workers": 1, "timeout": "1"}, "timeout must be a number of .* not '1'"),
        (Rows(3), {"collate_fn": 3}, "collate_fn must be a function, not int"),
        (Rows(3), {"num_workers": 1, "worker_init_fn": "a"}, "worker_init_fn must be a function"),
        (Rows(3), {"sampler": 3}, "sampler must be something to iterate over, not int"),
        (Rows(3), {"batch_sampler": 3}, "batch_sampler must be something to iterate over"),
        (Rows(3), {"seed": -1}, "seed must be an integer that is not negative, not -1"),
        (Rows(3), {"seed": "a"}, "seed must be an integer that is not negative, not 'a'"),
        (Rows(3), {"generator": 3}, "generator must be a numpy.random.Generator, not int"),
        (Rows(3), {"num_workers": 1, "prefetch_factor": 0}, "prefetch_factor must be in 1..64"),
        (Rows(3), {"multiprocessing_context": "thread"}, "multiprocessing_context must be one of"),
        (Rows(3), {"multiprocessing_context": 3}, "the name of a start method or a context, not 3"),
        (Stream(3), {"shuffle": True}, "has an order of its own and takes no shuffle"),
        (Stream(3), {"sampler": [1]}, "has an order of its own and takes no sampler"),
        (Stream(3), {"batch_sampler": [[1]]}, "has an order of its own and takes no batch_sampler"),
        (iter([1]), {}, "list_iterator has no __getitem__\n.*\n  hint: .*IterableDataset"),
    ],
)
def test_arguments_that_do_not_go_together(
    dataset: Any, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=f"^DataLoader: .*{message}") as e:
        DataLoader(dataset, **arguments)
    assert "DataLoader(dataset, **arguments)" in str(e.value)
