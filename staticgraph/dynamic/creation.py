"""Functions that make tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from staticgraph.dynamic import generator as streams
from staticgraph.dynamic.apply import Taped, wrap
from staticgraph.dynamic.device import Device
from staticgraph.dynamic.element_types import FLOATS, NUMPY, as_numpy, default_float
from staticgraph.dynamic.elementwise import cast
from staticgraph.dynamic.modes import MODES
from staticgraph.dynamic.shapes import lengths_of
from staticgraph.dynamic.tensor import Tensor
from staticgraph.errors import DtypeError, ShapeError, UsageError
from staticgraph.ir import loc
from staticgraph.ir.op import RuleError, lookup
from staticgraph.ops.random import (
    philox_multinomial,
    philox_normal,
    philox_permutation,
    philox_poisson,
    philox_uniform,
    philox_uniform_int,
)


def _made(array: np.ndarray, requires_grad: bool, device: Any = None) -> Tensor:
    if device is not None:
        Device(device)
    t: Tensor = wrap(array)
    return t.requires_grad_() if requires_grad else t


def _kind(dtype: object, otherwise: np.dtype | None = None) -> np.dtype:
    return (otherwise or default_float()) if dtype is None else as_numpy(dtype)


def _listed(data: Any) -> Any:
    if isinstance(data, Taped):
        return data._array
    if isinstance(data, (list, tuple)):
        return [_listed(v) for v in data]
    return data


def _python_only(data: Any) -> bool:
    if isinstance(data, (list, tuple)):
        return all(_python_only(v) for v in data)
    return not isinstance(data, (np.ndarray, np.generic))


def _shortened(data: Any) -> str:
    text = repr(data)
    return text if len(text) <= 60 else f"{text[:57]}..."


def array_of(data: Any, dtype: object = None) -> np.ndarray:
    """A new array of numbers, nested lists, an array or a tensor.

    Raises:
      ShapeError: the nested lists have different lengths.
      DtypeError: there is something in it that is no number.
    """
    plain = _listed(data)
    try:
        a = np.array(plain)
    except ValueError:
        raise ShapeError(
            f"the nested lists have different lengths: {_shortened(data)}", loc=loc.caller()
        ) from None
    if a.dtype not in NUMPY or a.dtype == object:
        raise DtypeError(f"{str(data)[:60]!r} holds something that is no number", loc=loc.caller())
    if dtype is not None:
        wanted = as_numpy(dtype)
        with np.errstate(all="ignore"):
            return a if a.dtype == wanted else a.astype(wanted)
    if _python_only(plain):
        if a.dtype == np.float64:
            return a.astype(default_float())
        if a.dtype == np.complex128 and default_float() == np.float32:
            return a.astype(np.complex64)
    return a


def tensor(
    data: Any, *, dtype: object = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """A tensor with a copy of `data`: a number, nested lists, an array.

    Args:
      dtype: the element type; by default that of the array, int64 for Python integers and the
        default float type for Python floats.
      requires_grad: ask for a gradient.

    >>> tensor([[1, 2], [3, 4]])
    tensor([[1, 2],
            [3, 4]])
    >>> tensor(2.5, requires_grad=True)
    tensor(2.5000, requires_grad=True)
    """
    return _made(array_of(data, dtype), requires_grad, device)


def as_tensor(data: Any, dtype: object = None, device: Any = None) -> Tensor:
    """`data` as a tensor, in the same memory where that is possible."""
    if device is not None:
        Device(device)
    if isinstance(data, Tensor):
        return data if dtype is None else data.to(dtype)
    if isinstance(data, np.ndarray) and (dtype is None or as_numpy(dtype) == data.dtype):
        return from_numpy(data)
    return tensor(data, dtype=dtype)


asarray = as_tensor


def from_numpy(ndarray: np.ndarray) -> Tensor:
    """A tensor in the memory of an array: a change of one is seen in the other.

    >>> import numpy as np
    >>> a = np.zeros(2)
    >>> x = from_numpy(a)
    >>> a[0] = 1
    >>> x
    tensor([1., 0.], dtype=torch.float64)
    """
    if not isinstance(ndarray, np.ndarray):
        raise UsageError(
            f"from_numpy takes an array, got {type(ndarray).__name__}", loc=loc.caller()
        )
    if ndarray.dtype not in NUMPY or ndarray.dtype == object:
        raise DtypeError(
            f"there are no tensors of {ndarray.dtype}", loc=loc.caller(),
            hint="convert it with a.astype(...)",
        )  # fmt: skip
    return wrap(ndarray if ndarray.__class__ is np.ndarray else ndarray.view(np.ndarray))  # type: ignore[no-any-return]


def zeros(
    *size: Any, dtype: object = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """Zeros.

    >>> zeros(2, 3)
    tensor([[0., 0., 0.],
            [0., 0., 0.]])
    """
    return _made(np.zeros(lengths_of(size, "zeros"), _kind(dtype)), requires_grad, device)


def ones(
    *size: Any, dtype: object = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """Ones."""
    return _made(np.ones(lengths_of(size, "ones"), _kind(dtype)), requires_grad, device)


def empty(
    *size: Any, dtype: object = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """A tensor whose values mean nothing yet."""
    return _made(np.empty(lengths_of(size, "empty"), _kind(dtype)), requires_grad, device)


def full(
    size: Sequence[int], fill_value: Any, *, dtype: object = None, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """One value, repeated."""
    value = array_of(fill_value)
    sizes = lengths_of((size,), "full")
    return _made(np.full(sizes, value, _kind(dtype, value.dtype)), requires_grad, device)


def eye(
    n: int, m: int | None = None, *, dtype: object = None, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """The identity matrix."""
    return _made(np.eye(n, m, dtype=_kind(dtype)), requires_grad, device)


def arange(
    start: Any, end: Any = None, step: Any = 1, *, dtype: object = None, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """start, start + step, ... below `end`.

    >>> arange(4)
    tensor([0, 1, 2, 3])
    """
    start, end, step = (v._array.item() if isinstance(v, Taped) else v for v in (start, end, step))
    if end is None:
        start, end = 0, start
    if step == 0 or (end - start) * step < 0:
        raise ShapeError(
            f"arange from {start} to {end} never ends with step {step}", loc=loc.caller()
        )
    whole = all(isinstance(v, (int, np.integer)) for v in (start, end, step))
    kind = _kind(dtype, np.dtype(np.int64) if whole else None)
    n = max(0, math.ceil((end - start) / step))
    made = np.arange(n, dtype=np.int64 if whole else np.float64) * step + start
    return _made(made.astype(kind), requires_grad, device)


def linspace(
    start: Any, end: Any, steps: int, *, dtype: object = None, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """`steps` values at equal distances from `start` to `end`, both included.

    >>> linspace(0, 1, 3)
    tensor([0.0000, 0.5000, 1.0000])
    """
    kind = _kind(dtype)
    if steps < 0:
        raise ShapeError(f"linspace of {steps} values", loc=loc.caller())
    a, b = (float(v) for v in (start, end))
    if kind not in FLOATS:
        return _made(np.linspace(a, b, steps).astype(kind), requires_grad, device)
    first, last = np.asarray(a, kind), np.asarray(b, kind)
    if steps < 2:
        return _made(np.full(steps, first), requires_grad, device)
    step = np.asarray((last - first) / np.asarray(steps - 1, kind), kind)
    i = np.arange(steps)  # counted from the nearer end, and rounded once, as PyTorch does
    ends = [v.astype(np.float64) for v in (first, last, step)]
    low, high = ends[0] + ends[2] * i, ends[1] - ends[2] * i[::-1]
    return _made(np.where(i < steps // 2, low, high).astype(kind), requires_grad, device)


def logspace(start: float, end: float, steps: int, base: float = 10.0, **kwargs: Any) -> Tensor:
    """Powers of `base` whose exponents are at equal distances."""
    return base ** linspace(start, end, steps, **kwargs)  # type: ignore[no-any-return]


def _like(function: Any, name: str) -> Any:
    def make(
        input: Tensor, *args: Any, dtype: object = None, device: Any = None,
        requires_grad: bool = False,
    ) -> Tensor:  # fmt: skip
        kind = input._array.dtype if dtype is None else dtype
        return function(  # type: ignore[no-any-return]
            input._array.shape, *args, dtype=kind, device=device, requires_grad=requires_grad
        )

    make.__name__ = make.__qualname__ = name
    make.__doc__ = f"`{name.removesuffix('_like')}` with the shape and type of a tensor."
    return make


def _constant_like(function: Any, name: str, record: str) -> Any:
    make = _like(function, name)

    def made(input: Tensor, **options: Any) -> Tensor:
        if MODES.tracer is None:
            return make(input, **options)  # type: ignore[no-any-return]
        return cast(lookup(record)(input.detach()), options.get("dtype") or input.dtype)

    made.__name__ = made.__qualname__ = name
    made.__doc__ = make.__doc__
    return made


zeros_like = _constant_like(zeros, "zeros_like", "ZerosLike")
ones_like = _constant_like(ones, "ones_like", "OnesLike")
empty_like, full_like = _like(empty, "empty_like"), _like(full, "full_like")


# ---------------------------------------------------------------- random numbers
def _draw(record: Any, shape: Any, dtype: object, source: streams.Generator | None) -> Tensor:
    kind = _kind(dtype)
    if kind not in FLOATS:
        raise DtypeError(f"random numbers of type {NUMPY[kind].name}", loc=loc.caller())
    drawn = kind if kind.kind == "f" else np.dtype(np.float32)
    attrs = {"shape": shape, "dtype": NUMPY[drawn]}
    try:
        out = (source or streams.DEFAULT).tensor(record, (), attrs, wrap)
    except (RuleError, ValueError) as e:
        raise ShapeError(f"random numbers of shape {list(shape)}: {e}", loc=loc.caller()) from None
    return cast(out, kind)


def _asking(t: Tensor, requires_grad: bool, device: Any) -> Tensor:
    if device is not None:
        Device(device)
    return t.requires_grad_() if requires_grad else t


def randn(
    *size: Any, generator: streams.Generator | None = None, dtype: object = None,
    device: Any = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Normal numbers of mean 0 and deviation 1."""
    drawn = _draw(philox_normal, lengths_of(size, "randn"), dtype, generator)
    return _asking(drawn, requires_grad, device)


