"""What object code depends on besides its source: the compiler and the processor, as a key.

The key is found without loading LLVM, so that a process whose kernels are all on disk does
without it: LLVM takes longer to load than numpy.
"""

from __future__ import annotations

import glob
import hashlib
import importlib
import importlib.util
import os
import platform
from functools import cache

import llvmlite  # type: ignore[import-untyped]  # llvmlite ships no stubs

CODEGEN_VERSION = 1  # raise when the same source should give other code

# Numba's settings for the CPU to compile for, which are followed here too.
SETTINGS = ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", "NUMBA_ENABLE_AVX")

_PARTS = ("vector_math", "intrinsics", "scalar_", "native", "llvm", "target")  # shape the code
_MODEL = ("vendor_id", "cpu family", "model", "stepping", "flags")  # of a line of /proc/cpuinfo


def settings() -> tuple[str, ...]:
    """The values of `SETTINGS` in the environment."""
    return tuple(os.environ.get(k, "") for k in SETTINGS)


def target_key() -> str:
    """Everything that object code depends on besides its source."""
    return _target_key(settings())


@cache
def _target_key(chosen: tuple[str, ...]) -> str:
    return "\n".join([compiler(), *chosen, processor()])


@cache
def compiler() -> str:
    """The part of the key that tells by what code is made."""
    parts = [f"codegen {CODEGEN_VERSION}", _own_code()]
    return "\n".join([*parts, f"numba {_numba_version()}", f"llvmlite {llvmlite.__version__}"])


@cache
def processor() -> str:
    """A description that is the same for two processors only if LLVM makes the same code for both.

    LLVM derives name and features from what the processor says of itself.  Linux and numpy say
    that, too; elsewhere LLVM is asked.
    """
    core = importlib.import_module("numpy._core._multiarray_umath")
    found: dict[str, bool] = getattr(core, "__cpu_features__", {})
    features = " ".join(sorted(name for name, there in found.items() if there))
    model = _model() if platform.machine() == "x86_64" else {}
    if model:
        return "\n".join(["x86_64 linux", *model.values(), features])
    from staticgraph.codegen import native  # it loads LLVM

    return "\n".join([*native.cpu(), features])


def vectors() -> tuple[str, frozenset[str]]:
    """The architecture, and which of `VECTORS` code may use, by LLVM's names."""
    return _vectors(settings())


VECTORS = ("avx", "avx512f")


@cache
def _vectors(chosen: tuple[str, ...]) -> tuple[str, frozenset[str]]:
    flags = _model().get("flags", "").split() if platform.machine() == "x86_64" else []
    if flags and not any(chosen):
        return "x86_64", frozenset(flags).intersection(VECTORS)
    from staticgraph.codegen import native

    triple, _, features = native.cpu()
    there = {name[1:] for name in features.split(",") if name.startswith("+")}
    return triple.split("-")[0], frozenset(there.intersection(VECTORS))


@cache
def _model() -> dict[str, str]:
    """What Linux says of the first processor, or nothing where it does not."""
    lines: dict[str, str] = {}
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as f:
            for line in f:
                name, _, value = line.partition(":")
                if not value:
                    break
                lines[name.strip()] = value.strip()
    except OSError:  # not on Linux
        return {}
    return {k: lines[k] for k in _MODEL} if lines.keys() >= set(_MODEL) else {}


def _numba_version() -> str:
    """Numba's version, without importing Numba (another thread may just be doing that)."""
    spec = importlib.util.find_spec("numba")
    for folder in (spec.submodule_search_locations or []) if spec is not None else []:
        pattern = os.path.join(glob.escape(os.path.dirname(folder)), "numba-*.dist-info")
        for path in sorted(glob.glob(pattern)):
            return os.path.basename(path)[len("numba-") : -len(".dist-info")]
    from importlib.metadata import version  # takes 15 ms, so it comes last

    return version("numba")


def _own_code() -> str:
    """A digest of the files that kernels are made of, so that a changed intrinsic is a new key."""
    here = os.path.dirname(os.path.abspath(__file__))
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(os.listdir(here)):
        if name.endswith(".py") and name.startswith(_PARTS):
            with open(os.path.join(here, name), "rb") as f:
                digest.update(f.read())
    return digest.hexdigest()
