"""Random draws: TensorFlow's values, the generator itself, the compiled kernels, statistics."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numba import njit, types
from numba.extending import intrinsic
from scipy import special, stats

from staticgraph.codegen import philox_source
from staticgraph.ir import draws, philox

GOLDEN = json.loads((Path(__file__).parents[1] / "data" / "tf1_random.json").read_text())["draws"]

# The operations of the golden program, in its order.
DRAWS: list[tuple[str, int, Callable[..., philox.Draw]]] = [
    ("RandomStandardNormal", 6, lambda s, c: philox.random_standard_normal(*s, c, [6])),
    ("RandomUniform", 6, lambda s, c: philox.random_uniform(*s, c, [6])),
    ("TruncatedNormal", 6, lambda s, c: philox.truncated_normal(*s, c, [6])),
    ("RandomUniformInt", 6, lambda s, c: philox.random_uniform_int(*s, c, [6], 0, 1000)),
    ("RandomShuffle", 8, lambda s, c: draws.random_shuffle(*s, c, 8)),
    ("Multinomial", 6, lambda s, c: draws.multinomial(*s, c, [[0.0, 1.0, 2.0]], 6)),
]
ROUNDED = ("RandomStandardNormal", "TruncatedNormal")


def seed_of(text: str) -> int | None:
    return None if text == "None" else int(text)


@pytest.mark.parametrize("case", GOLDEN)
def test_seeds_pair_as_in_tensorflow(case: str) -> None:
    graph_seed, op_seed = (seed_of(part.split("=")[1]) for part in case.split(","))
    for name, _, seed, seed2 in GOLDEN[case]["seeds"]:
        # Where the op has no seed, seed2 is the number of operations made before it.
        pair = philox.seed_pair(graph_seed, op_seed, last_op_id=seed2)
        assert pair == (seed, seed2), name


def test_seed_pair_rules() -> None:
    assert philox.seed_pair(None, None, 5) is None
    assert philox.seed_pair(None, 7, 5) == (philox.DEFAULT_GRAPH_SEED, 7)
    assert philox.seed_pair(3, None, 5) == (3, 5)
    assert philox.seed_pair(0, 0, 5) == (0, 2**31 - 1)
    assert philox.seed_pair(0, None, 0) == (0, 2**31 - 1)
    assert philox.seed_pair(2**31 - 1, 2**31, 5) == (0, 1)
    assert philox.seed_pair(-1, 1, 5) == (2**31 - 2, 1)
    assert philox.fresh_pair() != philox.fresh_pair()


@pytest.mark.parametrize("which", range(len(DRAWS)), ids=[d[0] for d in DRAWS])
@pytest.mark.parametrize("case", GOLDEN)
def test_draws_are_tensorflows(case: str, which: int) -> None:
    op, n, draw = DRAWS[which]
    seeds = tuple(GOLDEN[case]["seeds"][which][2:])
    assert GOLDEN[case]["seeds"][which][1] == op
    counter = 0
    for run in ("first", "second"):
        before = counter
        got, counter = draw(seeds, counter)
        assert counter == before + philox.reserve(op, n)
        want = np.array(GOLDEN[case][run][which]).astype(got.dtype)
        if op in ROUNDED:
            np.testing.assert_allclose(got, want, rtol=1e-6, atol=0)
        else:
            np.testing.assert_array_equal(got, want)


# Random123's kat_vectors, lines "philox4x32 10": counter, key, result.
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000",
     "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff",
     "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0",
     "d16cfe09 94fdcceb 5001e420 24126ea1"),
]  # fmt: skip


def words(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize(("counter", "key", "result"), KNOWN)
def test_known_answers(counter: str, key: str, result: str) -> None:
    got = philox.philox(*words(key), np.array(words(counter), np.uint32))
    assert got.dtype == np.uint32
    assert got.tolist() == words(result)
    # The same block through a stream: the key is the seed, the upper counter is seed2.
    c, k = words(counter), words(key)
    seed, seed2, low = (a | b << 32 for a, b in (k, c[2:], c[:2]))
    block = philox.blocks(seed, seed2, low, np.zeros(1, np.uint64))
    assert block[0].tolist() == words(result)


def test_counter_carries_into_the_upper_half_and_wraps() -> None:
    index = np.arange(4, dtype=np.uint64)
    across = philox.blocks(5, 9, 2**64 - 2, index)
    np.testing.assert_array_equal(across[2:], philox.blocks(5, 10, 0, index[:2]))
    np.testing.assert_array_equal(
        philox.blocks(5, 9, 3 << 64, index), philox.blocks(5, 12, 0, index)
    )
    np.testing.assert_array_equal(
        philox.blocks(5, -1, 1 << 64, index), philox.blocks(5, 0, 0, index)
    )
    assert philox.advance(2**128 - 1, 3) == 2
    assert philox.counter_words(2**128 - 1) == (-1, -1)
    assert philox.counter_words((3 << 64) + 2**63) == (-(2**63), 3)


def test_reservations() -> None:
    assert philox.reserve("RandomUniform", 6) == 6 * 256
    assert [philox.reserve("RandomShuffle", n) for n in (0, 1, 2, 5, 6, 8)] == [0, 0, 1, 1, 2, 2]
    assert philox.reserve("Multinomial", 6) == 16 * 256
    assert philox.reserve("Multinomial", 1, batch=3) == 24 * 256
    assert philox.reserve("Multinomial", 0, batch=3) == 0
    with pytest.raises(ValueError, match="no random operation"):
        philox.reserve("Add", 1)


# Elementary functions


def test_elementary_functions_are_accurate() -> None:
    x = np.concatenate((np.geomspace(1e-7, 1.0, 10001), 1.0 - np.geomspace(1e-16, 0.3, 1001)))
    np.testing.assert_allclose(philox.log(x), np.log(x), rtol=5e-16, atol=0)
    angle = np.concatenate((np.linspace(0.0, 2.0 * np.pi, 20001), np.arange(5) * np.pi / 2.0))
    sine, cosine = philox.sin_cos(angle)
    np.testing.assert_allclose(sine, np.sin(angle), rtol=1e-15, atol=0)
    np.testing.assert_allclose(cosine, np.cos(angle), rtol=1e-15, atol=0)


# Shapes and types


@pytest.mark.parametrize("draw", [philox.random_uniform, philox.random_standard_normal,
                                  philox.truncated_normal])  # fmt: skip
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_have_the_shape_and_type_asked_for(draw: Any, dtype: Any) -> None:
    out, counter = draw(1, 2, 0, (3, 5), dtype)
    assert out.shape == (3, 5) and out.dtype == dtype and counter == 15 * 256
    assert np.unique(out).size > 10
    empty, counter = draw(1, 2, 7, (3, 0), dtype)
    assert empty.shape == (3, 0) and counter == 7
    scalar, _ = draw(1, 2, 0, (), dtype)
    assert scalar.shape == () and scalar == out[0, 0]
    with pytest.raises(TypeError):
        draw(1, 2, 0, (3,), np.int32)


def test_half_is_single_rounded() -> None:
    for draw in (philox.random_standard_normal, philox.truncated_normal):
        half, single = (draw(1, 2, 0, [1000], t)[0] for t in (np.float16, np.float32))
        np.testing.assert_array_equal(half, single.astype(np.float16))


def test_long_draws_begin_as_short_ones() -> None:
    n = 4 * philox._CHUNK + 9  # more than is made at a time
    for draw in (philox.random_uniform, philox.random_standard_normal, philox.truncated_normal):
        for dtype in (np.float32, np.float64):
            long, short = (draw(3, 4, 5, [size], dtype)[0] for size in (n, 101))
            np.testing.assert_array_equal(long[:101], short)
            tail = draw(3, 4, 5, [n + 50], dtype)[0]
            np.testing.assert_array_equal(tail[:n], long)


@pytest.mark.parametrize(("dtype", "lo", "hi"), [
    (np.int32, -3, 4), (np.int32, -(2**31), 2**31 - 1), (np.int64, 10, 11),
    (np.int64, -(2**63), 2**63 - 1), (np.int64, -(2**40), 2**50),
])  # fmt: skip
def test_integers_by_remainder(dtype: Any, lo: int, hi: int) -> None:
    out, _ = philox.random_uniform_int(8, 9, 0, [1000], lo, hi, dtype)
    block = philox.blocks(8, 9, 0, np.arange(500, dtype=np.uint64)).reshape(-1).tolist()
    if dtype is np.int64:
        block = [a | b << 32 for a, b in zip(block[0::2], block[1::2], strict=True)]
    assert out.dtype == dtype
    assert out.tolist() == [lo + word % (hi - lo) for word in block[:1000]]


def test_integer_bounds_are_checked() -> None:
    for lo, hi, dtype in ((3, 3, np.int32), (0, 2**31, np.int32), (0, 2**63, np.int64)):
        with pytest.raises(ValueError, match="minval < maxval"):
            philox.random_uniform_int(1, 1, 0, [1], lo, hi, dtype)
    with pytest.raises(TypeError):
        philox.random_uniform_int(1, 1, 0, [1], 0, 1, np.uint8)


def test_truncated_normal_skips_what_is_outside() -> None:
    """Each group of four is the normals of its own 256 blocks, less the ones outside."""
    out, _ = philox.truncated_normal(1, 2, 0, [400])
    for group in range(100):
        normals, _ = philox.random_standard_normal(1, 2, 256 * group, [40])
        inside = normals[np.abs(normals) < 2.0][:4]
        np.testing.assert_array_equal(out[4 * group : 4 * group + 4], inside)


# Shuffles and classes


@pytest.mark.parametrize("n", [0, 1, 2, 9, 1000])
def test_shuffle_is_a_permutation(n: int) -> None:
    order, counter = draws.random_shuffle(1, 2, 10, n)
    assert sorted(order.tolist()) == list(range(n))
    assert counter == 10 + (-(-(n - 1) // 4) if n else 0)


def test_shuffle_is_uniform() -> None:
    counter, seen = 0, np.zeros((4, 4))
    for _ in range(4000):
        order, counter = draws.random_shuffle(11, 12, counter, 4)
        seen[np.arange(4), order] += 1
    assert stats.chisquare(seen.reshape(-1)).pvalue > 1e-3


def test_multinomial_inverts_the_sums() -> None:
    logits = np.random.RandomState(0).randn(7, 5).astype(np.float32)
    out, counter = draws.multinomial(1, 2, 0, logits, 9, np.int32)
    assert out.shape == (7, 9) and out.dtype == np.int32
    assert counter == philox.reserve("Multinomial", 9, 7)
    wide = logits.astype(np.float64)
    sums = np.cumsum(np.exp(wide - wide.max(axis=1, keepdims=True)), axis=1)
    uniform, _ = philox.random_uniform(1, 2, 0, [7, 9], np.float64)
    for row in range(7):
        want = np.searchsorted(sums[row], uniform[row] * sums[row, -1], side="right")
        np.testing.assert_array_equal(out[row], want)


def test_multinomial_with_logits_that_are_not_finite() -> None:
    rows = [[-np.inf, 0.0, np.inf], [np.nan, np.nan, 1.0], [-np.inf, -np.inf, np.nan]]
    out, _ = draws.multinomial(1, 2, 0, rows, 20)
    assert out.dtype == np.int64
    assert [np.unique(row).tolist() for row in out] == [[1], [2], [3]]
    with pytest.raises(ValueError, match="logits"):
        draws.multinomial(1, 2, 0, [0.0, 1.0], 2)
    with pytest.raises(ValueError, match="num_samples"):
        draws.multinomial(1, 2, 0, rows, -1)


# Gamma and Poisson


def gamma_one(seed: int, seed2: int, index: int, alpha: float) -> float:
    """TensorFlow's loop for one gamma number, one sample at a time."""
    block, normals, uniforms = 256 * index, [0.0][:0], [0.0][:0]

    def take(kept: list[float], draw: Any) -> float:
        nonlocal block
        if not kept:
            kept.extend(draw(seed, seed2, block, [2], np.float64)[0].tolist())
            block += 1
        return kept.pop()

    if alpha == 1.0:
        return -np.log1p(-take(uniforms, philox.random_uniform))
    d = alpha + (2.0 / 3.0 if alpha < 1.0 else -1.0 / 3.0)
    while True:
        x = take(normals, philox.random_standard_normal)
        v = 1.0 + (1.0 / 3.0 / np.sqrt(d)) * x
        if v <= 0.0:
            continue
        v = v * v * v
        u = take(uniforms, philox.random_uniform)
        if u < 1.0 - 0.0331 * x**4 or np.log(u) < 0.5 * x * x + d * (1.0 - v + np.log(v)):
            result = d * v
            if alpha < 1.0:
                result *= take(uniforms, philox.random_uniform) ** (1.0 / alpha)
            return result


