"""Functions over the first axis of tensors: `scan`, `map_fn`, `foldl`, `foldr`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from staticgraph.api import nest
from staticgraph.api.framework import name_scope
from staticgraph.api.loop_arrays import LoopArrays
from staticgraph.api.loop_body import Looped, build_loop, convert_like, leading
from staticgraph.api.tensor_array import TensorArray
from staticgraph.errors import ShapeError, UsageError
from staticgraph.ir import dtypes, loc
from staticgraph.ir.build import convert
from staticgraph.ir.op import lookup
from staticgraph.ir.tensor import Tensor


def scan(
    fn: Callable[..., Any], elems: Any, initializer: Any = None, parallel_iterations: int = 10,
    back_prop: bool = True, swap_memory: bool = False, infer_shape: bool = True,
    reverse: bool = False, name: str | None = None, *, checkpoint: int | str | None = None,
    until: Callable[..., Any] | None = None,
) -> Any:  # fmt: skip
    """Combine slices of `elems` with an accumulator, and give the accumulator after each.

    Args:
      fn: from the accumulator and a slice to the new accumulator.
      elems: a tensor, or a nested structure of tensors with first axes of one size.
      initializer: the accumulator at the start, of the structure that `fn` gives; by default the
        first slice, which is then also the first of the results.
      parallel_iterations, swap_memory, infer_shape: accepted, and without effect.
      back_prop: with False, gradients stop at the results.
      reverse: go from the last slice to the first; results stand where the slices stand.
      checkpoint: for gradients keep the accumulator only every so many steps and compute those
        between again; ``"auto"`` takes about the square root of the number of steps.
      until: stop after the first step for whose new accumulator this gives True; the results
        then have one entry for each step done.

    Returns:
      the accumulators, stacked along a new first axis.

    Raises:
      ValueError: `fn` gives another structure or shape than the accumulator has.
      TypeError: it gives another dtype.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.scan(lambda a, x: a + x, tf.constant([1, 2, 3, 4])))
    array([ 1,  3,  6, 10], dtype=int32)
    """
    del parallel_iterations, swap_memory, infer_shape
    _callable("scan", fn)
    flat = _elements("scan", elems)
    with name_scope(name, "scan", flat) as scope:
        xs = _sequences("scan", flat)
        first: list[Tensor] | None = None
        if initializer is None:
            structure, at = elems, -1 if reverse else 0
            first = [x[at] for x in xs]
            xs = [x[:-1] if reverse else x[1:] for x in xs]
            start = first
        else:
            structure = initializer
            _no_arrays("scan", "the accumulator", nest.flatten(initializer))
            start = [convert(v, None, "initializer") for v in nest.flatten(initializer)]

        def apply(acc: Sequence[Tensor], slices: Sequence[Tensor]) -> list[Tensor]:
            given = fn(
                nest.pack_sequence_as(structure, list(acc)),
                nest.pack_sequence_as(elems, list(slices)),
            )
            new = _matching("scan", given, structure)
            _no_arrays("scan", "what fn gives", new)
            return _like(new, acc)

        if until is not None:
            if reverse or checkpoint is not None:
                raise UsageError(
                    "scan: until goes neither with reverse nor with checkpoint", loc=loc.caller()
                )
            looped = _until(scope, start, xs, apply, until, structure)
        else:

            def step(carries: list[Tensor], slices: list[Tensor]) -> tuple[Any, Any]:
                new = apply(carries, slices)
                return new, new

            looped = in_segments(scope, start, xs, step, reverse, checkpoint)
        out = looped.outputs
        if first is not None:
            ends = [lookup("ExpandDims")(t, 0) for t in first]
            pairs = [(o, e) if reverse else (e, o) for o, e in zip(out, ends, strict=True)]
            out = [lookup("ConcatV2")(list(p), axis=0) for p in pairs]
        return _given_back(out, structure, back_prop)


def _until(
    scope: str, start: Sequence[Tensor], xs: Sequence[Tensor], apply: Callable[..., Any],
    until: Callable[..., Any], structure: Any,
) -> Looped:  # fmt: skip
    """A scan that looks after each step whether to go on."""

    def step(carries: list[Tensor], slices: list[Tensor]) -> tuple[Any, Any]:
        new = apply(carries[1:], slices)
        stop = convert(until(nest.pack_sequence_as(structure, list(new))), dtypes.bool_)
        return [lookup("LogicalNot")(stop), *new], new

    looped = build_loop(
        scope, [convert(True), *start], xs, step, conditional=True, length=leading(xs[0]),
        names=["the predicate", *accumulators(len(start))],
    )  # fmt: skip
    return Looped(looped.finals[1:], looped.outputs, looped.trips)


def in_segments(
    scope: str, start: Sequence[Tensor], xs: Sequence[Tensor], step: Callable[..., Any],
    reverse: bool = False, checkpoint: int | str | None = None, length: Any = None,
    names: Sequence[str] | None = None,
) -> Looped:  # fmt: skip
    """A loop over slices; with `checkpoint` a loop over segments of so many steps.

    The carries that gradients keep are then those between segments, and within one segment at a
    time those between steps: with segments of about the root of the number of steps, so many of
    each.  What does not fill a segment is a loop of its own at the end.
    """
    names = names or accumulators(len(start))
    if checkpoint is None:
        return build_loop(scope, start, xs, step, reverse=reverse, length=length, names=names)
    steps = leading(xs[0]) if xs else length
    size = _segment(checkpoint, steps)
    count = steps // size if isinstance(steps, int) and isinstance(size, int) else (
        lookup("FloorDiv")(convert(steps, dtypes.int32), convert(size, dtypes.int32))
    )  # fmt: skip
    whole = count * size
    # What does not fill a segment stands at the end, where it is a copy of a few steps; all before
    # it can be read where it is.  Backwards it comes first.
    bodies, tails = [x[:whole] for x in xs], [x[whole:] for x in xs]
    grouped = [_grouped(x, count, size) for x in bodies]

    def segment(carries: list[Tensor], slices: list[Tensor]) -> tuple[Any, Any]:
        with name_scope(None, "segment") as inner:
            done = build_loop(
                inner, carries, slices, step, reverse=reverse, length=size, names=names
            )
        return done.finals, done.outputs

    def segments(start: Sequence[Tensor]) -> Looped:
        return build_loop(
            scope, start, grouped, segment, reverse=reverse, length=count, names=names,
            segments=True,
        )  # fmt: skip

    def rest(start: Sequence[Tensor]) -> Looped:
        with name_scope(None, "rest") as tail:
            return build_loop(
                tail, start, tails, step, reverse=reverse, length=steps - whole, names=names
            )

    if reverse:
        tail = rest(start)
        outer = last = segments(tail.finals)
    else:
        outer = segments(start)
        tail = last = rest(outer.finals)
    outputs = [
        lookup("ConcatV2")([_ungrouped(a, whole), b], axis=0)
        for a, b in zip(outer.outputs, tail.outputs, strict=True)
    ]
    return Looped(last.finals, outputs, None)


def _segment(checkpoint: int | str, steps: Any) -> Any:
    """How many steps a segment has."""
    if isinstance(checkpoint, int) and not isinstance(checkpoint, bool) and checkpoint > 0:
        return checkpoint
    if checkpoint != "auto":
        raise UsageError(
            f"scan: checkpoint must be a positive number of steps or 'auto', got {checkpoint!r}",
            loc=loc.caller(),
        )
    if isinstance(steps, int):
        return max(1, round(steps**0.5))
    root = lookup("Sqrt")(lookup("Cast")(steps, DstT=dtypes.float64))
    size = lookup("Maximum")(lookup("Cast")(lookup("Rint")(root), DstT=dtypes.int32), 1)
    # As the size of an axis it is one symbol wherever it occurs.
    like = lookup("Fill")(lookup("Pack")([size], axis=0), convert(False))
    return lookup("Shape")(like)[0]


def _grouped(x: Tensor, count: Any, size: Any) -> Tensor:
    """The first axis in two: segments and steps."""
    rest = lookup("Shape")(x)[1:]
    head = lookup("Pack")([convert(count, dtypes.int32), convert(size, dtypes.int32)], axis=0)
    return lookup("Reshape")(x, lookup("ConcatV2")([head, rest], axis=0))  # type: ignore[no-any-return]


def _ungrouped(x: Tensor, whole: Any) -> Tensor:
    rest = lookup("Shape")(x)[2:]
    head = lookup("Pack")([convert(whole, dtypes.int32)], axis=0)
    return lookup("Reshape")(x, lookup("ConcatV2")([head, rest], axis=0))  # type: ignore[no-any-return]


def map_fn(
    fn: Callable[..., Any], elems: Any, dtype: Any = None, parallel_iterations: int | None = None,
    back_prop: bool = True, swap_memory: bool = False, infer_shape: bool = True,
    name: str | None = None,
) -> Any:  # fmt: skip
    """Apply `fn` to each slice of `elems`, and stack what it gives.

    Args:
      elems: a tensor, or a nested structure of tensors with first axes of one size.
      dtype: the structure and dtypes of what `fn` gives, where it is not that of `elems`.
      parallel_iterations, swap_memory, infer_shape: accepted, and without effect.
      back_prop: with False, gradients stop at the results.

    Raises:
      TypeError: `fn` gives another dtype than `dtype` says.
      ValueError: it gives another structure.

    >>> import staticgraph as tf
    >>> tf.Session().run(tf.map_fn(lambda x: x * x, tf.constant([1, 2, 3])))
    array([1, 4, 9], dtype=int32)
    """
    del parallel_iterations, swap_memory, infer_shape
    _callable("map_fn", fn)
    flat = _elements("map_fn", elems)
    with name_scope(name, "map", flat) as scope:
        xs = _sequences("map_fn", flat)
        structures: list[Any] = []

        def step(_: list[Tensor], slices: list[Tensor]) -> tuple[Any, Any]:
            given = fn(nest.pack_sequence_as(elems, list(slices)))
            structures.append(given)
            if any(t is None for t in nest.flatten(given)):
                raise UsageError(
                    f"map_fn: fn gives {given!r} for a slice", loc=loc.caller(),
                    hint="does it return what it computes?",
                )  # fmt: skip
            _no_arrays("map_fn", "what fn gives", nest.flatten(given))
            outs = [convert(t) for t in nest.flatten(given)]
            if dtype is not None:
                _check_dtypes(outs, dtype)
            return [], outs

        looped = build_loop(scope, [], xs, step)
        return _given_back(looped.outputs, structures[0], back_prop)


def vectorized_map(fn: Callable[..., Any], elems: Any) -> Any:
    """As `map_fn`, where no slice depends on another: `fn` applied to all of them at once.

    The loop has nothing to carry, so the compiler turns it into operations over all slices where
    it knows how to; whatever is left runs slice by slice, with the same results.

    Args:
      fn: from a slice of `elems` to a nested structure of tensors.
      elems: a tensor, or a nested structure of tensors with first axes of one size.

    >>> import staticgraph as tf
    >>> x = tf.constant([[1.0, 2.0], [3.0, 4.0]])
    >>> tf.Session().run(tf.vectorized_map(lambda row: tf.reduce_sum(row * row), x))
    array([ 5., 25.], dtype=float32)
    """
    _callable("vectorized_map", fn)
    with name_scope(None, "vectorized_map"):
        return map_fn(fn, elems)


def _check_dtypes(outs: Sequence[Tensor], dtype: Any) -> None:
    wanted = [dtypes.as_dtype(d).base for d in nest.flatten(dtype)]
    have = [t.dtype.base for t in outs]
    if wanted != have:
        raise UsageError(
            f"map_fn: fn gives {[d.name for d in have]}, dtype says {[d.name for d in wanted]}",
            loc=outs[0].op.loc if outs else loc.caller(),
        )


def foldl(
    fn: Callable[..., Any], elems: Any, initializer: Any = None, parallel_iterations: int = 10,
    back_prop: bool = True, swap_memory: bool = False, name: str | None = None,
    *, checkpoint: int | str | None = None,
) -> Any:  # fmt: skip
    """Combine the slices of `elems` from the first to the last into one value.

    Args:
      fn: from the accumulator and a slice to the new accumulator.
      initializer: the accumulator at the start; by default the first slice.  It may hold a
        `TensorArray` that the steps write.
      checkpoint: as for `scan`.

    >>> import staticgraph as tf
    >>> int(tf.Session().run(tf.foldl(lambda a, x: a * 10 + x, tf.constant([1, 2, 3]))))
    123
    """
    del parallel_iterations, swap_memory
    return _fold("foldl", fn, elems, initializer, False, back_prop, name, checkpoint)


def foldr(
    fn: Callable[..., Any], elems: Any, initializer: Any = None, parallel_iterations: int = 10,
    back_prop: bool = True, swap_memory: bool = False, name: str | None = None,
    *, checkpoint: int | str | None = None,
) -> Any:  # fmt: skip
    """Combine the slices of `elems` from the last to the first into one value; see `foldl`.

    >>> import staticgraph as tf
    >>> int(tf.Session().run(tf.foldr(lambda a, x: a * 10 + x, tf.constant([1, 2, 3]))))
    321
    """
    del parallel_iterations, swap_memory
    return _fold("foldr", fn, elems, initializer, True, back_prop, name, checkpoint)


def _fold(
    what: str, fn: Callable[..., Any], elems: Any, initializer: Any, reverse: bool,
    back_prop: bool, name: str | None, checkpoint: int | str | None,
) -> Any:  # fmt: skip
    _callable(what, fn)
    flat = _elements(what, elems)
    with name_scope(name, what, flat) as scope:
        xs = _sequences(what, flat)
        if initializer is None:
            structure = elems
            values: list[Any] = [x[-1 if reverse else 0] for x in xs]
            xs = [x[:-1] if reverse else x[1:] for x in xs]
        else:
            structure, values = initializer, nest.flatten(initializer)

        def combined(acc: Sequence[Any], slices: Sequence[Tensor]) -> list[Any]:
            given = fn(
                nest.pack_sequence_as(structure, list(acc)),
                nest.pack_sequence_as(elems, list(slices)),
            )
            return _matching(what, given, structure)

        fold = _fold_segments if checkpoint is not None else _fold_arrays
        out = fold(scope, values, xs, combined, reverse, back_prop, checkpoint)
        return nest.pack_sequence_as(structure, out)


Combine = Callable[[Sequence[Any], Sequence[Tensor]], list[Any]]


def _fold_arrays(
    scope: str, values: Sequence[Any], xs: Sequence[Tensor], combined: Combine, reverse: bool,
    back_prop: bool, checkpoint: int | str | None,
) -> list[Any]:  # fmt: skip
    """A fold in one loop; arrays that are only written are not carried."""
    del checkpoint
    arrays = LoopArrays(values)
    start = [
        convert(v, None, "initializer") for k, v in enumerate(values) if k not in arrays.arrays
    ]

    def step(carries: list[Tensor], slices: list[Tensor]) -> tuple[Any, Any]:
        arrays.enter()
        new = arrays.take(combined(arrays.inside(carries), slices))
        return _like(new, carries), []

    looped = build_loop(
        scope, start, xs, step, reverse=reverse, names=accumulators(len(start)),
        more=arrays.finish,
    )  # fmt: skip
    finals = _stopped(looped.finals, back_prop)
    outputs = _stopped(looped.outputs, back_prop)
    n = len(start)
    return arrays.leave(finals[:n], finals[n:], outputs)


def _fold_segments(
    scope: str, values: Sequence[Any], xs: Sequence[Tensor], combined: Combine, reverse: bool,
    back_prop: bool, checkpoint: int | str | None,
) -> list[Any]:  # fmt: skip
    """A fold in segments; of an array the elements are carried, and which of them are written."""
    start: list[Tensor] = []
    for v in values:
        start += v.full_marks() if isinstance(v, TensorArray) else [convert(v, None, "initializer")]

    def packed(tensors: Sequence[Tensor]) -> list[Any]:
        rest = iter(tensors)
        return [
            v.holding(next(rest), next(rest)) if isinstance(v, TensorArray) else next(rest)
            for v in values
        ]

    def step(carries: list[Tensor], slices: list[Tensor]) -> tuple[Any, Any]:
        flat: list[Any] = []
        for v, new in zip(values, combined(packed(carries), slices), strict=True):
            if isinstance(v, TensorArray) != isinstance(new, TensorArray):
                raise UsageError(
                    f"the accumulator holds {v!r}, fn gives {new!r} for it", loc=loc.caller()
                )
            flat += new.full_marks() if isinstance(new, TensorArray) else [new]
        return _like(flat, carries), []

    looped = in_segments(scope, start, xs, step, reverse, checkpoint)
    return packed(_stopped(looped.finals, back_prop))


# ---------------------------------------------------------------- arguments and results
def _callable(what: str, fn: Any) -> None:
    if not callable(fn):
        raise UsageError(f"{what}: fn must be callable, got {fn!r}", loc=loc.caller())


def _elements(what: str, elems: Any) -> list[Any]:
    flat = nest.flatten(elems)
    if not flat:
        raise UsageError(f"{what}: there are no elements to go through", loc=loc.caller())
    return flat


def _same_length(what: str, xs: Sequence[Tensor]) -> None:
    known = [(x, x.shape.as_list()[0]) for x in xs if x.shape.ndims]
    known = [(x, n) for x, n in known if n is not None]
    for x, n in known[1:]:
        if n != known[0][1]:
            a = known[0][0]
            raise ShapeError(
                f"{what}: sequences of {known[0][1]} and {n} steps", loc=loc.caller(),
                operands=(f"{a.name}: {a.describe()}", f"{x.name}: {x.describe()}"),
            )  # fmt: skip


def _matching(what: str, given: Any, structure: Any) -> list[Any]:
    """What `fn` gave, flat, if it is nested as the accumulator."""
    try:
        nest.assert_same_structure(structure, given, check_types=False)
    except (ValueError, TypeError) as e:
        why = getattr(e, "message", e)
        raise ShapeError(
            f"{what}: fn gives another structure than the accumulator has: {why}",
            loc=loc.caller(),
        ) from None
    flat = nest.flatten(given)
    if any(v is None for v in flat):
        raise UsageError(
            f"{what}: fn gives {given!r} for the accumulator", loc=loc.caller(),
            hint="does it return what it computes?",
        )  # fmt: skip
    return flat


def _like(new: Sequence[Any], carries: Sequence[Tensor]) -> list[Tensor]:
    return [convert_like(v, t, "accumulator") for v, t in zip(new, carries, strict=True)]


def _no_arrays(what: str, where: str, values: Sequence[Any]) -> None:
    array = next((v for v in values if isinstance(v, TensorArray)), None)
    if array is not None:
        raise UsageError(
            f"{what}: {where} holds {array!r}, and what all steps give is stacked",
            loc=loc.caller(),
            hint="tf.foldl and tf.while_loop take arrays" if what == "scan"
            else "array.stack() gives its elements as one tensor",
        )  # fmt: skip


def accumulators(count: int) -> list[str]:
    """What carries are called in errors."""
    return [f"the accumulator[{k}]" if count > 1 else "the accumulator" for k in range(count)]


def _sequences(what: str, flat: Sequence[Any]) -> list[Tensor]:
    """The tensors to go through, which have first axes of one size as far as it is known."""
    xs = [convert(x, None, "elems") for x in flat]
    for x in xs:
        if x.shape.ndims == 0:
            raise ShapeError(
                f"{what}: elems are gone through along their first axis, {x.name!r} is a scalar",
                loc=loc.caller(), operands=(f"{x.name}: {x.describe()}",),
            )  # fmt: skip
    _same_length(what, xs)
    return xs


def _stopped(tensors: Sequence[Tensor], back_prop: bool) -> list[Tensor]:
    return list(tensors) if back_prop else [lookup("StopGradient")(t) for t in tensors]


def _given_back(out: Sequence[Tensor], structure: Any, back_prop: bool) -> Any:
    return nest.pack_sequence_as(structure, _stopped(out, back_prop))


__all__ = ["foldl", "foldr", "map_fn", "scan", "vectorized_map"]
