"""What a recurrent cell is: one step from an input and a state to an output and the next state.

A cell owns its variables.  They are made at the first call, in a variable scope named after the
cell inside the scope in force there, and every later call uses them again, wherever it stands.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from staticgraph.api import nest
from staticgraph.api.activations import elu, relu, relu6, selu, softplus, softsign
from staticgraph.api.array import zeros
from staticgraph.api.clip import clip_by_value
from staticgraph.api.framework import flatten, graph_of, name_scope
from staticgraph.api.math_functions import exp, sigmoid, tanh
from staticgraph.api.shapes import shape as shape_of
from staticgraph.api.variable_scope import VariableScope, get_variable, variable_scope
from staticgraph.api.variables import Variable
from staticgraph.errors import (
    DtypeError,
    GraphError,
    ShapeError,
    UnimplementedError,
    UsageError,
)
from staticgraph.ir import dtypes, loc
from staticgraph.ir.build import convert, is_tensor_like
from staticgraph.ir.dtypes import DType
from staticgraph.ir.graph import Graph, get_default_graph
from staticgraph.ir.tensor import Tensor
from staticgraph.ir.tensor_shape import TensorShape

ACTIVATIONS: dict[str, Callable[..., Any]] = {
    "elu": elu,
    "exponential": exp,
    "hard_sigmoid": lambda x: clip_by_value(0.2 * x + 0.5, 0.0, 1.0),
    "linear": lambda x: x,
    "relu": relu,
    "relu6": relu6,
    "selu": selu,
    "sigmoid": sigmoid,
    "softplus": softplus,
    "softsign": softsign,
    "tanh": tanh,
}


def activation_of(given: Any) -> Callable[..., Any]:
    """A function from a function or its name; tanh from None."""
    if given is None:
        return tanh
    if callable(given):
        return given  # type: ignore[no-any-return]
    if given in ACTIVATIONS:
        return ACTIVATIONS[given]
    raise GraphError(
        f"there is no activation named {given!r}",
        loc=loc.caller(), hint=f"one of {', '.join(ACTIVATIONS)}, or a function",
    )  # fmt: skip


def outermost(graph: Graph) -> Graph:
    """The graph that variables live in: the one around all loops and branches."""
    return graph.root


def batch_of(inputs: Any) -> Any:
    """Size of the first axis: an int where it is known, a scalar tensor where not."""
    x = convert(inputs)
    known = x.shape.as_list()[0] if x.shape.ndims else None
    return shape_of(x)[0] if known is None else known


class RNNCell:
    """The base of recurrent cells.

    A cell has `state_size`, `output_size` and ``call(inputs, state)``, which gives the output and
    the next state; it makes variables in `build`, with `add_weight`, or in `call`, with
    `tf.get_variable`.  Sizes may be nested; a state is nested like `state_size`.

    Args:
      trainable: False keeps the variables out of `trainable_weights`.
      name: name of the variable scope; the class's name in lower case by default.
      dtype: of the variables; that of the first input by default.
      reuse: share the variables of a scope that has them already.

    >>> import staticgraph as tf
    >>> class Decay(tf.nn.rnn_cell.RNNCell):
    ...     state_size = output_size = 2
    ...     def call(self, inputs, state):
    ...         new = state * tf.get_variable("rate", []) + inputs
    ...         return new, new
    >>> cell = Decay()
    >>> out, state = cell(tf.ones([3, 2]), cell.zero_state(3, tf.float32))
    >>> out.shape, [v.name for v in cell.variables]
    (TensorShape([Dimension(3), Dimension(2)]), ['decay/rate:0'])
    """

    # Defaults of the class, for cells that do not call the constructor.
    _name: str | None = None
    _reuse: Any = None
    _dtype: DType | None = None
    _scope: VariableScope | None = None
    _graph: Graph | None = None
    _takes_scope: bool | None = None
    trainable = True
    built = False

    def __init__(
        self, trainable: bool = True, name: str | None = None, dtype: Any = None,
        reuse: Any = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        reuse = kwargs.pop("_reuse", reuse)
        if kwargs:
            raise UsageError(
                f"{type(self).__name__} has no argument {next(iter(kwargs))!r}", loc=loc.caller()
            )
        self.trainable, self._name, self._reuse = trainable, name, reuse
        self._dtype = None if dtype is None else dtypes.as_dtype(dtype).base

    # ---- what a subclass says
    @property
    def state_size(self) -> Any:
        """Sizes of the state without its batch axis: ints or shapes, nested as the state is."""
        raise _unsaid(self, "state_size")

    @property
    def output_size(self) -> Any:
        """Sizes of the output without its batch axis."""
        raise _unsaid(self, "output_size")

    def build(self, input_shape: Any) -> None:
        """Make the variables; called once, before the first `call`."""
        self.built = True

    def call(self, inputs: Any, state: Any) -> Any:
        """The output and the next state."""
        raise UnimplementedError(
            f"{type(self).__name__} does not define call(inputs, state)", loc=loc.caller()
        )

    # ---- calling
    def __call__(self, inputs: Any, state: Any, scope: Any = None) -> Any:
        """One step.

        Args:
          inputs: a tensor of shape ``[batch, depth]``, or what the cell takes.
          state: nested as `state_size`, each tensor with a batch axis in front.
          scope: name or `VariableScope` for the variables, at the first call.

        Returns:
          The output and the next state.

        Raises:
          ValueError: shapes do not fit, or the cell belongs to another graph.
        """
        inputs = nest.map_structure(convert, inputs)
        self._check_graph(inputs)
        if self._dtype is None:
            self._dtype = next(
                (t.dtype.base for t in nest.flatten(inputs) if t.dtype.is_floating), dtypes.float32
            )
        self._open_scope(scope)
        with self._entered() as entered:
            if not self.built:
                self.build(nest.map_structure(lambda t: t.shape, inputs))
                self.built = True
            if self._takes_scope is None:
                self._takes_scope = "scope" in inspect.signature(self.call).parameters
            extra = {"scope": entered} if self._takes_scope else {}
            return self.call(inputs, state, **extra)

    apply = __call__

    def _check_graph(self, inputs: Any) -> None:
        graph = outermost(graph_of(flatten(inputs)))
        if self._graph is None:
            self._graph = graph
        elif self._graph is not graph:
            raise GraphError(
                f"{self.name}: the cell has its variables in another graph than its inputs",
                loc=loc.caller(), hint="make a cell for each graph",
            )  # fmt: skip

    def _open_scope(self, scope: Any) -> None:
        """Choose the variable scope, once."""
        if self._scope is not None:
            return
        if self._reuse:
            opened = variable_scope(self.name if scope is None else scope)
        else:
            opened = variable_scope(scope, default_name=self.name)
        with opened as self._scope:
            pass

    @contextmanager
    def _entered(self) -> Iterator[VariableScope]:
        """The cell's scope, from whose names operations get theirs, too."""
        scope = self._scope
        assert scope is not None
        with (
            variable_scope(
                scope,
                reuse=True if self.built else self._reuse,
                custom_getter=self._recorded,
                auxiliary_name_scope=False,
            ) as entered,
            name_scope(scope.original_name_scope or None),
        ):
            yield entered

    def _recorded(self, getter: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        variable = getter(*args, **kwargs)
        self._own[id(variable)] = variable
        return variable

    # ---- variables
    @property
    def _own(self) -> dict[int, Variable]:
        found: dict[int, Variable] = self.__dict__.setdefault("_variables", {})
        return found

    def add_weight(
        self, name: str, shape: Any = None, dtype: Any = None, initializer: Any = None,
        regularizer: Any = None, trainable: bool | None = None, constraint: Any = None,
        partitioner: Any = None, **kwargs: Any,
    ) -> Any:  # fmt: skip
        """Make a variable of the cell; to be used in `build`.

        Args:
          shape: its sizes.
          dtype: that of the cell by default.
          initializer, regularizer, constraint: those of the scope by default.
        """
        if self._graph is None:
            self._graph = outermost(get_default_graph())
        self._open_scope(None)
        trainable = self.trainable if trainable is None else trainable and self.trainable
        with self._entered():
            return get_variable(
                name, shape, dtype or self._dtype or dtypes.float32, initializer, regularizer,
                trainable, constraint=constraint, partitioner=partitioner, **kwargs,
            )  # fmt: skip

    add_variable = add_weight

    @property
    def weights(self) -> list[Any]:
        """All variables, trainable ones first."""
        return self.trainable_weights + self.non_trainable_weights

    @property
    def trainable_weights(self) -> list[Any]:
        """Variables that optimizers change by default."""
        return [v for v in self._own.values() if v.trainable] if self.trainable else []

    @property
    def non_trainable_weights(self) -> list[Any]:
        """The other variables."""
        return [v for v in self._own.values() if not (self.trainable and v.trainable)]

    @property
    def variables(self) -> list[Any]:
        """All variables, trainable ones first."""
        return self.weights

    @property
    def trainable_variables(self) -> list[Any]:
        """Variables that optimizers change by default."""
        return self.trainable_weights

    @property
    def non_trainable_variables(self) -> list[Any]:
        """The other variables."""
        return self.non_trainable_weights

    def count_params(self) -> int:
        """How many numbers the variables hold.

        Raises:
          ValueError: the cell has not been built.
        """
        if not self.built:
            raise GraphError(
                f"{self.name} has no variables before it is built", loc=loc.caller(),
                hint="call it, or build it with cell.build([None, depth])",
            )  # fmt: skip
        return sum(v.shape.num_elements() for v in self.weights)

    # ---- names
    @property
    def name(self) -> str:
        """The name given, or that of the class in lower case."""
        if self._name is not None:
            return self._name
        # as TensorFlow writes BasicLSTMCell: basic_lstm_cell
        parts = re.sub("(.)([A-Z][a-z0-9]+)", r"\1_\2", type(self).__name__)
        snake = re.sub("([a-z])([A-Z])", r"\1_\2", parts).lower()
        return "private" + snake if snake.startswith("_") else snake

    @property
    def scope_name(self) -> str:
        """Name of the variable scope, known after the first call."""
        if self._scope is None:
            raise GraphError(f"{self.name} has no scope before its first call", loc=loc.caller())
        return self._scope.name

    @property
    def dtype(self) -> DType | None:
        """Element type of the variables; None while it is open."""
        return self._dtype

    @property
    def graph(self) -> Graph | None:
        """The graph that holds the variables."""
        return self._graph

    # ---- states
    def get_initial_state(
        self, inputs: Any = None, batch_size: Any = None, dtype: Any = None
    ) -> Any:
        """A state of zeros, for the batch of `inputs` or one of `batch_size` and `dtype`.

        Raises:
          ValueError: neither is given, or they disagree.
        """
        if inputs is not None:
            x = convert(inputs, name="inputs")
            have, given = batch_of(x), _known_int(batch_size)
            if isinstance(have, int) and given is not None and have != given:
                raise ShapeError(
                    f"the inputs have batch size {have}, batch_size is {given}", loc=loc.caller()
                )
            kind = x.dtype.base
            if dtype is not None and dtypes.as_dtype(dtype).base is not kind:
                raise ShapeError(
                    f"the inputs are {kind.name}, dtype is {dtypes.as_dtype(dtype).name}",
                    loc=loc.caller(),
                )
            batch_size, dtype = have, kind
        if batch_size is None or dtype is None:
            raise GraphError(
                f"get_initial_state: give inputs, or batch_size and dtype; got "
                f"batch_size={batch_size!r}, dtype={dtype!r}",
                loc=loc.caller(),
            )
        return self.zero_state(batch_size, dtype)

    def zero_state(self, batch_size: Any, dtype: Any) -> Any:
        """A state of zeros.

        Args:
          batch_size: an int or a scalar tensor.
          dtype: of the state.
        """
        values = [batch_size] if is_tensor_like(batch_size) else None
        with name_scope(None, type(self).__name__ + "ZeroState", values):
            return zeros_of(self.state_size, batch_size, dtype)


def _unsaid(cell: RNNCell, what: str) -> UnimplementedError:
    return UnimplementedError(
        f"{type(cell).__name__} does not say its {what}", loc=loc.caller(),
        hint=f"give the class a property {what}: an int, a TensorShape, or a nest of them",
    )  # fmt: skip


def _known_int(value: Any) -> int | None:
    if value is None or isinstance(value, int):
        return value
    known = value.known if isinstance(value, Tensor) else value
    if isinstance(known, np.ndarray):
        known = known.item()
    return known if isinstance(known, int) else None


def zeros_of(sizes: Any, batch_size: Any, dtype: Any) -> Any:
    """Zeros nested as `sizes`, each with a batch axis in front."""

    batch = _known_int(batch_size)

    def one(size: Any) -> Tensor:
        sizes = shape_list(size)
        out = zeros([batch_size, *sizes], dtype)
        out.set_shape([batch, *sizes])
        return out

    return nest.map_structure(one, sizes)


def shape_list(size: Any) -> list[int]:
    """The sizes that an entry of `state_size` or `output_size` stands for.

    Raises:
      ValueError: they are not fully known.
    """
    if isinstance(size, TensorShape):
        shape = size
    else:
        shape = TensorShape([int(size)])
    if not shape.is_fully_defined():
        raise ShapeError(f"the size of a state must be known, got {shape}", loc=loc.caller())
    return [int(d) for d in shape]


class LayerRNNCell(RNNCell):
    """The base of the cells that come with the library: matrices in, matrices out."""

    def __init__(
        self, num_units: Any, reuse: Any = None, name: str | None = None, dtype: Any = None,
        trainable: bool = True, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(trainable=trainable, name=name, dtype=dtype, reuse=reuse, **kwargs)
        self._num_units = positive(num_units, f"{type(self).__name__}: num_units")
        self._depth: int | None = None

    @property
    def output_size(self) -> Any:
        """Width of the output."""
        return self._num_units

    def __call__(self, inputs: Any, state: Any, scope: Any = None) -> Any:
        """One step; see `RNNCell`."""
        if isinstance(inputs, (list, tuple)) and any(map(is_tensor_like, inputs)):
            raise UsageError(
                f"{self.name}: a cell takes one tensor [batch, depth], got a "
                f"{type(inputs).__name__} of {len(inputs)}",
                loc=loc.caller(),
                hint="static_rnn takes a list, one tensor for each step; "
                "tf.stack(inputs, axis=1) makes the inputs of dynamic_rnn of it",
            )
        x = convert(inputs, name="inputs")
        self._check_inputs(x)
        return super().__call__(x, state, scope)

    apply = __call__

    def _check_inputs(self, x: Tensor) -> None:
        if not x.dtype.base.is_floating:
            raise DtypeError(
                f"{self.name}: a cell computes with floats, the inputs are {x.dtype.base.name}",
                loc=loc.caller(), operands=(f"inputs: {x.describe()}",),
                hint="tf.nn.embedding_lookup, tf.one_hot or tf.cast makes floats of numbers",
            )  # fmt: skip
        if x.shape.ndims is not None and x.shape.ndims != 2:
            raise ShapeError(
                f"{self.name}: a cell takes inputs of shape [batch, depth], got {x.shape}",
                loc=loc.caller(), operands=(f"inputs: {x.describe()}",),
                hint="dynamic_rnn and static_rnn run a cell over an axis of time",
            )  # fmt: skip
        depth = x.shape.as_list()[1] if x.shape.ndims is not None else None
        if self.built and None not in (depth, self._depth) and depth != self._depth:
            raise ShapeError(
                f"{self.name}: its kernel is for inputs of depth {self._depth}, got {depth}",
                loc=loc.caller(), operands=(f"inputs: {x.describe()}",),
                hint="give each layer of a MultiRNNCell a cell of its own",
            )  # fmt: skip

    def depth_of(self, input_shape: Any) -> int:
        """The depth of the inputs, from their shape."""
        shape = TensorShape(input_shape)
        depth = shape.as_list()[-1] if shape.ndims else None
        if depth is None:
            raise ShapeError(
                f"{self.name}: the depth of the inputs must be known, their shape is {shape}",
                loc=loc.caller(), hint="set it with x.set_shape or tf.reshape",
            )  # fmt: skip
        self._depth = depth
        return depth

    def state_tensor(self, state: Any, width: int, what: str = "the state") -> Tensor:
        """`state` as a tensor of shape ``[batch, width]``."""
        if nest.is_nested(state) and any(is_tensor_like(s) for s in nest.flatten(state)):
            raise UsageError(
                f"{self.name}: {what} is one tensor of width {width}, got a "
                f"{type(state).__name__} of {len(state)}",
                loc=loc.caller(),
            )
        given, own = state.dtype.base if is_tensor_like(state) else None, self._dtype
        if given is not None and own is not None and given is not own:
            raise DtypeError(
                f"{self.name}: {what} is {given.name}, inputs and variables are {own.name}",
                loc=loc.caller(),
                hint=f"give dtype=tf.{own.name}, or a state of it",
            )
        t = convert(state, self._dtype, "state")
        have = t.shape.as_list() if t.shape.ndims is not None else [None, width]
        if len(have) != 2 or have[1] not in (None, width):
            raise ShapeError(
                f"{self.name}: {what} has shape {t.shape}, the cell's is (?, {width})",
                loc=loc.caller(), operands=(f"{t.name}: {t.describe()}",),
            )  # fmt: skip
        return t


def positive(value: Any, what: str) -> int:
    """`value` as an int that is at least 1."""
    try:
        n = int(value)
    except (TypeError, ValueError):
        n = 0
    if n < 1 or n != value:
        raise UsageError(f"{what} is a positive int, got {value!r}", loc=loc.caller())
    return n


__all__ = [
    "LayerRNNCell", "RNNCell", "activation_of", "batch_of", "outermost", "positive", "shape_list",
    "zeros_of",
]  # fmt: skip
