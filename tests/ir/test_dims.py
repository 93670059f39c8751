"""Laws of sizes: a commutative ring, substitution, floor division and remainder."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from staticgraph.ir.dims import (
    Dim,
    Poly,
    Symbol,
    evaluate,
    floordiv,
    maximum,
    minimum,
    mod,
    product,
    substitute,
    symbol,
    symbols_of,
)

NAMES = ("a", "b", "c")
LAWS = settings(max_examples=150, deadline=None)


def combine(t: st.SearchStrategy[Dim]) -> st.SearchStrategy[Dim]:
    def two(f: object) -> st.SearchStrategy[Dim]:
        return st.tuples(t, t).map(lambda p: f(*p))  # type: ignore[operator]

    divisor = st.integers(1, 6)
    return st.one_of(
        two(lambda x, y: x + y), two(lambda x, y: x - y), two(lambda x, y: x * y), two(maximum),
        two(minimum), st.tuples(t, divisor).map(lambda p: floordiv(*p)),
        st.tuples(t, divisor).map(lambda p: mod(*p)),
    )  # fmt: skip


leaves = st.one_of(st.integers(-6, 6), st.sampled_from([symbol(n) for n in NAMES]))
sizes = st.recursive(leaves, combine, max_leaves=6)
values = st.fixed_dictionaries({Symbol(n): st.integers(0, 9) for n in NAMES})


@LAWS
@given(sizes, sizes, sizes)
def test_sizes_form_a_commutative_ring(x: Dim, y: Dim, z: Dim) -> None:
    assert x + y == y + x
    assert x * y == y * x
    assert (x + y) + z == x + (y + z)
    assert (x * y) * z == x * (y * z)
    assert x * (y + z) == x * y + x * z
    assert x + 0 == x
    assert x * 1 == x
    assert x * 0 == 0
    assert x - x == 0
    assert x - y == -(y - x)


@LAWS
@given(sizes, sizes)
def test_equal_sizes_hash_equal_and_print_equal(x: Dim, y: Dim) -> None:
    left, right = (x + y) * (x - y), x * x - y * y
    assert left == right
    assert hash(left) == hash(right)
    assert str(left) == str(right)


@LAWS
@given(sizes)
def test_a_constant_is_always_an_int(x: Dim) -> None:
    assert isinstance(x, int) or any(m for m, _ in x.terms)
    assert not isinstance(x, Poly) or all(c for _, c in x.terms)


@LAWS
@given(sizes, sizes, values)
def test_arithmetic_on_sizes_is_arithmetic_on_their_values(
    x: Dim, y: Dim, env: dict[Symbol, int]
) -> None:
    a, b = evaluate(x, env), evaluate(y, env)
    for d, want in ((x + y, a + b), (x - y, a - b), (x * y, a * b), (-x, -a),
                    (maximum(x, y), max(a, b)), (minimum(x, y), min(a, b)),
                    (product([x, y, 2]), a * b * 2)):  # fmt: skip
        assert evaluate(d, env) == want


@LAWS
@given(sizes, st.integers(-6, 6).filter(bool), values)
def test_floor_division_and_remainder_follow_python(x: Dim, k: int, env: dict[Symbol, int]) -> None:
    a = evaluate(x, env)
    assert evaluate(floordiv(x, k), env) == a // k
    assert evaluate(mod(x, k), env) == a % k
    assert evaluate(floordiv(x, k) * k + mod(x, k), env) == a


@LAWS
@given(sizes, sizes, values)
def test_floor_division_by_a_size_follows_python(x: Dim, y: Dim, env: dict[Symbol, int]) -> None:
    b = evaluate(y, env)
    if y == 0 or b == 0:
        return  # a size of nought makes what was cancelled meaningless; callers guard against it
    assert evaluate(floordiv(x, y), env) == evaluate(x, env) // b
    assert evaluate(mod(x, y), env) == evaluate(x, env) % b


@LAWS
@given(sizes, st.integers(1, 6))
def test_division_is_exact_where_it_can_be(x: Dim, k: int) -> None:
    assert floordiv(x * k, k) == x
    assert mod(x * k, k) == 0


@LAWS
@given(sizes, sizes, sizes, values)
def test_substitution_agrees_with_evaluation(
    x: Dim, y: Dim, z: Dim, env: dict[Symbol, int]
) -> None:
    a, b = Symbol("a"), Symbol("b")
    replaced = substitute(x, {a: y, b: z})
    inner = {**env, a: evaluate(y, env), b: evaluate(z, env)}
    assert evaluate(replaced, env) == evaluate(x, inner)


@LAWS
@given(sizes, values)
def test_substituting_numbers_for_all_symbols_evaluates(x: Dim, env: dict[Symbol, int]) -> None:
    assert substitute(x, env) == evaluate(x, env)
    assert symbols_of(substitute(x, env)) == frozenset()


@LAWS
@given(sizes)
def test_a_size_depends_only_on_its_symbols(x: Dim) -> None:
    env = {s: 3 for s in symbols_of(x)}
    assert isinstance(evaluate(x, env), int)
    assert substitute(x, {Symbol("unrelated"): 5}) == x


def test_sizes_print_as_documented() -> None:
    n, m = symbol("n"), symbol("m")
    assert str(2 * n + 1) == "2*n + 1"
    assert str(floordiv(n + 1, 2)) == "floordiv(n + 1, 2)"
    assert str(m * n - n) == "m*n + -1*n"
    assert floordiv(6 * n * m, 2 * m) == 3 * n
    assert maximum(n + 1, n) == n + 1
    assert minimum(n, n + 2) == n
    assert maximum(n, 0) == n
    assert maximum(mod(n, 4), 0) == mod(n, 4)


def test_a_maximum_of_negative_sizes_is_not_taken_for_a_size() -> None:
    d = maximum(maximum(symbol("a") - 5, symbol("b") - 7), 0)
    assert evaluate(d, {Symbol("a"): 0, Symbol("b"): 0}) == 0
    d = maximum(mod(symbol("a"), -4), 0)
    assert evaluate(d, {Symbol("a"): 3}) == 0
