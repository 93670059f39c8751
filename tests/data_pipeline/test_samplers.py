"""In which order indices come."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from staticgraph.data import (
    BatchSampler,
    DistributedSampler,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)
from staticgraph.errors import UsageError


def test_in_order() -> None:
    assert list(SequentialSampler(range(4))) == [0, 1, 2, 3]
    assert len(SequentialSampler("abc")) == 3


def test_a_permutation_in_each_epoch_and_the_same_ones_for_a_seed() -> None:
    sampler, again = RandomSampler(range(20), seed=1), RandomSampler(range(20), seed=1)
    epochs = [list(sampler) for _ in range(3)]
    assert all(sorted(e) == list(range(20)) for e in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert [list(again) for _ in range(3)] == epochs
    assert list(RandomSampler(range(20), seed=2)) != epochs[0]


def test_an_epoch_that_is_given_up_leaves_the_next_as_it_would_have_been() -> None:
    sampler, other = RandomSampler(range(20), seed=1), RandomSampler(range(20), seed=1)
    next(iter(sampler))
    list(other)
    assert list(sampler) == list(other)


def test_a_number_of_samples() -> None:
    assert len(set(RandomSampler(range(100), num_samples=30, seed=0))) == 30
    longer = list(RandomSampler(range(3), num_samples=7, seed=0))
    assert sorted(longer[:3]) == sorted(longer[3:6]) == [0, 1, 2] and len(longer) == 7
    drawn = list(RandomSampler(range(3), replacement=True, num_samples=300, seed=0))
    assert len(drawn) == 300
    assert all(70 < n < 130 for n in Counter(drawn).values())
    assert len(RandomSampler(range(3), num_samples=7)) == 7


def test_no_items() -> None:
    assert list(RandomSampler([])) == []
    with pytest.raises(UsageError, match="cannot draw 3 samples from no items"):
        iter(RandomSampler([], num_samples=3))


def test_some_indices_at_random() -> None:
    sampler = SubsetRandomSampler([5, 50, 500, 5000], seed=0)
    first, second = list(sampler), list(sampler)
    assert sorted(first) == sorted(second) == [5, 50, 500, 5000]
    assert len(sampler) == 4
    assert list(SubsetRandomSampler([5, 50, 500, 5000], seed=0)) == first


def test_weights() -> None:
    drawn = Counter(WeightedRandomSampler([1, 0, 3], 4000, seed=0))
    assert set(drawn) == {0, 2}
    assert 850 < drawn[0] < 1150
    without = WeightedRandomSampler([1, 0, 1, 5], 3, replacement=False, seed=0)
    assert sorted(without) == [0, 2, 3] and len(without) == 3
    assert set(WeightedRandomSampler([1e308, 1e308], 50, seed=0)) == {0, 1}


@pytest.mark.parametrize(
    ("weights", "count", "message"),
    [
        ([1.0, -2.0], 1, "weight 1 is -2; weights are finite and not negative"),
        ([1.0, float("nan")], 1, "weight 1 is nan"),
        ([0.0, 0.0], 1, "cannot draw 1 samples without replacement from 0 indices"),
        ([1.0, 0.0], 2, "cannot draw 2 samples without replacement from 1 indices"),
        ([[1.0]], 1, r"weights must be a vector, not of shape \[1, 1\]"),
        ([1.0], 0, "num_samples must be a positive integer, not 0"),
    ],
)
def test_weights_that_cannot_be_drawn_by(weights: list[float], count: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        WeightedRandomSampler(weights, count, replacement=False)


def test_batches() -> None:
    assert list(BatchSampler(range(7), 3)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(BatchSampler(range(7), 3, drop_last=True)) == [[0, 1, 2], [3, 4, 5]]
    assert len(BatchSampler(range(7), 3)) == 3
    assert len(BatchSampler(range(7), 3, drop_last=True)) == 2
    assert list(BatchSampler([], 3)) == []
    with pytest.raises(UsageError, match="batch_size must be a positive integer, not True"):
        BatchSampler(range(7), True)


@pytest.mark.parametrize(("items", "replicas"), [(10, 2), (11, 3), (2, 5), (0, 2), (7, 7)])
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("drop_last", [False, True])
def test_shares_of_processes(items: int, replicas: int, shuffle: bool, drop_last: bool) -> None:
    samplers = [
        DistributedSampler(range(items), replicas, rank, shuffle, seed=3, drop_last=drop_last)
        for rank in range(replicas)
    ]
    shares = [list(s) for s in samplers]
    assert len({len(s) for s in shares}) == 1 and len(shares[0]) == len(samplers[0])
    counts = Counter(i for share in shares for i in share)
    if drop_last:
        assert set(counts.values()) <= {1} and sum(counts.values()) == items // replicas * replicas
    else:
        assert set(counts) == set(range(items))
        assert sum(counts.values()) - items < replicas


def test_each_epoch_of_shares_has_its_order() -> None:
    sampler = DistributedSampler(range(20), 2, 1)
    first = list(sampler)
    assert list(sampler) == first
    sampler.set_epoch(1)
    assert list(sampler) != first
    with pytest.raises(UsageError, match=r"rank 2 is not in 0..1"):
        DistributedSampler(range(20), 2, 2)


def test_a_generator_or_a_seed() -> None:
    rng = np.random.default_rng(9)
    assert list(RandomSampler(range(9), generator=rng)) == list(RandomSampler(range(9), seed=9))
    with pytest.raises(UsageError, match="RandomSampler: takes a seed or a generator, not both"):
        RandomSampler(range(9), seed=1, generator=rng)
    with pytest.raises(UsageError, match=r"must be a numpy.random.Generator, not RandomState"):
        RandomSampler(range(9), generator=np.random.RandomState(0))  # type: ignore[arg-type]
