"""`raw_rnn`: a recurrent network whose inputs, states and outputs a function decides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from staticgraph.api import nest
from staticgraph.api.array import zeros
from staticgraph.api.comparison import logical_not, logical_or, where
from staticgraph.api.framework import name_scope
from staticgraph.api.loop_arrays import LoopArrays
from staticgraph.api.loop_body import build_loop
from staticgraph.api.reduction import reduce_all
from staticgraph.api.shapes import shape as shape_of
from staticgraph.api.tensor_array import TensorArray
from staticgraph.api.variable_scope import variable_scope
from staticgraph.errors import DtypeError, GraphError, ShapeError, UsageError
from staticgraph.ir import dtypes, loc
from staticgraph.ir.build import convert
from staticgraph.ir.tensor import Tensor
from staticgraph.nn.cell import batch_of, shape_list
from staticgraph.nn.cell_wrappers import check_cell
from staticgraph.nn.sequences import stepped

PARTS = ("elements_finished", "next_input", "next_cell_state", "emit_output", "next_loop_state")


def raw_rnn(
    cell: Any, loop_fn: Callable[..., Any], parallel_iterations: Any = None,
    swap_memory: bool = False, scope: Any = None,
) -> tuple[Any, Any, Any]:  # fmt: skip
    """Run a cell over time, with inputs, states and outputs that `loop_fn` decides.

    A decoder that takes what it has put out as its next input is such a network.  `loop_fn` is
    called as ``loop_fn(time, cell_output, cell_state, loop_state)`` and gives a tuple of five:

    ==================  ==========================================================================
    elements_finished   bools, one for each element of the batch: whether it is over at `time`
    next_input          what the cell gets at `time`
    next_cell_state     the state it gets; mostly `cell_state`
    emit_output         what is put out for the step before; mostly `cell_output`
    next_loop_state     whatever else goes from step to step: a nest of tensors and arrays, or None
    ==================  ==========================================================================

    The first call has ``time=0`` and None for all else, and gives the first input, the first
    state, the first loop state, and, as `emit_output`, tensors with the dtype and the shape of
    what one element of the batch will put out; None says that this is as the cell's output.  Each
    further call comes after a step of the cell.  From where an element of the batch is over, its
    outputs are 0 and its state stays.  The loop ends when all of them are over.

    Args:
      cell: an `RNNCell`.
      loop_fn: see above.
      parallel_iterations, swap_memory: accepted, and without effect.
      scope: of the variables; "rnn" by default.

    Returns:
      A `TensorArray` of outputs (nested as `emit_output` is), the last state and the last loop
      state.

    Raises:
      TypeError: `loop_fn` gives something else than five values, or its flags are no bools.
      ValueError: it changes a structure or a shape.

    >>> import staticgraph as tf
    >>> x = tf.ones([6, 2, 3])  # time, batch, depth
    >>> steps = tf.TensorArray(tf.float32, size=6).unstack(x)
    >>> cell = tf.nn.rnn_cell.GRUCell(4)
    >>> def loop_fn(time, output, state, loop_state):
    ...     if output is None:
    ...         state = cell.zero_state(2, tf.float32)
    ...     over = time >= [5, 3]
    ...     x = tf.cond(tf.reduce_all(over), lambda: tf.zeros([2, 3]), lambda: steps.read(time))
    ...     return over, x, state, output, None
    >>> outputs, state, _ = tf.nn.raw_rnn(cell, loop_fn)
    >>> with tf.Session() as sess:
    ...     sess.run(tf.global_variables_initializer())
    ...     sess.run(outputs.stack()).shape
    (5, 2, 4)
    """
    del parallel_iterations, swap_memory
    check_cell(cell, "cell")
    if not callable(loop_fn):
        raise UsageError(f"raw_rnn: loop_fn must be callable, got {loop_fn!r}", loc=loc.caller())
    with variable_scope(scope or "rnn"):
        return _RawLoop(cell, loop_fn).run()


class _RawLoop:
    """One network: what the first call of `loop_fn` says, and the loop."""

    def __init__(self, cell: Any, loop_fn: Callable[..., Any]) -> None:
        self.cell, self.loop_fn = cell, loop_fn
        first = self._call(convert(0), None, None, None)
        self.finished = _flags(first[0])
        self.input = nest.map_structure(convert, first[1])
        if first[2] is None:
            raise GraphError(
                "raw_rnn: the first call of loop_fn gives None for next_cell_state, the state to "
                "start from",
                loc=loc.caller(), hint="cell.zero_state(batch_size, tf.float32) is one of zeros",
            )  # fmt: skip
        self.state = nest.map_structure(_leaf, first[2])
        self._same("next_cell_state", cell.state_size, self.state, "cell.state_size")
        leaves = nest.flatten(self.input)
        if not leaves:
            raise GraphError("raw_rnn: loop_fn gives no input", loc=loc.caller())
        self.batch = batch_of(leaves[0])
        self._check_batch("elements_finished", [self.finished])
        self._check_batch("next_input", leaves)
        self._check_batch("next_cell_state", nest.flatten(self.state))
        self._emitted(first[3])
        self.loop_state = nest.map_structure(_leaf, first[4]) if first[4] is not None else ()
        self.stateless = first[4] is None

    def _check_batch(self, what: str, tensors: Sequence[Any]) -> None:
        """Refuse first values of another batch than that of the first input."""
        for t in tensors:
            have = None
            if isinstance(t, Tensor) and t.shape.ndims:
                have = t.shape.as_list()[0]
            if isinstance(self.batch, int) and have not in (None, self.batch):
                raise ShapeError(
                    f"raw_rnn: {what} has batch size {have}, the first input has {self.batch}",
                    loc=loc.caller(), operands=(f"{what}: {t.describe()}",),
                )  # fmt: skip

    def _call(self, *args: Any) -> Sequence[Any]:
        given = self.loop_fn(*args)
        if not isinstance(given, (tuple, list)) or len(given) != len(PARTS):
            got = f"{len(given)} values" if isinstance(given, (tuple, list)) else f"{given!r}"
            raise UsageError(
                f"raw_rnn: loop_fn gives a tuple of five, {', '.join(PARTS)}; got {got}",
                loc=loc.caller(),
            )
        return given

    def _emitted(self, like: Any) -> None:
        """The structure of what is put out, and zeros of it for the whole batch."""
        if like is None:
            kind = next(t for t in nest.flatten(self.state)).dtype.base
            sizes = nest.map_structure(shape_list, self.cell.output_size)
            self.emit = self.cell.output_size
            flat = [(s, kind) for s in nest.flatten_up_to(self.emit, sizes)]
        else:
            self.emit = nest.map_structure(convert, like)
            flat = [(_sizes(t), t.dtype.base) for t in nest.flatten(self.emit)]
        with name_scope(None, "zero_emit"):
            self.zeros = [zeros([self.batch, *s], kind) for s, kind in flat]

    def _same(self, what: str, want: Any, have: Any, of: str) -> None:
        try:
            nest.assert_same_structure(want, have, check_types=False)
        except (ValueError, TypeError) as e:
            raise ShapeError(
                f"raw_rnn: {what} is not nested as {of}: {getattr(e, 'message', e)}",
                loc=loc.caller(),
            ) from None

    def run(self) -> tuple[Any, Any, Any]:
        """Build the loop."""
        structure = (self.input, self.state, self.loop_state)
        flat = nest.flatten(structure)
        arrays = LoopArrays(flat)
        start = [t for k, t in enumerate(flat) if k not in arrays.arrays]

        def step(carries: list[Tensor], _: list[Tensor]) -> tuple[list[Any], list[Any]]:
            arrays.enter()
            time, finished, *values = carries[1:]
            packed = nest.pack_sequence_as(structure, arrays.inside(values))
            over, new, emit = self._step(time, finished, *packed)
            after = arrays.take(nest.flatten(new))
            return [logical_not(reduce_all(over)), time + 1, over, *after], emit

        names = ["the predicate", "time", "elements_finished"]
        names += [n for k, n in enumerate(self._names()) if k not in arrays.arrays]
        with name_scope(None, "while") as loop:
            go_on = logical_not(reduce_all(self.finished))
            looped = build_loop(
                loop, [go_on, convert(0), self.finished, *start], [], step, conditional=True,
                length=None, names=names, more=arrays.finish,
            )  # fmt: skip
        n, count = 3 + len(start), len(self.zeros)
        out = arrays.leave(looped.finals[3:n], looped.finals[n:], looped.outputs[count:])
        _, state, loop_state = nest.pack_sequence_as(structure, out)
        emitted = [
            TensorArray(
                t.dtype, size=looped.trips, dynamic_size=True, element_shape=z.shape,
                name=f"rnn_output_{k}",
            ).unstack(t)
            for k, (t, z) in enumerate(zip(looped.outputs, self.zeros, strict=False))
        ]  # fmt: skip
        packed = nest.pack_sequence_as(self.emit, emitted)
        return packed, state, None if self.stateless else loop_state

    def _names(self) -> list[str]:
        """What the loop's variables are called in errors."""
        parts = (("next_input", self.input), ("next_cell_state", self.state),
                 ("next_loop_state", self.loop_state))  # fmt: skip
        counts = [(what, len(nest.flatten(tree))) for what, tree in parts]
        return [f"{what}[{k}]" if n > 1 else what for what, n in counts for k in range(n)]

    def _step(
        self, time: Tensor, finished: Tensor, x: Any, state: Any, loop_state: Any
    ) -> tuple[Tensor, Any, list[Tensor]]:
        """One step of the cell, and what `loop_fn` makes of it."""
        output, new = stepped(self.cell, x, state)
        given = self._call(time + 1, output, new, None if self.stateless else loop_state)
        over, x_after, state_after, emit, loop_after = given
        over = _flags(over)
        x_after = nest.map_structure(convert, x_after)
        state_after = nest.map_structure(_leaf, state_after)
        if emit is None:
            raise GraphError(
                "raw_rnn: loop_fn gives None for emit_output after the first call",
                loc=loc.caller(), hint="give cell_output, or what is to be put out of it",
            )  # fmt: skip
        self._same("next_input", self.input, x_after, "the first input")
        self._same("next_cell_state", self.state, state_after, "the first state")
        self._same("emit_output", self.emit, emit, "what was said first")
        if loop_after is None:
            loop_after = loop_state
        elif self.stateless:
            raise GraphError(
                "raw_rnn: loop_fn gives a next_loop_state, the first call gave None",
                loc=loc.caller(), hint="give the state to start from in the first call",
            )  # fmt: skip
        else:
            self._same("next_loop_state", self.loop_state, loop_after, "the first loop state")
            loop_after = nest.map_structure(_leaf, loop_after)
        kept = [
            b if isinstance(b, TensorArray) else _through(finished, a, self._fitting(a, b))
            for a, b in zip(nest.flatten(state), nest.flatten(state_after), strict=True)
        ]
        put = [
            _through(finished, z, self._checked(convert(e), z))
            for z, e in zip(self.zeros, nest.flatten(emit), strict=True)
        ]
        state_after = nest.pack_sequence_as(self.state, kept)
        return logical_or(finished, over), (x_after, state_after, loop_after), put

    def _fitting(self, old: Any, new: Tensor) -> Tensor:
        """The next state, if it is as the one before."""
        if isinstance(old, Tensor) and not new.shape.is_compatible_with(old.shape):
            raise ShapeError(
                f"raw_rnn: next_cell_state has shape {new.shape}, the state before {old.shape}",
                loc=new.op.loc, operands=(f"next_cell_state: {new.describe()}",),
            )  # fmt: skip
        return new

    def _checked(self, emit: Tensor, zero: Tensor) -> Tensor:
        """What is put out, if it is as was said."""
        operands = (f"emit_output: {emit.describe()}",)
        hint = "say it in the first call, as emit_output: zeros for one element of the batch"
        if emit.dtype.base is not zero.dtype.base:
            raise DtypeError(
                f"raw_rnn: emit_output is {emit.dtype.base.name}, what was said first is "
                f"{zero.dtype.base.name}",
                loc=emit.op.loc, operands=operands, hint=hint,
            )  # fmt: skip
        if not emit.shape.is_compatible_with(zero.shape):
            raise ShapeError(
                f"raw_rnn: emit_output has shape {emit.shape}, what was said first is {zero.shape}",
                loc=emit.op.loc, operands=operands, hint=hint,
            )  # fmt: skip
        return emit


