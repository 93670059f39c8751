"""What tests and doctests share: one kernel cache, and a fresh default graph for each of them.

Compiled kernels are kept in a folder under pytest's own cache, so that the suite compiles each
kernel once and a second run of the suite compiles none.  Nothing is read from or written to the
cache of the user who runs the tests.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

CACHE_VARIABLE = "STATICGRAPH_CACHE"

# modules that the optional extra `cuda` is needed to import
collect_ignore: list[str] = []
if importlib.util.find_spec("_numba_cuda_redirector") is None:
    collect_ignore += [
        "staticgraph/codegen/cuda_intrinsics.py",
        "staticgraph/codegen/cuda_math.py",
    ]
# programs that make golden files with other packages
collect_ignore_glob = ["tests/data/make_*.py"]


def pytest_configure(config: pytest.Config) -> None:
    """Choose the kernel cache before anything imports the package."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # started in the background of a shell: programs that tests interrupt would ignore it, too
        signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.setdefault("MPLBACKEND", "Agg")
    os.environ.setdefault("STATICGRAPH_VERIFY", "1")  # IR is checked after every compiler pass
    if "PYTEST_XDIST_WORKER" in os.environ:
        return  # the workers inherit the folder of the process that started them
    cache = getattr(config, "cache", None)
    if cache is None:
        folder = Path(tempfile.mkdtemp(prefix="staticgraph-kernels-"))
    else:
        folder = cache.mkdir("staticgraph-kernels")
        folder.chmod(0o700)  # the cache refuses a folder that others could write to
    os.environ[CACHE_VARIABLE] = str(folder)


@pytest.fixture(scope="session")
def kernel_cache() -> Path:
    """The folder that every test's kernels are kept in."""
    return Path(os.environ[CACHE_VARIABLE])


@pytest.fixture(autouse=True)
def _fresh_default_graph() -> Iterator[None]:
    """Each test builds in a default graph of its own."""
    from staticgraph.ir.graph import Graph

    with Graph().as_default():
        yield


@pytest.fixture(autouse=True)
def _fresh_draws(request: pytest.FixtureRequest) -> None:
    """A module's ``RNG`` starts anew for each test, whichever tests ran before it."""
    if hasattr(request, "module") and hasattr(request.module, "RNG"):
        import numpy as np

        request.module.RNG = np.random.default_rng(0)
