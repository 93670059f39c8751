"""What a session keeps: where arrays lie, what is written, and what is left when memory ends."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import staticgraph as tf
from staticgraph.errors import ResourceExhaustedError
from staticgraph.ir.arrays import ALIGNMENT, address, owner
from staticgraph.runtime import store as stores
from staticgraph.runtime.store import BLOCK, LARGE, Store, fresh, is_zero

MANY = BLOCK // LARGE  # variables of `LARGE` bytes that are worth a block


def _values(n: int, count: int = LARGE // 4) -> dict[str, np.ndarray]:
    return {f"v{k}": np.full(count, k + 1, np.float32) for k in range(n)}


def _put_together(values: dict[str, np.ndarray]) -> Store:
    store = Store()
    store.apply(values.items(), ())
    return store


def _owners(store: Store) -> set[int]:
    return {id(owner(a)) for a in store.arrays.values()}


# ---- where arrays lie
def test_large_variables_of_one_run_share_a_block() -> None:
    values = _values(MANY) | {"small": np.ones(5), "scalar": np.float32(2.0) * np.ones(())}
    store = _put_together(values)
    large = [store.arrays[f"v{k}"] for k in range(MANY)]
    assert len({id(owner(a)) for a in large}) == 1
    assert len(_owners(store)) == 3
    places = [address(a) for a in large]
    assert [b - a for a, b in itertools.pairwise(places)] == [LARGE] * (MANY - 1)
    for name, value in values.items():
        have = store.arrays[name]
        assert address(have) % ALIGNMENT == 0
        assert have.flags.writeable and have.flags.c_contiguous
        assert (have.dtype, have.shape) == (value.dtype, value.shape)
        np.testing.assert_array_equal(have, value)


def test_sizes_that_are_no_multiple_of_a_line_begin_at_one() -> None:
    store = _put_together(_values(MANY, LARGE // 4 + 3))
    places = sorted(address(a) for a in store.arrays.values())
    assert len(_owners(store)) == 1
    assert {p % ALIGNMENT for p in places} == {0}
    assert {b - a for a, b in itertools.pairwise(places)} == {LARGE + ALIGNMENT}
    for k in range(MANY):
        assert (store.arrays[f"v{k}"] == k + 1).all()  # and none reaches into the next one


@pytest.mark.parametrize(
    ("n", "count", "owners"), [(MANY - 1, LARGE // 4, MANY - 1), (MANY, LARGE // 4 - 1, MANY)]
)
def test_few_or_small_variables_have_arrays_of_their_own(n: int, count: int, owners: int) -> None:
    assert len(_owners(_put_together(_values(n, count)))) == owners


def test_one_alone_and_what_is_mapped_anyway_has_an_array_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert len(_owners(_put_together(_values(1, BLOCK)))) == 1
    monkeypatch.setattr(stores, "MAPPED", 2 * LARGE)
    values = _values(MANY) | {"huge": np.ones(LARGE // 2, np.float32)}
    store = _put_together(values)
    assert owner(store.arrays["huge"]) is not owner(store.arrays["v0"])
    assert len(_owners(store)) == 2


def test_another_shape_gets_an_array_of_its_own_and_others_stay() -> None:
    store = _put_together(_values(MANY))
    before = {n: address(a) for n, a in store.arrays.items()}
    store.apply([("v1", np.full(LARGE, 9.0, np.float32)), ("v2", np.zeros(3))], ())
    assert store.generation == store.mark[0] == 2
    assert len(_owners(store)) == 3
    for name, a in store.arrays.items():
        if name not in ("v1", "v2"):
            assert address(a) == before[name]
            assert (a == int(name[1:]) + 1).all()
    assert (store.arrays["v1"] == 9.0).all()


# ---- values
@pytest.mark.parametrize(
    "dtype", [np.bool_, np.int8, np.float16, ml_dtypes.bfloat16, np.float64, np.complex64, object]
)
@pytest.mark.parametrize("order", ["C", "F", "strided"])
def test_values_of_every_kind_are_kept(dtype: Any, order: str) -> None:
    rng = np.random.default_rng(0)
    base = rng.integers(0, 2, (260, 2 * LARGE // 256)).astype(dtype)
    value = {"C": base, "F": np.asfortranarray(base), "strided": base[::2, ::-1]}[order]
    values = {f"v{k}": value for k in range(MANY)} | {"none": np.zeros((0, 7), dtype)}
    store = _put_together(values)
    for name, want in values.items():
        have = store.arrays[name]
        assert (have.dtype, have.shape) == (want.dtype, want.shape)
        assert have.flags.c_contiguous
        np.testing.assert_array_equal(have, want)
        assert not np.shares_memory(have, value)
    assert address(store.arrays["none"]) % (8 if dtype is object else ALIGNMENT) == 0


def test_the_bits_of_zeros_and_nans_are_kept() -> None:
    nan = np.array([0x7FC01234, 0xFFC00001], np.uint32).view(np.float32)
    values = _values(MANY)
    values["v0"] = np.full(LARGE // 4, -0.0, np.float32)
    values["v1"] = np.zeros(LARGE // 4, np.float32)
    values["v2"] = np.resize(nan, LARGE // 4)
    values["v3"] = np.full(LARGE // 4, 1e-45, np.float32)
    values["v4"] = np.zeros(LARGE // 4, np.float32)
    values["v4"][-1] = -0.0
    store = _put_together(values)
    for name, value in values.items():
        assert store.arrays[name].tobytes() == value.tobytes()
    alone = Store()
    alone.put("x", values["v4"])
    assert np.signbit(alone.arrays["x"][-1])


@pytest.mark.parametrize("at", [0, 1, 4095, 4096, LARGE + 4, -1])
def test_one_bit_anywhere_is_no_zero(at: int) -> None:
    data = np.zeros(LARGE + 5, np.uint8)
    assert is_zero(data)
    for bit in range(8):
        data[at] = 1 << bit
        assert not is_zero(data)
        assert not is_zero(data[None, :])


def test_what_counts_as_zero() -> None:
    zeros = np.zeros((300, 300), np.float32)
    assert is_zero(zeros) and is_zero(zeros.T) and is_zero(np.zeros((0, 3)))
    assert is_zero(np.zeros((), ml_dtypes.bfloat16))
    assert not is_zero(zeros[::2])  # to see that would take a copy
    assert not is_zero(np.zeros(3, object))


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the system does not tell")
@pytest.mark.parametrize("kept", [1, 8])
def test_zeros_take_no_memory_before_they_are_written(kept: int) -> None:
    n = 1 << 26
    value = np.empty(n // kept, np.uint8)
    value.fill(0)  # resident before we look

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    before = resident()
    store = _put_together({f"v{k}": value for k in range(kept)})
    assert len(_owners(store)) == 1
    assert resident() - before < n // 4
    for a in store.arrays.values():
        a.fill(1)
    assert resident() - before > n // 2


# ---- values that lie in variables
def test_values_in_variables_are_those_from_before() -> None:
    for count in (4, LARGE // 4):
        store = _put_together(_values(MANY, count))
        have = dict(store.arrays)
        turned = [(f"v{k}", have[f"v{(k + 1) % MANY}"]) for k in range(MANY)]
        more = [("late", have["v0"]), ("part", have["v1"][1:3]), ("v3", have["v3"][::-1])]
        store.apply([*(t for t in turned if t[0] != "v3"), *more], ())
        for k in range(MANY):
            assert (store.arrays[f"v{k}"] == (4 if k == 3 else (k + 1) % MANY + 1)).all()
        assert (store.arrays["late"] == 1).all() and store.arrays["part"].tolist() == [2, 2]


# ---- what ends before it is done
class Refusing:
    """Stands for `numpy.zeros` and `numpy.empty` when there is no memory left."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(stores, "fresh", self)

    def __call__(self, kinds: Any) -> Any:
        raise MemoryError


