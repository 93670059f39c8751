"""What happens where the optional extra is not installed, or not yet wanted."""

from __future__ import annotations

import subprocess
import sys

import pytest

from staticgraph.codegen import cuda_compile
from staticgraph.errors import MissingExtraError


def test_the_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "_numba_cuda_redirector", None)
    with pytest.raises(MissingExtraError, match=r'pip install "staticgraph\[cuda\]"'):
        cuda_compile.compile_source("def f(x):\n    pass\n", "f", ("ptr_f32",))


def test_importing_the_module_imports_no_compiler() -> None:
    check = "from staticgraph.codegen import cuda_compile as c; import sys; "
    check += "assert not c.is_loaded() and 'numba' not in sys.modules"
    subprocess.run([sys.executable, "-c", check], check=True)