def rand(
    *size: Any, generator: streams.Generator | None = None, dtype: object = None,
    device: Any = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Even numbers in [0, 1)."""
    drawn = _draw(philox_uniform, lengths_of(size, "rand"), dtype, generator)
    return _asking(drawn, requires_grad, device)


rand_like, randn_like = _like(rand, "rand_like"), _like(randn, "randn_like")


def normal(
    mean: Any = 0.0, std: Any = 1.0, size: Any = None, *,
    generator: streams.Generator | None = None, dtype: object = None,
) -> Tensor:  # fmt: skip
    """Normal numbers; mean and deviation may be tensors."""
    if size is None:
        size = np.broadcast_shapes(*[np.shape(_listed(v)) for v in (mean, std)])
    return randn(tuple(size), generator=generator, dtype=dtype) * std + mean  # type: ignore[no-any-return]


def randint(
    low: int, high: Any = None, size: Any = None, *, generator: streams.Generator | None = None,
    dtype: object = None, device: Any = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Integers from `low` (0 if left out) up to, but without, `high`."""
    if size is None:
        low, high, size = 0, low, high
    if high <= low:
        raise ShapeError(f"randint from {low} to {high} has nothing to draw from", loc=loc.caller())
    bounds = (np.array(low, np.int64), np.array(high, np.int64))
    attrs = {"shape": lengths_of((size,), "randint")}
    out = (generator or streams.DEFAULT).tensor(philox_uniform_int, bounds, attrs, wrap)
    return _asking(cast(out, _kind(dtype, np.dtype(np.int64))), requires_grad, device)


def randperm(n: int, *, generator: streams.Generator | None = None, dtype: object = None) -> Tensor:
    """The numbers from 0 to n - 1 in random order."""
    out = (generator or streams.DEFAULT).tensor(philox_permutation, (), {"n": n}, wrap)
    return cast(out, _kind(dtype, np.dtype(np.int64)))


def bernoulli(input: Tensor, *, generator: streams.Generator | None = None) -> Tensor:
    """1 with the probability that each element is, else 0."""
    drawn = _draw(philox_uniform, input._array.shape, input._array.dtype, generator)
    return cast(drawn < input.detach(), input._array.dtype)


def multinomial(
    input: Tensor, num_samples: int, replacement: bool = False, *,
    generator: streams.Generator | None = None,
) -> Tensor:  # fmt: skip
    """Places along the last axis, drawn by weight, with or without putting back."""
    weights = np.atleast_2d(input._array)
    source = generator or streams.DEFAULT
    with np.errstate(divide="ignore"):
        logits = np.log(weights)
    if replacement:
        attrs = {"num_samples": num_samples, "output_dtype": NUMPY[np.dtype(np.int64)]}
        out = source.take(philox_multinomial, (logits,), attrs)
    else:  # the greatest of logits with Gumbel noise are a draw without putting back
        if (np.count_nonzero(weights, axis=-1) < num_samples).any():
            raise ShapeError(
                f"multinomial: {num_samples} draws without replacement from fewer weights that "
                "are not zero",
                loc=loc.caller(),
            )
        attrs = {"shape": logits.shape, "dtype": NUMPY[np.dtype(np.float64)]}
        noise = -np.log(-np.log(np.maximum(source.take(philox_uniform, (), attrs), 1e-300)))
        out = np.argsort(-(logits + noise), axis=-1, kind="stable")[:, :num_samples]
    return _made(np.ascontiguousarray(out if input._array.ndim > 1 else out[0]), False)


def poisson(input: Tensor, *, generator: streams.Generator | None = None) -> Tensor:
    """Poisson numbers, each element a rate."""
    attrs = {"shape": (), "dtype": input.dtype}
    out = (generator or streams.DEFAULT).take(philox_poisson, (input._array,), attrs)
    return _made(out, False)
