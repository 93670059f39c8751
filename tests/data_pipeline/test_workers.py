"""What worker processes do, and what becomes of them."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from staticgraph.data import DataLoader, workers
from staticgraph.errors import UsageError, WorkerError, WorkerTimeoutError
from tests.data_pipeline.sources import (
    Bad,
    Flood,
    Noted,
    Pids,
    Rows,
    Secret,
    Started,
    Stream,
    Stubborn,
    Tidy,
    Told,
    Unopened,
    doomed,
    note_start,
    same,
)

HERE = Path(__file__).name


def traces() -> tuple[list[Any], int, set[str]]:
    """Child processes, open descriptors and files in shared memory."""
    shared = Path("/dev/shm")
    descriptors = Path("/proc/self/fd")
    return (
        multiprocessing.active_children(),
        len(list(descriptors.iterdir())) if descriptors.exists() else 0,
        {p.name for p in shared.iterdir()} if shared.exists() else set(),
    )


@pytest.fixture(autouse=True)
def _nothing_is_left_behind() -> Any:
    list(DataLoader(Rows(1), num_workers=1))  # the server of forks stays, once it is there
    multiprocessing.get_context("forkserver").Value("q", 0)  # so does what such values lie in
    gc.collect()
    before = traces()
    assert before[0] == []
    yield
    gc.collect()  # an exception that was caught, its traceback, and the variables of the test
    after = traces()
    assert after[:2] == before[:2]
    assert not {name for name in after[2] - before[2] if "staticgraph" in name or "psm_" in name}


def test_large_batches_are_the_same_as_without_workers() -> None:
    plain = list(DataLoader(Rows(10, 50_000), 3))
    through = list(DataLoader(Rows(10, 50_000), 3, num_workers=2))
    for a, b in zip(plain, through, strict=True):
        np.testing.assert_array_equal(a[0], b[0])
        np.testing.assert_array_equal(a[1], b[1])


def test_where_memory_cannot_be_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "SHARED", False)
    order = [list(range(2_000))] * 9  # tasks that fill a pipe, while the answers fill another
    loader = DataLoader(Rows(2_000, 500), batch_sampler=order, num_workers=2)
    assert [batch[0][:, 0].sum() for batch in loader] == [1_999_000.0] * 9


def test_each_worker_takes_its_turn() -> None:
    first = [b.tolist() for b in DataLoader(Pids(10), 2, num_workers=2)]
    a, b = first[0][0], first[1][0]
    assert a != b != os.getpid() != a
    assert first == [[a] * 2, [b] * 2, [a] * 2, [b] * 2, [a] * 2]
    assert set(np.ravel(list(DataLoader(Pids(10), num_workers=2)))).isdisjoint({a, b})


def test_persistent_workers_are_kept_until_the_loader_goes() -> None:
    loader = DataLoader(Pids(4), num_workers=2, persistent_workers=True)
    pids = {int(b[0]) for _ in range(3) for b in loader}
    assert len(pids) == 2
    for _ in loader:
        break
    assert {int(b[0]) for b in loader} == pids
    assert {p.pid for p in multiprocessing.active_children()} == pids
    del loader
    assert multiprocessing.active_children() == []


def test_persistent_workers_begin_anew_after_an_epoch_that_was_left() -> None:
    for dataset in (Rows(40), Stream(40)):
        loader = DataLoader(dataset, None, num_workers=2, persistent_workers=True)
        whole = [str(item) for item in loader]
        for _, item in zip(range(3), loader, strict=False):
            assert str(item) in whole
        assert [str(item) for item in loader] == whole


def test_persistent_workers_serve_one_loop() -> None:
    loader = DataLoader(Rows(9), num_workers=1, persistent_workers=True)
    outer = iter(loader)
    next(outer)
    inner = iter(loader)
    next(inner)
    with pytest.raises(UsageError, match="another loop over it has begun") as e:
        next(outer)
    assert "next(outer)" in str(e.value)
    assert [int(b[1][0]) for b in inner] == list(range(1, 9))


def test_workers_of_two_loops_are_different_ones() -> None:
    loader = DataLoader(Pids(4), num_workers=1)
    pairs = list(zip(loader, loader, strict=True))
    assert len({int(x[0]) for pair in pairs for x in pair}) == 2


def test_streams_are_shared_out() -> None:
    batches = [b.tolist() for b in DataLoader(Stream(11), 2, num_workers=3)]
    assert batches == [[0, 3], [1, 4], [2, 5], [6, 9], [7, 10], [8]]
    assert list(DataLoader(Stream(1), 2, num_workers=3)) == [0]
    assert list(DataLoader(Stream(0), 2, num_workers=3)) == []


def test_what_a_worker_knows() -> None:
    loader = DataLoader(Told(6), None, num_workers=2, seed=5)
    first, second = list(loader), list(loader)
    assert [(i, n) for i, n, _, _ in first] == [(0, 2), (1, 2)] * 3
    seeds = [{s for i, _, s, _ in epoch if i == k} for epoch in (first, second) for k in (0, 1)]
    assert all(len(s) == 1 for s in seeds) and len(set.union(*seeds)) == 4
    draws = [x for epoch in (first, second) for *_, x in epoch]
    assert len(set(draws)) == 12
    assert list(DataLoader(Told(6), None, num_workers=2, seed=5)) == first


def test_a_function_at_the_start() -> None:
    loader = DataLoader(Started(4), None, num_workers=2, worker_init_fn=note_start)
    assert list(loader) == [("0", "1"), ("1", "1")] * 2


def test_no_more_is_read_than_agreed() -> None:
    counter = multiprocessing.get_context("forkserver").Value("q", 0)
    loader = DataLoader(Noted(100, counter), 5, num_workers=2, prefetch_factor=3)
    batches = iter(loader)
    next(batches)
    agreed = 5 * (2 * 3 + 1)  # three batches ahead for each worker, and the one that was taken
    until = time.monotonic() + 30
    while counter.value < agreed and time.monotonic() < until:
        time.sleep(0.01)
    time.sleep(0.1)
    assert counter.value == agreed
    assert len(list(batches)) == 19
    assert counter.value == 100


@pytest.mark.parametrize("persistent", [False, True])
def test_an_exception_of_the_dataset(persistent: bool) -> None:
    loader = DataLoader(Bad(9, 4, "no such row"), 2, num_workers=2, persistent_workers=persistent)
    good = []
    with pytest.raises(KeyError) as e:
        for batch in loader:
            good += batch[1].tolist()
    assert good == [0, 1, 2, 3]
    assert e.value.args == ("no such row",)
    report = e.value.__cause__
    assert isinstance(report, WorkerError)
    first, line, *rest = str(report).splitlines()
    assert first.startswith("DataLoader: worker 0 (process ") and first.endswith("raised KeyError")
    assert line.startswith(f"  {HERE}:") and line.endswith("for batch in loader:")
    assert rest[0] == "  Traceback (most recent call last):"
    assert any("sources.py" in x and "in misfortune" in x for x in rest)
    assert rest[-1] == "  KeyError: 'no such row'"
    assert multiprocessing.active_children() == []
    loader.dataset.what = "another row"  # workers are not those that failed
    with pytest.raises(KeyError, match="another row"):
        list(loader)


@pytest.mark.parametrize(
    ("what", "kind", "message"),
    [
        ("network", ConnectionResetError, "the far side hung up"),
        ("stop", RuntimeError, "generator raised StopIteration"),
        ("stubborn", WorkerError, "worker 0 .* raised Stubborn\n(.*\n)*.*Stubborn: it is stubborn"),
    ],
)
def test_exceptions_of_particular_kinds(what: str, kind: type, message: str) -> None:
    with pytest.raises(kind, match=message):
        list(DataLoader(Bad(3, 0, what), num_workers=1))


def test_an_exception_that_does_not_unpickle_is_itself_without_workers() -> None:
    with pytest.raises(Stubborn):
        list(DataLoader(Bad(3, 0, "stubborn")))


@pytest.mark.parametrize(
    ("what", "ending"),
    [
        ("kill", r"was killed by SIGKILL \(exit code -9\)"),
        ("exit", "ended with exit code 7"),
    ],
)
@pytest.mark.parametrize("at", [1, 7])
def test_a_worker_that_dies(what: str, ending: str, at: int) -> None:
    with pytest.raises(WorkerError, match=rf"^DataLoader: worker 1 \(process \d+\) {ending}") as e:
        for _ in DataLoader(Bad(20, at, what), num_workers=2):
            pass
    lines = str(e.value).splitlines()
    assert ("before it gave its first batch" in lines[0]) == (at == 1)
    assert lines[1].startswith(f"  {HERE}:") and "for _ in DataLoader(" in lines[1]
    assert ("run out of memory" in lines[-1]) == (what == "kill")


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="nothing tells what is open")
def test_more_workers_than_the_system_has_room_for() -> None:
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = set(map(int, os.listdir("/proc/self/fd")))
    room = [number for number in range(1000) if number not in used][8]  # for two workers or three
    resource.setrlimit(resource.RLIMIT_NOFILE, (room, limits[1]))
    try:
        with pytest.raises(WorkerError, match=r"worker \d cannot be started: Too many open") as e:
            list(DataLoader(Rows(9), num_workers=9, multiprocessing_context="fork"))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert "list(DataLoader(Rows(9), num_workers=9" in str(e.value)
    assert multiprocessing.active_children() == []


def test_a_worker_that_is_killed_while_another_is_waited_for() -> None:
    batches = iter(DataLoader(Pids(50), num_workers=2, prefetch_factor=1, persistent_workers=True))
    first, second = int(next(batches)[0]), int(next(batches)[0])
    assert first != second
    os.kill(second, signal.SIGKILL)
    with pytest.raises(WorkerError, match=rf"worker 1 \(process {second}\) was killed by SIGKILL"):
        list(batches)


def test_a_worker_that_is_told_to_end() -> None:
    batches = iter(DataLoader(Pids(50), num_workers=1, prefetch_factor=1))
    os.kill(int(next(batches)[0]), signal.SIGTERM)
    with pytest.raises(WorkerError, match=r"was killed by SIGTERM \(exit code 143\)"):
        list(batches)


def test_a_worker_that_does_not_answer() -> None:
    with pytest.raises(WorkerTimeoutError) as e:
        list(DataLoader(Bad(9, 0, "sleep"), num_workers=2, timeout=0.2))
    assert "worker 0" in str(e.value) and "has not answered for 0.2 seconds" in str(e.value)
    assert "timeout=0 for ever" in str(e.value)
    assert isinstance(e.value, TimeoutError)


@pytest.mark.parametrize("dataset", [Rows(100), Flood()], ids=["items", "stream"])
def test_a_loop_that_is_left(dataset: Any) -> None:
    for _ in DataLoader(dataset, 2, num_workers=2):
        break
    assert multiprocessing.active_children() == []
    with pytest.raises(ZeroDivisionError):
        for _ in DataLoader(dataset, 2, num_workers=2):
            raise ZeroDivisionError
    assert multiprocessing.active_children() == []
    batches = iter(DataLoader(dataset, 2, num_workers=2))
    next(batches)
    assert len(multiprocessing.active_children()) == 2
    del batches
    assert multiprocessing.active_children() == []
    iter(DataLoader(dataset, 2, num_workers=2))  # never asked for a batch
    assert multiprocessing.active_children() == []


def test_workers_that_are_busy_can_clean_up(tmp_path: Path) -> None:
    batches = iter(DataLoader(Tidy(9, tmp_path), num_workers=2))
    until = time.monotonic() + 30
    while not (tmp_path / "begun").exists() and time.monotonic() < until:
        time.sleep(0.01)
    next(batches)
    del batches
    assert multiprocessing.active_children() == []
    assert sorted(p.name for p in tmp_path.iterdir()) == ["begun", "cleaned up"]


def test_a_batch_that_cannot_be_sent() -> None:
    with pytest.raises(Exception, match="local object") as e:
        list(DataLoader(Secret(2), 1, collate_fn=same, num_workers=1))
    assert "worker 0" in str(e.value.__cause__)


def test_an_initialisation_that_fails() -> None:
    with pytest.raises(OSError, match="worker 0 finds no licence"):
        list(DataLoader(Rows(2), num_workers=1, worker_init_fn=doomed))


def test_what_cannot_be_sent_to_workers() -> None:
    class Local(Rows):
        pass

    def local(items: Any) -> Any:
        return items

    for arguments, name in [
        ({"dataset": Local(2)}, "dataset"),
        ({"dataset": Rows(2), "collate_fn": local}, "collate_fn"),
        ({"dataset": Rows(2), "worker_init_fn": lambda n: None}, "worker_init_fn"),
    ]:
        with pytest.raises(UsageError, match=f"the {name} cannot be sent to worker proc") as e:
            list(DataLoader(num_workers=1, **arguments))
        assert "list(DataLoader(num_workers=1" in str(e.value)
        assert "hint: define it at the top level of a module" in str(e.value)
    with pytest.raises(ValueError, match="this dataset stays closed"):
        list(DataLoader(Unopened(2), num_workers=1))
