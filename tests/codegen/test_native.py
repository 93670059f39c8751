"""Native code: from source to object code, and from object code to an address."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from staticgraph.codegen import native, target, workers
from staticgraph.errors import CompileError
from tests.codegen.kernels import arguments, call, finish, python, scale, scales

EXPONENTIAL = """\
def kernel(args, lo, hi):
    a0 = ptr_f32(args[0])
    a1 = ptr_f32(args[1])
    for p in range(lo, hi):
        a1[p] = exp(a0[p]) + np.float32(1.0)
    return 0
"""


def test_compiles_and_loads() -> None:
    code = native.compile_kernel(scale(3.0), "native_scale")
    address = native.load_object(code, "native_scale")
    assert scales(address, 3.0)
    assert native.load_object(code, "native_scale") == address


def test_the_same_source_gives_the_same_bytes() -> None:
    first = native.compile_kernel(EXPONENTIAL, "native_same")
    native.compile_kernel(scale(4.0), "native_between")
    assert native.compile_kernel(EXPONENTIAL, "native_same") == first
    assert b"numba" not in first.lower()
    assert len(first) < 8000


def test_the_same_source_gives_the_same_bytes_in_another_process(tmp_path: Any) -> None:
    code = (
        "import hashlib, sys; from staticgraph.codegen import native\n"
        "code = native.compile_kernel(sys.argv[1], 'native_same')\n"
        "print(hashlib.sha256(code).hexdigest())"
    )
    import hashlib

    here = hashlib.sha256(native.compile_kernel(EXPONENTIAL, "native_same")).hexdigest()
    assert finish(python(code, EXPONENTIAL, cache=tmp_path)) == here


def test_the_status_is_the_return_value() -> None:
    source = """\
def kernel(args, lo, hi):
    bad, bad_index, bad_bound = 0, 0, 0
    for p in range(lo, hi):
        if p >= args[0]:
            bad, bad_index, bad_bound = 7, p, args[0]
    if bad != 0:
        args[1] = bad_index
        args[2] = bad_bound
        return bad
    return 0
