"""The cache of kernels among processes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.codegen.kernels import finish, python

USE = """
import sys
from staticgraph.codegen import cache, driver
from tests.codegen.kernels import scale, scales
factors = [14.0 + i for i in range(int(sys.argv[1]))]
driver.driver()
addresses = cache.kernel_addresses([scale(f) for f in factors])
assert all(scales(a, f) for a, f in zip(addresses, factors))
print(cache.compiled_count(), cache.loaded_count(), 'numba' in sys.modules)
"""


def test_a_warm_process_does_not_import_numba(tmp_path: Path) -> None:
    assert finish(python(USE, "3", cache=tmp_path / "kernels")) == "3 0 True"
    assert finish(python(USE, "3", cache=tmp_path / "kernels")) == "0 3 False"
    assert finish(python(USE, "1", cache="off")) == "1 0 True"


def test_many_processes_share_a_folder(tmp_path: Path) -> None:
    running = [python(USE, "4", cache=tmp_path / "kernels") for _ in range(3)]
    for process in running:
        compiled, loaded, _ = finish(process).split()
        assert int(compiled) + int(loaded) == 4
    assert finish(python(USE, "4", cache=tmp_path / "kernels")) == "0 4 False"
    assert not list((tmp_path / "kernels").glob("*.tmp"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_goes_on(tmp_path: Path) -> None:
    code = """
import os, sys, threading, warnings
warnings.simplefilter('ignore')  # Python 3.12 warns of threads
from staticgraph.codegen import cache, native
from tests.codegen.kernels import scale, scales
first = cache.kernel_address(scale(20.0))
held = threading.Event(); leave = threading.Event()
def hold():
    with cache._lock, native._lock:
        held.set(); leave.wait()
threading.Thread(target=hold, daemon=True).start()
held.wait()
child = os.fork()
if child == 0:
    good = scales(first, 20.0) and scales(cache.kernel_address(scale(21.0)), 21.0)
    os._exit(0 if good else 9)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
leave.set()
"""
    finish(python(code, cache=tmp_path / "kernels"))
