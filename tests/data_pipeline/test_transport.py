"""Batches arrive as they were sent, whichever way they take."""

from __future__ import annotations

import os
from collections.abc import Iterator
from multiprocessing import Pipe
from typing import Any

import numpy as np
import pytest

from staticgraph.data import transport
from staticgraph.data.transport import Receiver, Sender

DEPTH = 3
WAYS = [
    pytest.param(True, id="memory", marks=pytest.mark.skipif(not transport.SHARED, reason="Linux")),
    pytest.param(False, id="pipe"),
]


@pytest.fixture(params=WAYS)
def ends(request: pytest.FixtureRequest) -> Iterator[tuple[Sender, Receiver]]:
    here, there = Pipe()
    receiver = Receiver(here)
    yield Sender(there, DEPTH, shared=request.param), receiver
    receiver.close()
    there.close()


def pass_on(ends: tuple[Sender, Receiver], value: Any) -> Any:
    sender, receiver = ends
    sender.send(sender.pack(value))
    return receiver.receive()


def equal(a: Any, b: Any) -> None:
    assert type(a) is type(b)
    if isinstance(a, np.ndarray):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    elif isinstance(a, dict):
        assert list(a) == list(b)
        for k in a:
            equal(a[k], b[k])
    elif isinstance(a, tuple | list):
        for x, y in zip(a, b, strict=True):
            equal(x, y)
    else:
        assert a == b


def big(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(300, 200))


def test_what_a_batch_can_be(ends: tuple[Sender, Receiver], rng: np.random.Generator) -> None:
    x = big(rng)
    for value in [
        None,
        ("text" * 30_000, b"bytes" * 30_000, 2**100),
        (np.zeros((0, 3)), x, np.float32(2.5), np.zeros(())),
        {"fortran": np.asfortranarray(x), "strided": x[::2, ::3], "backwards": x[::-1]},
        [x.astype(np.int8)[:, :k] for k in (1, 7, 64, 65)],
        (np.array(["a", "bc"] * 20_000), np.arange(9, dtype=">i4"), x > 0),
    ]:
        equal(pass_on(ends, value), value)


def test_what_arrives_is_the_receivers_own(
    ends: tuple[Sender, Receiver], rng: np.random.Generator
) -> None:
    values = [big(rng) for _ in range(3 * DEPTH)]
    arrived = [pass_on(ends, v) for v in values]  # every block is written to several times
    equal(arrived, values)
    for a in arrived:
        assert a.flags.writeable and a.flags.aligned
        a += 1.0
    equal(pass_on(ends, values[0]), values[0])


def test_as_many_as_are_agreed_can_be_on_their_way(
    ends: tuple[Sender, Receiver], rng: np.random.Generator
) -> None:
    sender, receiver = ends
    sizes = [10, 90_000, 5_000, 200_000, 0, 70_000, 200_000, 3, 90_000, 400_000, 1, 1]
    values = [rng.integers(0, 256, n, np.uint8) for n in sizes]
    arrived = []
    for i, value in enumerate(values):
        sender.send(sender.pack(value))
        if i >= DEPTH - 1:
            arrived.append(receiver.receive())
    arrived += [receiver.receive() for _ in range(DEPTH - 1)]
    equal(arrived, values)


def test_what_does_not_pickle_takes_no_place(
    ends: tuple[Sender, Receiver], rng: np.random.Generator
) -> None:
    sender, receiver = ends
    first, second, third = (big(rng) for _ in range(3))
    for value in (first, second):
        sender.send(sender.pack(value))
    for _ in range(2 * DEPTH):
        with pytest.raises(Exception, match=r"pickle|local object"):
            sender.pack((big(rng), lambda: 1))
    sender.send(sender.pack(third))
    equal([receiver.receive() for _ in range(3)], [first, second, third])


@pytest.mark.skipif(not transport.SHARED, reason="memory without a name is Linux's")
def test_blocks_are_used_again_and_given_back(rng: np.random.Generator) -> None:
    def count() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = count()
    here, there = Pipe()
    ends = Sender(there, DEPTH), Receiver(here)
    for _ in range(DEPTH):
        pass_on(ends, big(rng))
    used = count()
    for n in range(10 * DEPTH):
        pass_on(ends, big(rng)[n:])
    assert count() == used
    pass_on(ends, np.zeros(500_000))  # larger: a new block in place of the old one
    assert count() == used
    assert not [name for name in os.listdir("/dev/shm") if "staticgraph" in name]
    ends[1].close()
    there.close()
    del ends
    assert count() == before


def test_a_sender_that_has_gone() -> None:
    here, there = Pipe()
    there.close()
    with pytest.raises(EOFError):
        Receiver(here).receive()
    here.close()