"""
    address = native.load_object(native.compile_kernel(source, "native_status"), "native_status")
    args = arguments(10, 0, 0)
    assert call(address, args, 0, 10) == 0
    assert call(address, args, 0, 12) == 7
    assert args.tolist() == [10, 11, 10]


def test_a_python_exception_becomes_a_status() -> None:
    source = "def kernel(args, lo, hi):\n    if lo == 3:\n        raise ValueError\n    return 5\n"
    address = native.load_object(native.compile_kernel(source, "native_raise"), "native_raise")
    args = arguments(0)
    assert call(address, args, 0, 0) == 5
    assert call(address, args, 3, 3) == -1


@pytest.mark.parametrize(
    "source",
    [
        "def kernel(args, lo, hi):\n    return no_such_function(args)\n",
        "def kernel(args, lo, hi):\n    return tanh(lo)\n",
        "def kernel(args, lo, hi)\n",
        "x = 1\n",
    ],
)
def test_a_source_that_does_not_compile(source: str) -> None:
    with pytest.raises(CompileError, match=r"^a kernel could not be compiled$") as caught:
        native.compile_kernel(source, "native_bad")
    assert caught.value.__cause__ is not None


def test_symbols_from_outside_are_refused() -> None:
    # Numba allocates through its own run-time library, which another process would not have.
    source = "def kernel(args, lo, hi):\n    x = np.zeros(hi)\n    return int(x[lo])\n"
    with pytest.raises(CompileError):
        native.compile_kernel(source, "native_outside")
    text = (
        "declare i64 @getpid()\ndefine i64 @entry() {\n  %x = call i64 @getpid()\n  ret i64 %x\n}"
    )
    with pytest.raises(CompileError, match="needs symbols from outside: getpid"):
        native.compile_ir(text, "native_getpid")


def test_ir_that_does_not_parse() -> None:
    for text in ("define", "define i64 @other() {\n  ret i64 0\n}"):
        with pytest.raises(CompileError, match=r"^a (function|kernel) could not be compiled$"):
            native.compile_ir(text, "native_ir")


@pytest.mark.parametrize("code", [b"", b"nothing", b"\x7fELF\x02\x01" + bytes(300)])
def test_code_that_is_no_object(code: bytes) -> None:
    with pytest.raises(CompileError):
        native.load_object(code, "native_none")


def test_code_without_the_symbol() -> None:
    code = native.compile_kernel(scale(1.5), "native_present")
    with pytest.raises(CompileError, match="holds no native_absent"):
        native.load_object(code, "native_absent")


def test_threads_compile_and_load() -> None:
    failures: list[BaseException] = []

    def work(i: int) -> None:
        try:
            for k in range(3):
                code = native.compile_kernel(scale(10.0 * i + k), f"native_thread_{i}_{k}")
                assert scales(native.load_object(code, f"native_thread_{i}_{k}"), 10.0 * i + k)
        except BaseException as e:
            failures.append(e)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failures


def test_the_target_key_names_what_code_depends_on(monkeypatch: pytest.MonkeyPatch) -> None:
    import llvmlite
    import numba

    key = target.target_key()
    assert numba.__version__ in key
    assert llvmlite.__version__ in key
    assert str(target.CODEGEN_VERSION) in key
    monkeypatch.setenv("NUMBA_CPU_NAME", "haswell")
    assert native.cpu()[1] == "haswell"
    assert target.target_key() != key


def test_vectors_are_those_of_llvm(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in target.SETTINGS:
        monkeypatch.delenv(name, raising=False)
    triple, _, features = native.cpu()
    told = {f for f in target.VECTORS if f"+{f}" in features.split(",")}
    assert target.vectors() == (triple.split("-")[0], told)
    monkeypatch.setenv("NUMBA_ENABLE_AVX", "0")
    assert target.vectors() == (triple.split("-")[0], set())


def test_the_key_is_the_same_without_numba(tmp_path: Any) -> None:
    code = (
        "import sys; from staticgraph.codegen import target\n"
        "key = target.target_key(); assert 'numba' not in sys.modules\n"
        "import numba; target._target_key.cache_clear(); assert target.target_key() == key"
    )
    finish(python(code, cache=tmp_path))


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="names of x86-64 processors")
def test_a_processor_without_fma(tmp_path: Any) -> None:
    code = (
        "import sys; from staticgraph.codegen import native; import numpy as np\n"
        "from tests.codegen.kernels import arguments, call\n"
        "code = native.compile_kernel(sys.argv[1], 'k')\n"
        "assert native.undefined_symbols(code) == {'fmaf'}\n"
        "x = np.linspace(-3, 3, 50, dtype=np.float32); y = np.zeros_like(x)\n"
        "assert call(native.load_object(code, 'k'), arguments(x, y), 0, 50) == 0\n"
        "assert np.allclose(y, np.exp(x) + 1, rtol=1e-6)"
    )
    finish(python(code, EXPONENTIAL, cache=tmp_path, NUMBA_CPU_NAME="nehalem"))


# ---- many at once


def many_numba() -> workers.Results:
    return workers.compile_many({f"native_many_{i}": scale(100.0 + i) for i in range(12)})


def many_ir() -> workers.Results:
    text = "define i64 @entry(ptr %args, i64 %lo, i64 %hi) {{\n  ret i64 {}\n}}\n"
    emitters = {f"native_ir_{i}": partial(text.format, i) for i in range(9)}
    return workers.compile_many_ir(emitters, quick=["native_ir_3", "native_ir_4"])


@pytest.mark.parametrize("compile_all", [many_numba, many_ir])
def test_helpers_compile_with_this_process(
    monkeypatch: pytest.MonkeyPatch, compile_all: Callable[[], workers.Results]
) -> None:
    monkeypatch.setattr(workers, "_helpers", lambda wanted: 0)
    alone = compile_all()
    assert all(isinstance(code, bytes) for code in alone.values())
    gate = threading.Event()
    take, take_or_wait = workers._Batch.take, workers._Batch.take_or_wait

    def helper_takes(self: Any, largest: int = workers._LARGEST) -> Any:
        gate.set()
        return take(self, largest)

    def this_process_takes(self: Any) -> Any:
        gate.wait(60)  # let the helper be ready first
        return take_or_wait(self)

    monkeypatch.setattr(workers, "_helpers", lambda wanted: 1)
    monkeypatch.setattr(workers._Batch, "take", helper_takes)
    monkeypatch.setattr(workers._Batch, "take_or_wait", this_process_takes)
    shared = compile_all()
    assert gate.is_set(), "the helper did not get ready"
    assert shared == alone


@pytest.mark.parametrize("command", ["raise SystemExit(3)", "print('noise' * 100)", "not python"])
def test_helpers_that_fail_cost_only_time(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.setattr(workers, "helper_count", lambda kernels: 2)
    monkeypatch.setattr(workers, "_COMMAND", command)
    sources = {f"native_failing_{i}": scale(200.0 + i) for i in range(2)}
    assert set(workers.compile_many(sources)) == set(sources)


def test_ir_that_is_wrong_or_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    good = "define i64 @entry(ptr %args, i64 %lo, i64 %hi) {\n  ret i64 0\n}\n"
    monkeypatch.setattr(workers, "_helpers", lambda wanted: 1)
    found = workers.compile_many_ir({"ir_good": lambda: good, "ir_bad": lambda: "no IR"})
    assert isinstance(found["ir_good"], bytes)
    assert isinstance(found["ir_bad"], CompileError)
    with pytest.raises(ZeroDivisionError):
        workers.compile_many_ir({"ir_good": lambda: good, "ir_none": lambda: str(1 / 0)})
    assert not [t for t in threading.enumerate() if t.name == "staticgraph-compile"]


def test_helpers_that_cannot_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "helper_count", lambda kernels: 2)
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    assert set(workers.compile_many({"native_alone": scale(300.0)})) == {"native_alone"}


def test_a_helper_that_dies_at_work_gives_its_kernel_back() -> None:
    batch = workers._Batch({"a": "x", "b": "y"})
    taken = batch.take()
    assert taken == ("a", "x")
    assert batch.take_or_wait() == ("b", "y")
    batch.done(("b", "y"), b"code")
    threading.Timer(0.05, batch.put_back, [taken]).start()
    assert batch.take_or_wait() == taken
    batch.done(taken, b"code")
    assert batch.take_or_wait() is None


def test_one_bad_source_does_not_spoil_the_others() -> None:
    results = workers.compile_many({"native_good": scale(400.0), "native_wrong": "x = 1\n"})
    assert isinstance(results["native_good"], bytes)
    assert isinstance(results["native_wrong"], CompileError)


def test_helpers_are_for_many_kernels_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_idle_processors", lambda: 7)
    assert workers.helper_count(4) == 0
    assert 0 < workers.helper_count(60) <= workers.helper_count(500) == 7
    assert [workers.ir_helper_count(n) for n in (0, 2, 3, 6, 99)] == [0, 0, 1, 2, 7]
    monkeypatch.setattr(workers, "_idle_processors", lambda: -2)
    assert workers.helper_count(500) == workers.ir_helper_count(500) == 0


@pytest.mark.skipif(not hasattr(os, "getloadavg"), reason="the load is not known")
def test_a_busy_machine_gets_no_helpers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: range(4), raising=False)
    for load, idle in [(0.0, 3), (1.2, 3), (2.9, 1), (4.0, 0), (9.0, -5)]:
        monkeypatch.setattr(os, "getloadavg", lambda load=load: (load, 0.0, 0.0))
        assert workers._idle_processors() == idle


def test_a_large_source_is_not_sent_ahead() -> None:
    batch = workers._Batch({"large": "x" * 100_000})
    assert batch.take(largest=4000) is None
    assert batch.take() is not None


def test_half_precision_round_trip() -> None:
    source = """\
def kernel(args, lo, hi):
    a0 = ptr_f16(args[0])
    a1 = ptr_f16(args[1])
    for p in range(lo, hi):
        store_f16(a1, p, load_f16(a0, p) * np.float32(2.0))
    return 0
"""
    address = native.load_object(native.compile_kernel(source, "native_half"), "native_half")
    x = np.linspace(-3, 3, 40).astype(np.float16)
    y = np.zeros_like(x)
    assert call(address, arguments(x, y), 0, 40) == 0
    assert np.array_equal(y, x * np.float16(2))