def test_gamma_follows_its_streams() -> None:
    alpha = np.array([[0.3, 1.0], [1.5, 20.0]])
    out, counter = draws.random_gamma(1, 2, 0, [30], alpha)
    assert out.shape == (30, 2, 2) and counter == 120 * 256
    for place, value in enumerate(alpha.reshape(-1).tolist()):
        want = [gamma_one(1, 2, place * 30 + i, value) for i in range(30)]
        np.testing.assert_allclose(out.reshape(30, 4)[:, place], want, rtol=1e-13)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 1.2, 30.0])
def test_gamma_distribution(alpha: float) -> None:
    out, _ = draws.random_gamma(5, 6, 0, [20000], np.float32(alpha))
    assert out.dtype == np.float32
    assert stats.kstest(out, stats.gamma(alpha).cdf).pvalue > 1e-3


@pytest.mark.parametrize("rate", [0.0, 0.5, 9.5, 10.0, 200.0])
def test_poisson_distribution(rate: float) -> None:
    out, counter = draws.random_poisson(5, 6, 0, [20000], rate, np.int32)
    assert out.dtype == np.int32 and counter == 20000 * 256
    top = int(rate + 8 * np.sqrt(rate) + 8)
    seen = np.bincount(out, minlength=top)[:top]
    expected = stats.poisson(rate).pmf(np.arange(top)) * out.size
    often = expected > 5
    seen = np.append(seen[often], out.size - seen[often].sum())
    expected = np.append(expected[often], out.size - expected[often].sum())
    if rate == 0.0:
        assert not out.any()
    else:
        assert stats.chisquare(seen, expected).pvalue > 1e-3


