"""The collector's pause: it ends, and nobody else's wish is overruled."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

import staticgraph as tf
from staticgraph.ir.collector import without_collection
from staticgraph.passes import pipeline


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    yield
    gc.unfreeze()
    gc.enable()


def test_pauses_may_be_nested_and_end_with_an_error() -> None:
    @without_collection()
    def fails() -> None:
        with without_collection():
            assert not gc.isenabled()
        assert not gc.isenabled()
        raise ZeroDivisionError

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            fails()
        assert gc.isenabled()


def test_a_collector_that_is_off_stays_off() -> None:
    gc.disable()
    with without_collection():
        pass
    assert not gc.isenabled()


def test_frozen_objects_stay_frozen() -> None:
    with without_collection():
        pass
    assert gc.get_freeze_count() == 0
    gc.freeze()
    count = gc.get_freeze_count()
    with without_collection():
        pass
    assert gc.get_freeze_count() == count > 0


def test_compilations_pause_it(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    real = pipeline.fuse

    def fuse(*args: object, **options: object) -> object:
        seen.append(gc.isenabled())
        return real(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(pipeline, "fuse", fuse)
    with tf.Session() as sess:
        sess.run(tf.exp(tf.placeholder_with_default([1.0], [None])))
    assert seen == [False]
    assert gc.isenabled()
