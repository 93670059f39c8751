"""`tf.test`: test cases for graphs, and derivatives checked by differences."""

from __future__ import annotations

import os
import tempfile
import unittest
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from staticgraph.api.framework import (
    Graph,
    get_default_graph,
    get_default_session,
    reset_default_graph,
)
from staticgraph.api.gradients import compute_gradient, compute_gradient_error
from staticgraph.api.random import set_random_seed
from staticgraph.ir.tensor import Tensor
from staticgraph.runtime.session import Session


class TestCase(unittest.TestCase):
    """A test case that starts each test with an empty default graph."""

    def setUp(self) -> None:
        """Empty the default graph and fix the seeds."""
        reset_default_graph()
        set_random_seed(87654321)
        np.random.seed(87654321)

    @contextmanager
    def session(
        self,
        graph: Graph | None = None,
        config: Any = None,
        use_gpu: bool = False,
        force_gpu: bool = False,
    ) -> Iterator[Any]:
        """A session that is the default one inside."""
        del use_gpu, force_gpu
        target = graph or get_default_graph()
        with target.as_default(), Session(graph=target, config=config) as session:
            yield session

    cached_session = session
    test_session = session

    def evaluate(self, tensors: Any) -> Any:
        """The values of tensors, from the default session."""
        session = get_default_session()
        if session is None:
            with self.session() as session:
                return session.run(tensors)
        return session.run(tensors)

    def get_temp_dir(self) -> str:
        """A directory for this test."""
        return get_temp_dir()

    def _array(self, a: Any) -> np.ndarray:
        return np.asarray(self.evaluate(a) if isinstance(a, Tensor) else a)

    def assertAllClose(
        self, a: Any, b: Any, rtol: float = 1e-6, atol: float = 1e-6, msg: str = ""
    ) -> None:  # noqa: N802
        """Fail unless arrays agree within tolerances."""
        np.testing.assert_allclose(
            self._array(a), self._array(b), rtol=rtol, atol=atol, err_msg=msg
        )

    def assertAllEqual(self, a: Any, b: Any, msg: str = "") -> None:  # noqa: N802
        """Fail unless arrays are equal."""
        np.testing.assert_array_equal(self._array(a), self._array(b), err_msg=msg)

    def assertShapeEqual(self, np_array: Any, tf_tensor: Any) -> None:  # noqa: N802
        """Fail unless an array has the static shape of a tensor."""
        self.assertEqual(list(np.shape(np_array)), tf_tensor.shape.as_list())

    def assertNear(self, f1: float, f2: float, err: float, msg: str | None = None) -> None:  # noqa: N802
        """Fail unless two numbers differ by at most `err`."""
        self.assertLessEqual(abs(f1 - f2), err, msg)

    def assertArrayNear(self, farray1: Any, farray2: Any, err: float) -> None:  # noqa: N802
        """Fail unless the elements of two lists differ by at most `err`."""
        self.assertEqual(len(farray1), len(farray2))
        for a, b in zip(farray1, farray2, strict=True):
            self.assertNear(float(a), float(b), err)


def get_temp_dir() -> str:
    """A directory for tests, the same throughout the process."""
    path = os.path.join(tempfile.gettempdir(), f"staticgraph-test-{os.getpid()}")
    os.makedirs(path, exist_ok=True)
    return path


def main(argv: list[str] | None = None) -> None:
    """Run the tests of the running program."""
    unittest.main(argv=argv)


def is_gpu_available(cuda_only: bool = False, min_cuda_compute_capability: Any = None) -> bool:
    """False: sessions run on the CPU."""
    del cuda_only, min_cuda_compute_capability
    return False


def is_built_with_cuda() -> bool:
    """False: sessions run on the CPU."""
    return False


def gpu_device_name() -> str:
    """An empty string: sessions run on the CPU."""
    return ""


__all__ = [
    "TestCase", "compute_gradient", "compute_gradient_error", "get_temp_dir", "gpu_device_name",
    "is_built_with_cuda", "is_gpu_available", "main",
]  # fmt: skip