def test_parameters_are_checked() -> None:
    for draw in (draws.random_gamma, draws.random_poisson):
        out, counter = draw(1, 2, 3, [0], [1.0, 2.0])
        assert out.shape == (0, 2) and counter == 3
        for bad in (-1.0, np.nan, np.inf):
            with pytest.raises(ValueError, match="finite"):
                draw(1, 2, 3, [1], bad)


# Statistics


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_distributions(dtype: Any) -> None:
    n = 100000
    uniform, _ = philox.random_uniform(21, 22, 0, [n], dtype)
    assert uniform.min() >= 0.0 and uniform.max() < 1.0
    assert stats.kstest(uniform, "uniform").pvalue > 1e-3
    normal, counter = philox.random_standard_normal(21, 22, 0, [n], dtype)
    assert abs(normal.mean()) < 4.0 / np.sqrt(n) and abs(normal.var() - 1.0) < 0.02
    assert stats.kstest(normal, "norm").pvalue > 1e-3
    again, _ = philox.random_standard_normal(21, 22, counter, [n], dtype)
    assert abs(np.corrcoef(normal, again)[0, 1]) < 4.0 / np.sqrt(n)
    inside, _ = philox.truncated_normal(21, 22, 0, [n], dtype)
    assert np.abs(inside).max() < 2.0
    edge = special.ndtr(-2.0)
    assert stats.kstest(special.ndtr(inside), "uniform", (edge, 1.0 - 2.0 * edge)).pvalue > 1e-3


