"""Pooling on arrays, and the geometry that all of pooling shares."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from staticgraph.ir import dtypes
from staticgraph.ir.dims import Dim
from staticgraph.ir.op import Infer, RuleError
from staticgraph.ir.types import TensorType
from staticgraph.ops.conv import ConvForm
from staticgraph.ops.windows import (
    Axis,
    axis_windows,
    checked,
    ints,
    np_inner,
    np_padded,
    np_places,
    only_spatial,
)

Attrs = Mapping[str, Any]


# ---------------------------------------------------------------- geometry
def pool_axes(
    ctx: Infer, form: ConvForm, dims: tuple[Dim, ...], attrs: Attrs
) -> tuple[tuple[int, ...], list[Axis]]:
    """Positions of the axes that windows slide over, and how they do."""
    lists = {"ksize": attrs["ksize"], "strides": attrs["strides"]}
    at = checked(
        TensorType(dtypes.float32, dims), "the input", attrs["data_format"], form.formats, **lists
    )
    only_spatial(at, **lists)
    if attrs["padding"] not in ("SAME", "VALID"):
        raise RuleError(f"padding is 'SAME' or 'VALID', not {attrs['padding']!r}")
    return at, [
        axis_windows(ctx, dims[i], attrs["ksize"][i], attrs["strides"][i], 1, attrs["padding"])
        for i in at
    ]


def known_axes(
    form: ConvForm, dims: tuple[Dim, ...], attrs: Attrs
) -> tuple[tuple[int, ...], list[Axis]]:
    """As `pool_axes`, of arguments that were checked before."""
    return pool_axes(Infer(lambda hint: 0), form, dims, attrs)


def pooled_dims(ctx: Infer, form: ConvForm, dims: tuple[Dim, ...], attrs: Attrs) -> tuple[Dim, ...]:
    """The shape that pooling gives."""
    at, axes = pool_axes(ctx, form, dims, attrs)
    out = list(dims)
    for i, a in zip(at, axes, strict=True):
        out[i] = a.out
    return tuple(out)


# ---------------------------------------------------------------- on arrays
def _np_last(x: np.ndarray, attrs: Attrs) -> np.ndarray:
    return x if attrs["data_format"].endswith("C") else np.moveaxis(x, 1, -1)


def _np_back(x: np.ndarray, attrs: Attrs) -> np.ndarray:
    return x if attrs["data_format"].endswith("C") else np.ascontiguousarray(np.moveaxis(x, -1, 1))


def _np_stack(x: np.ndarray, axes: list[Axis], value: Any) -> np.ndarray:
    """Windows, channels last, as [place, N, *out, C]."""
    padded = np_padded(x, axes, value)
    return np.stack([padded[cut] for _, cut in np_places(axes)])


def _np_lowest(dtype: np.dtype[Any]) -> Any:
    return dtypes.as_dtype(dtype).min if dtype.kind in "iu" else -np.inf


def np_max(form: ConvForm) -> Callable[..., np.ndarray]:
    """The maximum of each window."""

    def rule(x: np.ndarray, **attrs: Any) -> np.ndarray:
        _, axes = known_axes(form, x.shape, attrs)
        stack = _np_stack(_np_last(x, attrs), axes, _np_lowest(x.dtype))
        return _np_back(stack.max(0), attrs)

    return rule


def np_place(form: ConvForm) -> Callable[..., np.ndarray]:
    """Where in its window each maximum is."""

    def rule(x: np.ndarray, **attrs: Any) -> np.ndarray:
        _, axes = known_axes(form, x.shape, attrs)
        stack = _np_stack(_np_last(x, attrs), axes, _np_lowest(x.dtype))
        return _np_back(stack.argmax(0).astype(np.int32), attrs)

    return rule


def np_spread(form: ConvForm) -> Callable[..., np.ndarray]:
    """Numbers put at their places in windows, summed over windows."""

    def rule(
        dy: np.ndarray, place: np.ndarray, *, orig_input_shape: Any, **attrs: Any
    ) -> np.ndarray:
        _, axes = known_axes(form, tuple(orig_input_shape), attrs)
        dy, place = _np_last(dy, attrs), _np_last(place, attrs)
        like = _np_last(np.zeros(orig_input_shape, dy.dtype), attrs)
        out = np_padded(like, axes)
        for j, (_, cut) in enumerate(np_places(axes)):
            out[cut] += np.where(place == j, dy, dy.dtype.type(0))
        return _np_back(np_inner(out, axes), attrs)

    return rule


def np_pick(form: ConvForm) -> Callable[..., np.ndarray]:
    """The elements at given places of windows."""

    def rule(x: np.ndarray, place: np.ndarray, **attrs: Any) -> np.ndarray:
        _, axes = known_axes(form, x.shape, attrs)
        stack = _np_stack(_np_last(x, attrs), axes, 0)
        picked = np.take_along_axis(stack, _np_last(place, attrs)[None].astype(np.int64), 0)
        return _np_back(picked[0], attrs)

    return rule


def _np_counts(axes: list[Axis], dtype: Any) -> np.ndarray:
    counts = np.ones((1,) * (len(axes) + 2), dtype)
    for i, a in enumerate(axes):
        size, kernel, out, before = ints((a.size, a.kernel, a.out, a.before))
        start = np.arange(out) * a.stride - before
        n = np.minimum(start + kernel, size) - np.maximum(start, 0)
        counts = counts * n.astype(dtype).reshape(
            [-1 if j == i + 1 else 1 for j in range(len(axes) + 2)]
        )
    return counts


def np_mean(form: ConvForm) -> Callable[..., np.ndarray]:
    """The mean of each window without its padding."""

    def rule(x: np.ndarray, **attrs: Any) -> np.ndarray:
        _, axes = known_axes(form, x.shape, attrs)
        total = _np_stack(_np_last(x, attrs), axes, 0).sum(0, dtype=x.dtype)
        return _np_back(total / _np_counts(axes, x.dtype), attrs)

    return rule


def np_mean_grad(form: ConvForm) -> Callable[..., np.ndarray]:
    """Numbers shared evenly among the elements of windows."""

    def rule(dy: np.ndarray, *, orig_input_shape: Any, **attrs: Any) -> np.ndarray:
        _, axes = known_axes(form, tuple(orig_input_shape), attrs)
        share = _np_last(dy, attrs) / _np_counts(axes, dy.dtype)
        out = np_padded(_np_last(np.zeros(orig_input_shape, dy.dtype), attrs), axes)
        for _, cut in np_places(axes):
            out[cut] += share
        return _np_back(np_inner(out, axes), attrs)

    return rule
