"""The cache of kernels: on disk, and in memory."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from staticgraph.codegen import cache, disk, native, target
from staticgraph.codegen.disk import KernelCache, default_path, unsafe
from staticgraph.errors import CacheWarning, CompileError
from tests.codegen.kernels import scale, scales

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for kernels; this process begins with none in memory."""
    path = tmp_path / "kernels"
    monkeypatch.setenv("STATICGRAPH_CACHE", str(path))
    forget(monkeypatch)
    return path


@pytest.fixture(autouse=True)
def cleaned_up() -> Iterator[None]:
    """Threads may be cleaning up; none outlives its test."""
    yield
    for thread in threading.enumerate():
        if thread.name == "staticgraph-cache":
            thread.join()


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty the memory of the process; the code stays loaded."""
    for name in ("_addresses", "_failures", "_caches"):
        monkeypatch.setattr(cache, name, {})


def counts() -> tuple[int, int]:
    return cache.compiled_count(), cache.loaded_count()


def gained(before: tuple[int, int]) -> tuple[int, int]:
    now = counts()
    return now[0] - before[0], now[1] - before[1]


# ---- entries


def test_stores_and_finds(tmp_path: Path) -> None:
    store = KernelCache(tmp_path / "a" / "b")
    assert store.get("key") is None
    assert not (tmp_path / "a").exists(), "looking makes no folder"
    store.put("key", b"code")
    assert store.get("key") == b"code"
    assert store.get("other") is None
    assert KernelCache(tmp_path / "a" / "b").get("key") == b"code"
    stats = store.stats()
    assert (stats.entries, stats.path) == (1, str(tmp_path / "a" / "b"))
    assert stats.bytes > 4
    store.put("key", b"again")
    assert store.get("key") == b"again"
    store.clear()
    assert store.get("key") is None
    assert store.stats().entries == 0


@POSIX
def test_only_the_user_can_read(tmp_path: Path) -> None:
    store = KernelCache(tmp_path / "a" / "b")
    store.put("key", b"code")
    for path, mode in [("a", 0o700), ("a/b", 0o700), ("a/b/key.o", 0o600)]:
        assert stat.S_IMODE((tmp_path / path).stat().st_mode) == mode, path
    assert os.listdir(tmp_path / "a" / "b") == ["key.o"], "no temporary files stay"


def test_a_folder_that_is_removed_is_made_anew(tmp_path: Path) -> None:
    store = KernelCache(tmp_path / "kernels")
    store.put("key", b"code")
    shutil.rmtree(tmp_path / "kernels")
    assert store.get("key") is None
    store.put("other", b"more")  # a warning would fail the test
    assert store.get("other") == b"more"
    assert stat.S_IMODE((tmp_path / "kernels").stat().st_mode) == 0o700


def damaged(data: bytes) -> dict[str, bytes]:
    header = disk.HEADER.size
    flipped = bytearray(data)
    flipped[-1] ^= 1
    digest = bytearray(data)
    digest[header - 1] ^= 1
    length = bytearray(data)
    length[12] ^= 1
    return {
        "empty": b"",
        "short header": data[: header - 1],
        "header only": data[:header],
        "truncated": data[:-1],
        "longer": data + b"\0",
        "a bit flipped": bytes(flipped),
        "wrong digest": bytes(digest),
        "wrong length": bytes(length),
        "foreign": b"#!/bin/sh\n" * 20,
        "other format": data[:8] + b"\xff\0\0\0" + data[12:],
        "zeros": bytes(len(data)),
    }


@pytest.mark.parametrize("what", damaged(bytes(64)))
def test_a_damaged_entry_is_compiled_again(
    what: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = scale(3.5)
    before = counts()
    cache.kernel_address(source)
    assert gained(before) == (1, 0)
    (file,) = folder.iterdir()
    good = file.read_bytes()
    file.write_bytes(damaged(good)[what])
    forget(monkeypatch)
    assert scales(cache.kernel_address(source), 3.5)
    assert gained(before) == (2, 0)
    assert file.read_bytes() == good


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_an_entry_that_is_a_pipe_does_not_hang(folder: Path) -> None:
    source = scale(3.25)
    store = KernelCache(folder)
    store.put("other", b"code")
    os.mkfifo(folder / f"{cache.symbol_of(source)}.o")
    before = counts()
    assert scales(cache.kernel_address(source), 3.25)
    assert gained(before) == (1, 0)
    assert store.get(cache.symbol_of(source)) is not None


def test_an_entry_that_does_not_load_is_compiled_again(folder: Path) -> None:
    source = scale(3.75)
    symbol = cache.symbol_of(source)
    KernelCache(folder).put(symbol, b"\x7fELF but not really")
    before = counts()
    assert scales(cache.kernel_address(source), 3.75)
    assert gained(before) == (1, 0)
    assert native.elf_symbols(KernelCache(folder).get(symbol) or b"")[0] == {symbol}


# ---- the folder


@pytest.mark.parametrize("value", ["", "0", "off", "OFF"])
def test_switched_off(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATICGRAPH_CACHE", value)
    assert default_path() is None
    store = KernelCache()
    store.put("key", b"code")
    assert store.get("key") is None
    store.clear()
    assert store.stats().entries == 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the place on Linux")
def test_the_default_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("STATICGRAPH_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_path() == tmp_path / ".cache" / "staticgraph"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert default_path() == tmp_path / "x" / "staticgraph"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # to be ignored, says the standard
    assert default_path() == tmp_path / ".cache" / "staticgraph"
    monkeypatch.setenv("STATICGRAPH_CACHE", "~/mine")
    assert default_path() == tmp_path / "mine"


def test_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("STATICGRAPH_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    assert default_path() is None
    KernelCache().put("key", b"code")


def refused(path: Path, match: str) -> None:
    store = KernelCache(path)
    with pytest.warns(CacheWarning, match=match):
        assert store.get("key") is None
    with warnings.catch_warnings():  # once
        warnings.simplefilter("error")
        store.put("key", b"code")
        assert store.get("key") is None


@POSIX
@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
def test_a_folder_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "kernels"
    KernelCache(path).put("key", b"planted")
    path.chmod(mode)
    refused(path, f"is not safe: others can write to {path}")


@POSIX
def test_a_sticky_folder_of_its_own_is_refused_too(tmp_path: Path) -> None:
    path = tmp_path / "kernels"
    path.mkdir()
    path.chmod(0o1777)
    refused(path, "is not safe: others can write to")


@POSIX
def test_a_parent_open_to_others_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "open" / "kernels"
    KernelCache(path).put("key", b"planted")
    (tmp_path / "open").chmod(0o777)
    refused(path, f"is not safe: others can write to {tmp_path / 'open'}")
    (tmp_path / "open").chmod(0o1777)  # like /tmp: only owners can rename
    assert KernelCache(path).get("key") == b"planted"


@POSIX
def test_links_are_judged_by_where_they_lead(tmp_path: Path) -> None:
    real = tmp_path / "real"
    KernelCache(real / "kernels").put("key", b"code")
    (tmp_path / "link").symlink_to("real/../real")
    assert KernelCache(tmp_path / "link" / "kernels").get("key") == b"code"
    real.chmod(0o777)
    refused(tmp_path / "link" / "kernels", f"others can write to {real}")
    (tmp_path / "direct").symlink_to(real / "kernels")
    refused(tmp_path / "direct", f"others can write to {real}")
    (tmp_path / "loop").symlink_to("loop")
    refused(tmp_path / "loop", "too many symbolic links")


@POSIX
def test_a_folder_of_another_user_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "kernels"
    path.mkdir(mode=0o700)
    assert unsafe(path) is None
    monkeypatch.setattr(os, "getuid", lambda: path.stat().st_uid + 4321)
    refused(path, "belongs to another user")


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "kernels").write_text("")
    refused(tmp_path / "kernels", "is not a folder")
    store = KernelCache(tmp_path / "kernels" / "below")
    with pytest.warns(CacheWarning):
        store.put("key", b"code")


# ---- trouble with writing


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_a_full_disk_costs_speed_only(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(suffix: str, dir: str) -> tuple[int, str]:
        path = os.path.join(dir, "full" + suffix)
        os.symlink("/dev/full", path)
        return os.open(path, os.O_WRONLY), path

    kept, lost, also = scale(5.0), scale(5.25), scale(5.5)
    cache.kernel_address(kept)
    before = counts()
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "mkstemp", full)
        with pytest.warns(CacheWarning, match="cannot be written: No space left"):
            assert scales(cache.kernel_address(lost), 5.25)
        assert scales(cache.kernel_address(also), 5.5)  # a second warning would fail the test
    assert gained(before) == (2, 0)
    assert [f.name for f in folder.iterdir()] == [cache.symbol_of(kept) + ".o"]
    monkeypatch.setattr(cache, "_addresses", {})
    assert scales(cache.kernel_address(kept), 5.0), "what is there is still read"
    assert gained(before) == (2, 1)


@POSIX
@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder(tmp_path: Path) -> None:
    path = tmp_path / "kernels"
    KernelCache(path).put("key", b"code")
    path.chmod(0o500)
    store = KernelCache(path)
    assert store.get("key") == b"code"
    with pytest.warns(CacheWarning, match="cannot be written"):
        store.put("other", b"code")
    path.chmod(0o700)


def test_a_read_only_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(*args: Any, **kwargs: Any) -> Any:
        raise OSError(30, "Read-only file system")

    path = tmp_path / "kernels"
    KernelCache(path).put("key", b"code")
    monkeypatch.setattr(tempfile, "mkstemp", read_only)
    monkeypatch.setattr(os, "utime", read_only)
    monkeypatch.setattr(os, "unlink", read_only)
    monkeypatch.setattr(os, "mkdir", read_only)
    store = KernelCache(path)
    with pytest.warns(CacheWarning, match="cannot be written: Read-only"):
        store.put("a", b"code")
    store.put("b", b"code")  # a second warning would fail the test
    assert store.get("key") == b"code"
    store.clear()
    with pytest.warns(CacheWarning, match="cannot be used: Read-only"):
        KernelCache(tmp_path / "new").put("a", b"code")


# ---- the limit


def age(path: Path, key: str, hours: float) -> None:
    when = time.time() - hours * 3600
    os.utime(path / f"{key}.o", (when, when))


def test_the_least_recently_used_go_first(tmp_path: Path) -> None:
    store = KernelCache(tmp_path / "kernels", limit_bytes=10_000)
    for i in range(9):
        store.put(f"k{i}", bytes(1000))
        age(tmp_path / "kernels", f"k{i}", 20 - i)
    assert store.stats().entries == 9
    assert store.get("k0") is not None  # used now, so it stays
    store.put("new", bytes(1000))
    store.wait()
    stats = store.stats()
    assert stats.bytes <= 9_000
    left = {f.stem for f in (tmp_path / "kernels").iterdir()}
    assert {"k0", "new", "k8"} <= left
    assert "k1" not in left


def test_reading_marks_an_entry_as_used_now_and_then(tmp_path: Path) -> None:
    store = KernelCache(tmp_path / "kernels")
    store.put("key", b"code")
    file = tmp_path / "kernels" / "key.o"
    age(tmp_path / "kernels", "key", 0.5)
    recent = file.stat().st_mtime
    store.get("key")
    assert file.stat().st_mtime == recent, "not at every read"
    age(tmp_path / "kernels", "key", 2)
    store.get("key")
    assert time.time() - file.stat().st_mtime < 600


def test_abandoned_temporary_files_go(tmp_path: Path) -> None:
    store = KernelCache(tmp_path / "kernels", limit_bytes=100)
    store.put("a", b"code")
    for name, hours in [("old.tmp", 5), ("young.tmp", 0), ("unknown", 5)]:
        file = tmp_path / "kernels" / name
        file.write_bytes(b"")
        os.utime(file, (time.time() - hours * 3600,) * 2)
    store.put("b", bytes(200))
    store.wait()
    left = {f.name for f in (tmp_path / "kernels").iterdir()}
    assert "old.tmp" not in left
    assert {"young.tmp", "unknown"} <= left


def test_a_cache_that_others_clear(tmp_path: Path) -> None:
    first, second = (KernelCache(tmp_path / "kernels", limit_bytes=3000) for _ in range(2))
    failures = []

    def work(store: KernelCache, offset: int) -> None:
        try:
            for i in range(60):
                store.put(f"k{i % 7}", bytes([i % 7]) * 500)
                found = store.get(f"k{(i + offset) % 7}")
                assert found in (None, bytes([(i + offset) % 7]) * 500)
                if i % 20 == 19:
                    store.clear()
        except BaseException as e:
            failures.append(e)

    threads = [
        threading.Thread(target=work, args=(s, i)) for i, s in enumerate([first, second] * 2)
    ]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    first.wait()
    second.wait()
    assert not failures


# ---- kernels


def test_a_source_is_compiled_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = counts()
    source = scale(6.0)
    address = cache.kernel_address(source)
    assert gained(before) == (1, 0)
    assert cache.kernel_addresses([source, source]) == [address, address]
    assert gained(before) == (1, 0)
    assert [f.name for f in folder.iterdir()] == [cache.symbol_of(source) + ".o"]
    forget(monkeypatch)
    assert scales(cache.kernel_address(source), 6.0)
    assert gained(before) == (1, 1)


def test_several_sources_keep_their_order(folder: Path) -> None:
    factors = [7.0, 7.25, 7.0, 7.5]
    addresses = cache.kernel_addresses([scale(f) for f in factors])
    assert all(scales(a, f) for a, f in zip(addresses, factors, strict=True))
    assert len(list(folder.iterdir())) == 3
    assert cache.kernel_addresses([]) == []


def test_another_target_is_another_entry(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = scale(8.0)
    symbol = cache.symbol_of(source)
    monkeypatch.setattr(target, "target_key", lambda: "another machine")
    assert cache.symbol_of(source) != symbol


def test_threads_compile_a_source_once(folder: Path) -> None:
    before = counts()
    sources = [scale(9.0 + i / 8) for i in range(3)]
    results: list[list[int]] = []
    start = threading.Barrier(6)

    def work(i: int) -> None:
        start.wait()
        order = sources[i % 3 :] + sources[: i % 3]
        found = dict(zip(order, cache.kernel_addresses(order), strict=True))
        results.append([found[s] for s in sources])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    assert len(results) == 6
    assert all(r == results[0] for r in results)
    assert gained(before) == (3, 0)


def test_a_failure_is_told_and_not_tried_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = "def kernel(args, lo, hi):\n    return nothing_like_it()\n", scale(11.0)
    before = counts()
    with pytest.raises(CompileError, match="could not be compiled") as caught:
        cache.kernel_addresses([bad, good])
    assert "numba" not in str(caught.value).lower()
    assert caught.value.__cause__ is not None
    assert gained(before) == (1, 0)
    monkeypatch.setattr(native, "compile_kernel", None)
    with pytest.raises(CompileError, match="could not be compiled"):
        cache.kernel_address(bad)
    assert scales(cache.kernel_address(good), 11.0)


def test_an_interrupted_compilation_is_taken_up_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(source: str, symbol: str) -> bytes:
        raise KeyboardInterrupt

    source = scale(12.0)
    with monkeypatch.context() as patch:
        patch.setattr(native, "compile_kernel", interrupted)
        with pytest.raises(KeyboardInterrupt):
            cache.kernel_address(source)
    assert scales(cache.kernel_address(source), 12.0)


def test_compilations_can_be_observed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, int]] = []
    source = scale(13.0)
    monkeypatch.setattr(cache, "on_compile", [lambda text, code: seen.append((text, len(code)))])
    cache.kernel_address(source)
    cache.kernel_address(source)
    forget(monkeypatch)
    cache.kernel_address(source)
    assert [text for text, _ in seen] == [source]
    assert seen[0][1] > 100