# Compiled kernels


def pointer_to(element: types.Type) -> Any:
    """A stand-in for the back end's intrinsic: an address as a typed pointer."""

    @intrinsic
    def pointer(typing_context: Any, address: Any) -> Any:
        def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

        return types.CPointer(element)(types.int64), build

    return pointer


@cache
def kernel(op: str, dtype: str) -> Any:
    names = {"np": np, philox_source.POINTER[dtype]: pointer_to(getattr(types, dtype))}
    exec(philox_source.SOURCES[op, dtype], names)
    return njit(names["kernel"])


SEED, SEED2 = 0x123456789ABCDEF, 2**62 + 5


def by_kernel(
    op: str, dtype: str, n: int, counter: int, cuts: list[int], lo: int = 0, hi: int = 1
) -> Any:
    guard = np.full(n + 4, 77, dtype)
    args = [guard.ctypes.data, n, SEED, SEED2, *philox.counter_words(counter)]
    args += [philox.signed_word(lo), philox.signed_word(hi - lo)]
    edges = [0, *cuts, philox_source.groups(n)]
    pieces = list(pairwise(edges))
    for begin, end in reversed(pieces):
        kernel(op, dtype)(np.array(args, np.int64), begin, end)
    assert (guard[n:] == 77).all(), "wrote past the end"
    return guard[:n]