def _leaf(x: Any) -> Any:
    return x if isinstance(x, TensorArray) else convert(x)


def _flags(finished: Any) -> Tensor:
    t = convert(finished)
    if t.dtype.base is not dtypes.bool_ or t.shape.ndims not in (None, 1):
        raise DtypeError(
            "raw_rnn: elements_finished holds one bool for each element of the batch, got "
            f"{t.type.public()}",
            loc=loc.caller(), operands=(f"elements_finished: {t.describe()}",),
        )  # fmt: skip
    return t


def _sizes(t: Tensor) -> list[Any]:
    """The sizes of a tensor: ints where they are known, else scalar tensors."""
    if t.shape.ndims is None:
        raise ShapeError(
            "raw_rnn: the rank of emit_output must be known", loc=t.op.loc,
            operands=(f"emit_output: {t.describe()}",), hint="set it with set_shape",
        )  # fmt: skip
    return [shape_of(t)[k] if d is None else d for k, d in enumerate(t.shape.as_list())]


def _through(finished: Tensor, over: Tensor, running: Any) -> Tensor:
    """`over` where an element of the batch is finished; a scalar is of the whole batch."""
    new: Tensor = convert(running, over.dtype.base)
    if not new.shape.ndims:
        return new
    out: Tensor = where(finished, over, new)
    return out


__all__ = ["raw_rnn"]