def test_without_memory_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    store = _put_together(_values(2))
    arrays, generation = dict(store.arrays), store.generation
    store.counters["stream"] = 5
    Refusing(monkeypatch)
    changes = {"v0": np.zeros(LARGE // 4, np.float32), "w": np.ones(3), "x": np.ones((2, 5))}
    with pytest.raises(ResourceExhaustedError, match=r"2 variables, 'w' among them, need 232 byt"):
        store.apply(changes.items(), [("stream", 7)])
    with pytest.raises(MemoryError, match=r"the variable 'x' needs 144 bytes, which cannot be had"):
        store.put("x", changes["x"])
    assert store.arrays.keys() == arrays.keys()
    assert all(store.arrays[n] is a for n, a in arrays.items())
    assert (store.arrays["v0"] == 1).all()
    assert (store.generation, store.mark[0], store.counters["stream"]) == (generation,) * 2 + (5,)


def test_numpy_out_of_memory_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store()
    huge = np.broadcast_to(np.float64(1), (1 << 45,))  # which no machine has
    with pytest.raises(ResourceExhaustedError, match="'h' needs 281,474,976,710,720 bytes"):
        store.put("h", huge)
    assert "h" not in store


def test_a_run_without_memory_for_a_new_variable_updates_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    v = tf.Variable(np.ones(1000, np.float32))
    w = tf.Variable(np.ones(10, np.float32))
    both = [v.assign_add(v * 2.0).op, w.initializer]
    with tf.Session() as sess:
        sess.run(v.initializer)
        with monkeypatch.context() as patch:
            Refusing(patch)
            with pytest.raises(ResourceExhaustedError, match=r"needs 104 bytes"):
                sess.run(both)
        assert (sess.run(v) == 1.0).all()
        sess.run(both)
        assert (sess.run(v) == 3.0).all() and (sess.run(w) == 1.0).all()


@pytest.mark.parametrize("at", [1, 2, 3])
def test_an_interrupt_comes_before_or_after_all(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    store = _put_together({"a": np.zeros(3), "b": np.zeros(4)})
    calls = 0
    copyto = np.copyto

    def interrupted(*args: Any) -> None:
        nonlocal calls
        calls += 1
        copyto(*args)
        if calls == at:
            raise KeyboardInterrupt

    new = {"c": np.ones(5), "a": np.ones(3), "b": np.ones(4)}
    monkeypatch.setattr(stores.np, "copyto", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.apply(new.items(), [("stream", 7)])
    monkeypatch.undo()
    done = at > 1  # the first call fills the new one, which nobody has seen yet
    assert ("c" in store, store.counters.get("stream", 0)) == (done, 7 * done)
    assert store.arrays["a"].tolist() == [done] * 3
    assert store.arrays["b"].tolist() == [done] * 4
    store.apply(new.items(), [("stream", 7)])
    assert store.arrays["c"].tolist() == [1.0] * 5


def test_places_that_were_reserved_are_used() -> None:
    store = Store()
    values = _values(MANY)
    places = store.reserve(values.items())
    assert store.arrays == {} and store.generation == 0
    store.apply(values.items(), (), places)
    assert all(store.arrays[n] is a for n, a in places.items())
    assert store.reserve(values.items()) == {}
    kept = dict(store.arrays)
    store.apply(values.items(), (), places)  # as after an interrupt
    assert all(store.arrays[n] is a for n, a in kept.items())
    for k in range(MANY):
        assert (store.arrays[f"v{k}"] == k + 1).all()


def test_what_a_session_initialises_shares_a_block() -> None:
    starts = [np.full((128, 128), k, np.float32) for k in range(MANY)]
    fed = [tf.placeholder(tf.float32, [128, 128]) for _ in starts]
    variables = [tf.Variable(x) for x in fed]
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer(), dict(zip(fed, starts, strict=True)))
        assert len(_owners(sess._store)) == 1
        for have, want in zip(sess.run(variables), starts, strict=True):
            np.testing.assert_array_equal(have, want)
        bumped = sess.run([v.assign_add(v + 1.0) for v in variables])
        assert [float(a[0, 0]) for a in bumped] == [2.0 * k + 1 for k in range(MANY)]


def test_large_arrays_are_zeros_and_small_ones_need_not_be() -> None:
    kinds = [((LARGE,), np.dtype(np.uint8)), ((2, 0), np.dtype(np.float32)), ((2,), np.dtype("O"))]
    large, empty, words = fresh(kinds)
    assert is_zero(large)
    assert owner(empty).nbytes >= 2 * 4  # kernels may look at an element of what is empty
    assert words.shape == (2,)