def by_numpy(op: str, dtype: str, n: int, counter: int, lo: int = 0, hi: int = 1) -> Any:
    if op == "RandomUniformInt":
        return philox.random_uniform_int(SEED, SEED2, counter, [n], lo, hi, dtype)[0]
    draw: Any = {
        "RandomUniform": philox.random_uniform,
        "RandomStandardNormal": philox.random_standard_normal,
        "TruncatedNormal": philox.truncated_normal,
    }[op]
    return draw(SEED, SEED2, counter, [n], dtype)[0]


@pytest.mark.parametrize(("op", "dtype"), philox_source.SOURCES)
def test_kernels_make_the_same_bits(op: str, dtype: str) -> None:
    for counter in (0, 1536, 2**64 - 3, 2**128 - 3, (7 << 64) + 2**63):
        for n in (0, 1, 2, 3, 4, 5, 1000):
            want = by_numpy(op, dtype, n, counter, -5, 1000)
            got = by_kernel(op, dtype, n, counter, [], -5, 1000)
            np.testing.assert_array_equal(got, want, err_msg=f"{n} from {counter}")
    want = by_numpy(op, dtype, 100001, 9, -5, 1000)
    np.testing.assert_array_equal(by_kernel(op, dtype, 100001, 9, [], -5, 1000), want)


@pytest.mark.parametrize(("op", "dtype"), philox_source.SOURCES)
def test_kernels_do_not_depend_on_the_split(op: str, dtype: str) -> None:
    for n in (3, 5, 1000, 1003):
        last = philox_source.groups(n)
        want = by_kernel(op, dtype, n, 3, [], 1, 7)
        for cuts in ([0], [1], [last], [1, 1, last - 1], [last // 3, last // 2]):
            got = by_kernel(op, dtype, n, 3, sorted(cuts), 1, 7)
            np.testing.assert_array_equal(got, want, err_msg=f"{n} in pieces at {cuts}")


@pytest.mark.parametrize(("dtype", "lo", "hi"), [
    ("int32", -(2**31), 2**31 - 1), ("int32", 0, 2**31 - 1), ("int32", 6, 7), ("int32", -9, 3),
    ("int64", -(2**63), 2**63 - 1), ("int64", 0, 2**63 - 1), ("int64", -1, 2**33),
])  # fmt: skip
def test_integer_kernels_with_wide_ranges(dtype: str, lo: int, hi: int) -> None:
    want = by_numpy("RandomUniformInt", dtype, 20001, 3, lo, hi)
    np.testing.assert_array_equal(by_kernel("RandomUniformInt", dtype, 20001, 3, [], lo, hi), want)
