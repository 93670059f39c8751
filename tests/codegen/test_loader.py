"""Object code that is loaded without LLVM, and what is left to LLVM."""

from __future__ import annotations

import platform
import struct
import sys
from typing import Any

import numpy as np
import pytest

from staticgraph.codegen import loader, native
from staticgraph.errors import CompileError
from tests.codegen.kernels import arguments, call

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64", reason="left to LLVM's loader"
)

SUM = """
@table = private unnamed_addr constant [4 x i64] [i64 10, i64 20, i64 40, i64 80], align 64
define i64 @entry(ptr %args, i64 %lo, i64 %hi) {
  %at = getelementptr [4 x i64], ptr @table, i64 0, i64 %lo
  %value = load i64, ptr %at
  %more = load i64, ptr %args
  %sum = add i64 %value, %more
  ret i64 %sum
}
"""
REMAINDER = """
declare double @fmod(double, double)
define i64 @entry(ptr %args, i64 %lo, i64 %hi) {
  %x = load double, ptr %args
  %y = call double @fmod(double %x, double 3.5)
  store double %y, ptr %args
  ret i64 7
}
"""
COUNTER = """
@count = internal global i64 0
@start = internal global i64 41
define i64 @entry(ptr %args, i64 %lo, i64 %hi) {
  %old = load i64, ptr @count
  %new = add i64 %old, 1
  store i64 %new, ptr @count
  %start = load volatile i64, ptr @start
  %sum = add i64 %start, %new
  ret i64 %sum
}
"""


@pytest.fixture
def by_llvm(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The symbols that LLVM's loader is asked for."""
    asked = []
    load_object = native.load_object

    def noted(code: bytes, symbol: str) -> int:
        asked.append(symbol)
        return load_object(code, symbol)

    monkeypatch.setattr(native, "load_object", noted)
    return asked


def test_constants_of_the_code_are_found(by_llvm: list[str]) -> None:
    code = native.compile_ir(SUM, "loader_sum", kernel=False)
    address = loader.load(code, "loader_sum")
    assert [call(address, arguments(5), i, i) for i in range(4)] == [15, 25, 45, 85]
    assert loader.load(code, "loader_sum") == address
    assert not by_llvm


def test_functions_of_the_process_are_found(by_llvm: list[str]) -> None:
    code = native.compile_ir(REMAINDER, "loader_fmod")
    assert native.undefined_symbols(code) == {"fmod"}
    x = np.array([17.0])
    assert call(loader.load(code, "loader_fmod"), x, 0, 0) == 7
    assert x[0] == 3.0
    assert not by_llvm


def test_data_of_the_code_can_be_written(by_llvm: list[str]) -> None:
    address = loader.load(native.compile_ir(COUNTER, "loader_count"), "loader_count")
    assert [call(address, arguments(0), 0, 0) for _ in range(3)] == [42, 43, 44]
    assert not by_llvm


@pytest.mark.parametrize("text", [SUM, COUNTER])
def test_code_cannot_be_written(text: str, by_llvm: list[str]) -> None:
    symbol = f"loader_kept_{len(text)}"
    address = loader.load(native.compile_ir(text, symbol, kernel=False), symbol)
    with open("/proc/self/maps") as maps:
        for line in maps:
            first, last = (int(x, 16) for x in line.split()[0].split("-"))
            if first <= address < last:
                assert line.split()[1] == "r-xp"
                break
        else:
            pytest.fail("the code is nowhere")
    assert not by_llvm


def _changed_references(code: bytes, kind: int) -> bytes:
    """The object code with another kind of reference wherever it refers to something."""
    out = bytearray(code)
    (table,) = struct.unpack_from("<Q", code, 0x28)
    size, count = struct.unpack_from("<HH", code, 0x3A)
    for i in range(count):
        _, of, _, _, at, length, *_ = struct.unpack_from("<IIQQQQIIQQ", code, table + i * size)
        for j in range(length // 24 if of == 4 else 0):
            struct.pack_into("<I", out, at + 24 * j + 8, kind)
    return bytes(out)


def test_other_references_are_left_to_llvm(monkeypatch: pytest.MonkeyPatch) -> None:
    code = native.compile_ir(SUM, "loader_relative", kernel=False)
    monkeypatch.setattr(native, "load_object", lambda code, symbol: 1234)
    assert loader.load(_changed_references(code, 2), "loader_relative") == 1234
    assert loader.load(code, "loader_relative") != 1234


def test_a_function_that_is_not_there() -> None:
    code = native.compile_ir(REMAINDER, "loader_none").replace(b"\0fmod\0", b"\0fmox\0")
    with pytest.raises(CompileError, match="needs fmox, which is not there"):
        loader.load(code, "loader_none")


def test_damaged_code_is_refused_or_left_to_llvm(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(code: bytes, symbol: str) -> Any:
        raise CompileError(symbol)

    monkeypatch.setattr(native, "load_object", refuse)
    code = native.compile_ir(SUM, "loader_cut", kernel=False)
    for length in (0, 3, 7, 40, 63, 64, len(code) // 2, len(code) - 1):
        with pytest.raises(CompileError):
            loader.load(code[:length], "loader_cut")
    with pytest.raises(CompileError):
        loader.load(code, "loader_other")
