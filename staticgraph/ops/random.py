"""Random draws.

What a user builds (``RandomUniform``, ...) has the effect "random": each run advances its stream.
It decomposes to a pure record that takes the number of blocks used so far and gives, beside the
draw, the number after it; the compiler threads that counter through the run as state.  Gradients
therefore see the same draw as the forward pass.

`nondeterministic` marks a draw for which the program set no seed: its `seed` and `seed2` were
drawn when the graph was built.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from staticgraph.errors import InvalidArgumentError
from staticgraph.ir import draws, dtypes, philox
from staticgraph.ir.dims import Dim
from staticgraph.ir.dtypes import DType
from staticgraph.ir.op import Infer, Op, RuleError, Sample, lookup
from staticgraph.ir.types import TensorType, UnknownRankError
from staticgraph.ops.rules import floats

INT = (dtypes.int32, dtypes.int64)
REAL = (dtypes.float16, dtypes.float32, dtypes.float64)

_SEEDS = {"seed": 0, "seed2": 0}
_MARKED = {**_SEEDS, "nondeterministic": False}
_COUNTER = {"counter": dtypes.int64}
_SAMPLE_SEEDS = {"seed": 3, "seed2": 5}
_START = np.array(7, np.int64)


# ---------------------------------------------------------------- shared rules
def _attr_dtype(allowed: Sequence[DType], attr: str = "dtype") -> Callable[..., DType]:
    def rule(*_: DType, **attrs: Any) -> DType:
        d = dtypes.as_dtype(attrs[attr])
        if d not in allowed:
            names = ", ".join(a.name for a in allowed)
            raise RuleError(f"does not make {d.name}; it makes {names}", kind="dtype")
        return d

    return rule


def _sizes(shape: Any) -> tuple[Dim, ...]:
    if shape is None:
        raise UnknownRankError
    if not isinstance(shape, tuple):
        raise RuleError("shape must be a list of sizes, got a scalar")
    for d in shape:
        if isinstance(d, int) and d < 0:
            raise RuleError(f"shape holds the negative size {d}")
    return shape


def _shape(ctx: Infer, *_: TensorType, shape: Any, **__: Any) -> tuple[Dim, ...]:
    return _sizes(shape)


def _with_counter(shape: Callable[..., Any]) -> Callable[..., Any]:
    """The shape rule of a pure record, from that of the op it serves."""

    def rule(ctx: Infer, counter: TensorType, *types: TensorType, **attrs: Any) -> Any:
        try:
            return shape(ctx, *types, **attrs), ()
        except UnknownRankError:
            return None, ()

    return rule


def _and_counter(dtype: Callable[..., DType]) -> Callable[..., tuple[DType, DType]]:
    def rule(counter: DType, *inputs: DType, **attrs: Any) -> tuple[DType, DType]:
        return dtype(*inputs, **attrs), dtypes.int64

    return rule


def _numpy(draw: Callable[..., philox.Draw]) -> Callable[..., tuple[Any, np.int64]]:
    """A numpy rule from `draw(seed, seed2, counter, *arrays, **attrs)`."""

    def rule(counter: np.ndarray, *arrays: np.ndarray, seed: int, seed2: int, **attrs: Any) -> Any:
        try:
            out, after = draw(seed, seed2, int(counter), *arrays, **attrs)
        except ValueError as e:  # a value that only the run could check
            raise InvalidArgumentError(str(e)) from None
        return out, np.int64(after)

    return rule


def _pair(
    name: str, pure_name: str, operands: tuple[str, ...], draw: Callable[..., philox.Draw], *,
    dtype: Callable[..., DType], shape: Callable[..., Any], attrs: dict[str, Any],
    samples: tuple[Sample, ...], library: str | None = None,
    operand_dtypes: dict[str, DType] | None = None, doc: str = "",
) -> tuple[Op, Op]:  # fmt: skip
    """The op that users build and the pure record behind it."""
    own = operand_dtypes or {}
    pure = Op(
        pure_name, ("counter", *operands), _and_counter(dtype), _with_counter(shape),
        _numpy(draw), None, library=library, host=library is None, results=2, cheap=False,
        attrs={**_SEEDS, **attrs}, operand_dtypes={**_COUNTER, **own},
        samples=lambda: tuple(
            Sample((_START, *s.args), {**_SAMPLE_SEEDS, **s.attrs}, grad=False) for s in samples
        ),
        doc=f"{name} of a stream from which `counter` blocks have been used.",
    )  # fmt: skip

    def decompose(counter: Any, *data: Any, nondeterministic: bool, **given: Any) -> Any:
        del nondeterministic
        static = {o[1:]: given.pop(o[1:]) for o in operands if o.startswith("@")}
        names = [o for o in operands if not o.startswith("@")]
        return pure(counter=counter, **dict(zip(names, data, strict=True)), **static, **given)

    op = Op(
        name, operands, dtype, shape, None, None, decompose=decompose, effect="random",
        attrs={**_MARKED, **attrs}, operand_dtypes=own, cheap=False, doc=doc,
    )  # fmt: skip
    return op, pure


# ---------------------------------------------------------------- floats of a shape
def _floats(draw: Callable[..., philox.Draw]) -> Callable[..., philox.Draw]:
    def rule(seed: int, seed2: int, counter: int, *, shape: Any, dtype: Any) -> philox.Draw:
        return draw(seed, seed2, counter, shape, dtypes.as_dtype(dtype).np)

    return rule


_FLOAT_SAMPLES = tuple(
    Sample((), {"shape": shape, "dtype": dtypes.as_dtype(dtype)})
    for shape, dtype in (
        ((2, 3), "float32"), ((), "float32"), ((0, 4), "float32"), ((17,), "float64"),
        ((5,), "float16"),
    )
)  # fmt: skip

random_standard_normal, philox_normal = _pair(
    "RandomStandardNormal", "PhiloxNormal", ("@shape",), _floats(philox.random_standard_normal),
    dtype=_attr_dtype(REAL), shape=_shape, attrs={"dtype": dtypes.float32},
    samples=_FLOAT_SAMPLES, library="philox", doc="Normal numbers of mean 0 and deviation 1.",
)  # fmt: skip
random_uniform, philox_uniform = _pair(
    "RandomUniform", "PhiloxUniform", ("@shape",), _floats(philox.random_uniform),
    dtype=_attr_dtype(REAL), shape=_shape, attrs={"dtype": dtypes.float32},
    samples=_FLOAT_SAMPLES, library="philox", doc="Uniform numbers in [0, 1).",
)  # fmt: skip
truncated_normal, philox_truncated_normal = _pair(
    "TruncatedNormal", "PhiloxTruncatedNormal", ("@shape",), _floats(philox.truncated_normal),
    dtype=_attr_dtype(REAL), shape=_shape, attrs={"dtype": dtypes.float32},
    samples=_FLOAT_SAMPLES, library="philox",
    doc="Normal numbers, those of magnitude 2 or more drawn again.",
)  # fmt: skip


# ---------------------------------------------------------------- integers
def _int_dtype(minval: DType, maxval: DType, **_: Any) -> DType:
    if minval is not maxval or minval not in INT:
        raise RuleError(
            f"bounds are both int32 or both int64, got {minval.name} and {maxval.name}",
            kind="dtype",
        )
    return minval


def _int_shape(
    ctx: Infer, lo: TensorType, hi: TensorType, *, shape: Any, **_: Any
) -> tuple[Dim, ...]:
    for t in (lo, hi):
        if t.shape is not None and t.shape != ():
            raise RuleError(f"bounds are scalars, got a tensor of rank {len(t.shape)}")
    return _sizes(shape)


def _draw_ints(
    seed: int, seed2: int, counter: int, minval: np.ndarray, maxval: np.ndarray, *, shape: Any
) -> philox.Draw:
    lo, hi = int(minval), int(maxval)
    return philox.random_uniform_int(seed, seed2, counter, shape, lo, hi, minval.dtype)


random_uniform_int, philox_uniform_int = _pair(
    "RandomUniformInt", "PhiloxUniformInt", ("@shape", "minval", "maxval"), _draw_ints,
    dtype=_int_dtype, shape=_int_shape, attrs={}, library="philox",
    samples=tuple(
        Sample((np.array(lo, d), np.array(hi, d)), {"shape": shape})
        for lo, hi, d, shape in (
            (0, 1000, np.int32, (2, 3)), (-5, 5, np.int64, (7,)), (0, 2, np.int32, (0,)),
        )
    ),
    doc="Integers in [minval, maxval).",
)  # fmt: skip


# ---------------------------------------------------------------- shuffles
def _permutation(seed: int, seed2: int, counter: int, *, n: int) -> philox.Draw:
    return draws.random_shuffle(seed, seed2, counter, n)


philox_permutation: Op = Op(
    "PhiloxPermutation", ("counter", "@n"), lambda counter, **_: (dtypes.int64, dtypes.int64),
    lambda ctx, counter, *, n, **_: ((n,), ()), _numpy(_permutation), None, host=True, results=2,
    attrs=_SEEDS, operand_dtypes=_COUNTER, cheap=False,
    samples=lambda: tuple(
        Sample((_START,), {**_SAMPLE_SEEDS, "n": n}, grad=False) for n in (0, 1, 8)
    ),
    doc="A permutation of ``range(n)`` from a stream of which `counter` blocks have been used.",
)  # fmt: skip


def _shuffle(counter: Any, value: Any, *, seed: int, seed2: int, nondeterministic: bool) -> Any:
    del nondeterministic
    if not value.type.dims:  # nothing to shuffle, and nothing is drawn
        return lookup("Identity")(value), lookup("Identity")(counter)
    order, after = philox_permutation(counter, value.type.dims[0], seed=seed, seed2=seed2)
    return lookup("GatherV2")(value, order, 0), after


random_shuffle: Op = Op(
    "RandomShuffle", ("value",), lambda value, **_: value, lambda ctx, value, **_: value.dims,
    None, None, decompose=_shuffle, attrs=_MARKED, effect="random", cheap=False,
    doc="The rows of `value` in random order.",
)  # fmt: skip


# ---------------------------------------------------------------- categories
def _multinomial_shape(
    ctx: Infer, logits: TensorType, *, num_samples: Any, **_: Any
) -> tuple[Dim, ...]:
    if logits.shape is not None and len(logits.shape) != 2:
        raise RuleError(f"takes logits of rank 2, got rank {len(logits.shape)}")
    if isinstance(num_samples, int) and num_samples < 0:
        raise RuleError(f"num_samples {num_samples} is negative")
    if num_samples is None:
        raise UnknownRankError
    return (logits.shape[0] if logits.shape is not None else ctx.fresh("n"), num_samples)


def _draw_classes(
    seed: int, seed2: int, counter: int, logits: np.ndarray, *, num_samples: int, output_dtype: Any
) -> philox.Draw:
    kind = dtypes.as_dtype(output_dtype).np
    return draws.multinomial(seed, seed2, counter, logits, num_samples, kind)


multinomial, philox_multinomial = _pair(
    "Multinomial", "PhiloxMultinomial", ("logits", "@num_samples"), _draw_classes,
    dtype=_attr_dtype(INT, "output_dtype"), shape=_multinomial_shape,
    attrs={"output_dtype": dtypes.int64},
    samples=(
        Sample((floats(shape=(2, 5)),), {"num_samples": 4}),
        Sample((floats(shape=(3, 1)),), {"num_samples": 1, "output_dtype": dtypes.int32}),
        Sample((floats(shape=(0, 3)),), {"num_samples": 2}),
    ),
    doc="Classes drawn from each row of unnormalised log-probabilities.",
)  # fmt: skip


# ---------------------------------------------------------------- gamma and Poisson
def _gamma_dtype(alpha: DType, **_: Any) -> DType:
    if alpha not in REAL:
        raise RuleError(f"alpha is a float, got {alpha.name}", kind="dtype")
    return alpha


def _appended_shape(ctx: Infer, parameter: TensorType, *, shape: Any, **_: Any) -> tuple[Dim, ...]:
    return (*_sizes(shape), *parameter.dims)


def _draw_gamma(
    seed: int, seed2: int, counter: int, alpha: np.ndarray, *, shape: Any
) -> philox.Draw:
    return draws.random_gamma(seed, seed2, counter, shape, alpha)


random_gamma, philox_gamma = _pair(
    "RandomGamma", "PhiloxGamma", ("@shape", "alpha"), _draw_gamma,
    dtype=_gamma_dtype, shape=_appended_shape, attrs={},
    samples=(
        Sample((floats(0.3, 3, (3,)),), {"shape": (2,)}),
        Sample((floats(0.3, 3, (), dtype="float64"),), {"shape": ()}),
    ),
    doc="Gamma numbers of scale 1, of the shape ``shape + alpha.shape``.",
)  # fmt: skip


def _draw_poisson(
    seed: int, seed2: int, counter: int, rate: np.ndarray, *, shape: Any, dtype: Any
) -> philox.Draw:
    return draws.random_poisson(seed, seed2, counter, shape, rate, dtypes.as_dtype(dtype).np)


random_poisson, philox_poisson = _pair(
    "RandomPoissonV2", "PhiloxPoisson", ("@shape", "rate"), _draw_poisson,
    dtype=_attr_dtype((*REAL, *INT)), shape=_appended_shape, attrs={"dtype": dtypes.int64},
    samples=(
        Sample((floats(0.3, 30, (3,)),), {"shape": (2,)}),
        Sample((floats(0.3, 3, (), dtype="float64"),), {"shape": (4,), "dtype": dtypes.float32}),
    ),
    doc="Poisson numbers, of the shape ``shape + rate.shape``.",
)  # fmt: skip
