"""Limiting values and norms, mostly of gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from staticgraph.api.framework import name_scope
from staticgraph.api.looked_up import slices_of
from staticgraph.errors import UsageError
from staticgraph.ir import dtypes, loc
from staticgraph.ir.build import constant, convert
from staticgraph.ir.op import lookup

__all__ = [
    "clip_by_average_norm",
    "clip_by_global_norm",
    "clip_by_norm",
    "clip_by_value",
    "global_norm",
]


def clip_by_value(t: Any, clip_value_min: Any, clip_value_max: Any, name: str | None = None) -> Any:
    """The nearest value between two bounds.

    Gradients are those of `maximum` and `minimum`: 0 outside the bounds, 1 on them.

    Args:
      t: a numeric tensor.
      clip_value_min, clip_value_max: bounds, which broadcast to the shape of `t`.

    Raises:
      ShapeError: a bound has more axes than `t` or does not broadcast to it.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.clip_by_value([-3.0, 0.5, 3.0], -1.0, 1.0))
    array([-1. ,  0.5,  1. ], dtype=float32)
    """
    with name_scope(name, "clip_by_value", [t, clip_value_min, clip_value_max]) as scope:
        t = convert(t, name="t")
        below = lookup("Minimum")(t, clip_value_max)
        t.shape.merge_with(below.shape)
        out = lookup("Maximum")(below, clip_value_min, name=scope)
        t.shape.merge_with(out.shape)
        return out


def _all_axes(x: Any) -> Any:
    ndims = x.shape.ndims
    if ndims is not None:
        return tuple(range(ndims))
    return lookup("Range")(0, lookup("Rank")(x), 1, Tidx=dtypes.int32)


def clip_by_norm(t: Any, clip_norm: Any, axes: Any = None, name: str | None = None) -> Any:
    """Scale a tensor down so that its norm is at most `clip_norm`.

    The result is ``t * clip_norm / max(norm(t), clip_norm)``; the gradient at 0 is finite.

    Args:
      t: a floating tensor.
      clip_norm: the largest norm, a positive number.
      axes: axes that one norm is taken over; all of them by default.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.clip_by_norm([3.0, 4.0], 2.5))
    array([1.5, 2. ], dtype=float32)
    """
    with name_scope(name, "clip_by_norm", [t, clip_norm]) as scope:
        t = convert(t, name="t")
        few = slices_of(t) if axes is None else t
        squares = lookup("Sum")(few * few, _all_axes(t) if axes is None else axes, keep_dims=True)
        positive = squares > 0
        safe = lookup("Select")(positive, squares, lookup("OnesLike")(squares))
        norm = lookup("Select")(positive, lookup("Sqrt")(safe), squares)
        intermediate = t * clip_norm
        t.shape.assert_is_compatible_with(intermediate.shape)
        return lookup("Identity")(intermediate / lookup("Maximum")(norm, clip_norm), name=scope)


def global_norm(t_list: Sequence[Any], name: str | None = None) -> Any:
    """The Euclidean norm of all elements of several tensors.

    Args:
      t_list: floating tensors of one dtype; None is left out.

    Raises:
      UsageError: `t_list` is not a list, or holds no tensor.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.global_norm([[3.0], [4.0]]))
    np.float32(5.0)
    """
    _check_list("global_norm", t_list)
    with name_scope(name, "global_norm", t_list):
        tensors = [convert(t, name=f"t_{i}") for i, t in enumerate(t_list) if t is not None]
        if not tensors:
            raise UsageError("global_norm: t_list holds no tensor", loc=loc.caller())
        halves = lookup("Pack")([lookup("L2Loss")(slices_of(t)) for t in tensors], axis=0)
        total = lookup("Sum")(halves, (0,))
        two = constant(2.0, total.dtype.base)
        return lookup("Sqrt")(total * two, name="global_norm")


def _check_list(what: str, t_list: Any) -> None:
    if not isinstance(t_list, Sequence) or isinstance(t_list, (str, bytes)):
        raise UsageError(
            f"{what}: t_list must be a list of tensors, got {t_list!r}", loc=loc.caller()
        )


def clip_by_global_norm(
    t_list: Sequence[Any], clip_norm: Any, use_norm: Any = None, name: str | None = None
) -> tuple[list[Any], Any]:
    """Scale several tensors by one factor so that their common norm is at most `clip_norm`.

    Args:
      t_list: floating tensors of one dtype; None stays None.
      clip_norm: the largest norm, a positive number or scalar tensor.
      use_norm: the norm, where it is known; `global_norm` of `t_list` by default.

    Returns:
      the scaled tensors, and the norm before scaling; all NaN if that is not finite.

    Raises:
      UsageError: `t_list` is not a list.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.clip_by_global_norm([[3.0], [4.0]], 2.5)[0])
    [array([1.5], dtype=float32), array([2.], dtype=float32)]
    """
    _check_list("clip_by_global_norm", t_list)
    if use_norm is None:
        use_norm = global_norm(t_list, name)
    with name_scope(name, "clip_by_global_norm", [*t_list, clip_norm]) as scope:
        use_norm = convert(use_norm, name="use_norm")
        kind = use_norm.dtype.base
        factor = clip_norm * lookup("Minimum")(1.0 / use_norm, constant(1.0, kind) / clip_norm)
        nan = constant(float("nan"), kind)
        scale = lookup("Select")(lookup("IsFinite")(use_norm), factor, nan)
        prefix = scope.rstrip("/").rsplit("/", 1)[-1]
        clipped = [
            None if t is None else lookup("Identity")(convert(t) * scale, name=f"{prefix}_{i}")
            for i, t in enumerate(t_list)
        ]
    return clipped, use_norm


def clip_by_average_norm(t: Any, clip_norm: Any, name: str | None = None) -> Any:
    """Scale a tensor down so that its norm per element is at most `clip_norm`.

    The result is ``t * clip_norm * min(size(t) / norm(t), 1 / clip_norm)``.

    Args:
      t: a float32 tensor.
      clip_norm: the largest norm per element, a positive number.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.clip_by_average_norm([3.0, 4.0], 1.25))
    array([1.5, 2. ], dtype=float32)
    """
    with name_scope(name, "clip_by_average_norm", [t, clip_norm]) as scope:
        t = convert(t, name="t")
        kind = t.dtype.base
        count = lookup("Cast")(lookup("Size")(t), DstT=kind)
        few = slices_of(t)
        inverse = lookup("Rsqrt")(lookup("Sum")(few * few, _all_axes(t)))
        least = lookup("Minimum")(inverse * count, constant(1.0, kind) / clip_norm)
        return lookup("Identity")(t * clip_norm * least, name=scope)
