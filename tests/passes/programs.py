"""Functions as text for tests of passes, and comparison of what two of them compute."""

from __future__ import annotations

import numpy as np

import staticgraph.ops  # noqa: F401
from staticgraph.ir import dtypes
from staticgraph.ir.dims import evaluate as value_of
from staticgraph.ir.dims import symbols_of
from staticgraph.ir.evaluate import BrokenGuardError, evaluate
from staticgraph.ir.function import Function
from staticgraph.ir.parse import parse_function
from staticgraph.ir.verify import verify_function

SPECIAL = (0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e-40, -3.5)


def function(text: str) -> Function:
    """A function from ``parameters | lines``; ``return`` closes it."""
    params, _, body = text.partition("|")
    f = parse_function(f"function f({params.strip()}) {{\n{body}\n}}")
    verify_function(f)
    return f


def body_of(f: Function) -> list[str]:
    """The lines between the braces, without indentation."""
    return [line.strip() for line in str(f).split("\n")[1:-1]]


def arguments(f: Function, n: int, seed: int) -> list[np.ndarray]:
    """Random arrays with every special value among them; all symbols are `n`."""
    rng = np.random.default_rng(seed)
    out = []
    for p in f.params:
        shape = [
            d if isinstance(d, int) else value_of(d, dict.fromkeys(symbols_of(d), n))
            for d in p.value.dims
        ]
        dtype = p.value.dtype
        if dtype.is_floating:
            a = rng.normal(size=shape).astype(dtype.np)
            at = rng.random(shape) < 0.6
            a[at] = rng.choice(SPECIAL, int(at.sum())).astype(dtype.np)
        elif dtype.is_bool:
            a = rng.random(shape) < 0.5
        else:
            limits = np.iinfo(dtype.np)
            a = rng.choice([0, 1, limits.min, limits.max, 3, -2 if limits.min else 2], shape)
        out.append(np.asarray(a).astype(dtype.np))
    return out


def bits(a: np.ndarray) -> np.ndarray:
    """What must agree to the bit: all but the sign and payload of NaNs."""
    if a.dtype.kind != "f":
        return a
    return np.where(np.isnan(a), np.array(np.nan, a.dtype), a).view(f"u{a.dtype.itemsize}")


def assert_same_results(f: Function, g: Function, tolerance: float = 0.0) -> None:
    """Both functions give the same results and updates on random and special inputs."""
    verify_function(g)
    compared = 0
    for n in (0, 1, 7):
        for seed in range(4):
            args = arguments(f, n, seed)
            try:
                want, state = evaluate(f, args)
            except BrokenGuardError:
                continue
            have, after = evaluate(g, args)
            compared += 1
            assert list(after) == list(state)
            for a, b in zip([*want, *state.values()], [*have, *after.values()], strict=True):
                assert (a.dtype, a.shape) == (b.dtype, b.shape)
                if tolerance:
                    np.testing.assert_allclose(b, a, rtol=tolerance, atol=0)
                else:
                    np.testing.assert_array_equal(bits(b), bits(a))
    assert compared, "no sizes satisfy the guards"


__all__ = ["arguments", "assert_same_results", "bits", "body_of", "dtypes", "function"]
