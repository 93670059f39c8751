"""`Variable`: a tensor that lives from run to run.

A variable used as a tensor is its ``read``, which sees the value at the start of the run; under
`control_dependencies` it gets a read of its own, which sees the writes it comes after.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from staticgraph.api.collections import GraphKeys
from staticgraph.api.framework import flatten, get_default_session, init_scope, name_scope
from staticgraph.errors import GraphError, ShapeError, UsageError
from staticgraph.ir import dtypes, loc
from staticgraph.ir.build import convert
from staticgraph.ir.dtypes import DType
from staticgraph.ir.graph import Graph, Operation, Tensor, get_default_graph
from staticgraph.ir.op import Op, default_builder, lookup
from staticgraph.ir.operators import Operators
from staticgraph.ir.tensor_shape import TensorShape

_OWNERS = "_variable_of_operation"  # collection key: {VariableV2 operation: Variable}


def variable_of(op: Operation) -> Variable | None:
    """The variable whose storage `op` is."""
    for table in op.graph.get_collection(_OWNERS):
        return table.get(op)  # type: ignore[no-any-return]
    return None


def _check_made_outside(value: Tensor) -> None:
    """Refuse an initial value that exists only in the iterations of a loop, or in a branch."""
    if value.graph.outer_graph is not None:
        raise GraphError(
            "a variable is made once, but its initial value is computed in the body of "
            f"{value.graph.what}",
            loc=loc.caller(), operands=(f"{value.name}: {value.describe()}",),
            hint="give a function: tf.Variable(lambda: ...)",
        )  # fmt: skip


class Variable(Operators):
    """A tensor that keeps its value between runs.

    Args:
      initial_value: the first value: a tensor, a value, or a function without arguments that
        gives one; its shape and dtype become the variable's.
      trainable: whether optimizers change it by default.
      collections: graph collections it is added to; `GraphKeys.GLOBAL_VARIABLES` by default.
      validate_shape: False allows the shape to change; the static shape is then unknown.
      name: name of the variable; made unique.
      dtype: element type to convert the initial value to.
      constraint: a function applied to the value after an optimizer has changed it.

    Raises:
      ValueError: no initial value.

    >>> import staticgraph as tf
    >>> tf.Variable(tf.zeros((2, 3)), name="w")
    <tf.Variable 'w:0' shape=(2, 3) dtype=float32_ref>
    """

    def __init__(
        self, initial_value: Any = None, trainable: bool | None = None,
        collections: Any = None, validate_shape: bool = True, caching_device: Any = None,
        name: str | None = None, variable_def: Any = None, dtype: Any = None,
        expected_shape: Any = None, import_scope: Any = None,
        constraint: Callable[[Any], Any] | None = None, use_resource: bool | None = None,
        synchronization: Any = None, aggregation: Any = None, shape: Any = None,
    ) -> None:  # fmt: skip
        del (
            caching_device,
            variable_def,
            expected_shape,
            import_scope,
            use_resource,
            synchronization,
        )
        if initial_value is None:
            raise UsageError("initial_value must be specified", loc=loc.caller())
        if constraint is not None and not callable(constraint):
            raise UsageError("the constraint must be callable", loc=loc.caller())
        collections = [GraphKeys.GLOBAL_VARIABLES] if collections is None else collections
        if not isinstance(collections, (list, tuple, set)):
            raise UsageError(
                f"collections must be a list, tuple or set, got {collections!r}", loc=loc.caller()
            )
        trainable = True if trainable is None else bool(trainable)
        collections = list(collections)
        if trainable and GraphKeys.TRAINABLE_VARIABLES not in collections:
            collections.append(GraphKeys.TRAINABLE_VARIABLES)
        self._trainable, self._constraint, self._aggregation = trainable, constraint, aggregation
        self.loc = loc.caller()
        wanted = None if dtype is None else dtypes.as_dtype(dtype).base
        with init_scope():
            self._build(initial_value, wanted, name, validate_shape, shape)
            graph = get_default_graph()
            for key in dict.fromkeys(collections):
                graph.add_to_collection(key, self)

    def _build(
        self, initial: Any, dtype: DType | None, name: str | None, validate_shape: bool, shape: Any
    ) -> None:
        given = isinstance(initial, Tensor) or hasattr(initial, "as_graph_tensor")
        if isinstance(initial, Tensor):
            _check_made_outside(initial)
        with name_scope(name, "Variable", [initial] if given else None) as scope:
            graph = get_default_graph()
            if callable(initial) and not given:
                with graph.name_scope("Initializer"):
                    value = convert(initial(), dtype, "initial_value")
            else:
                value = convert(initial, dtype, "initial_value")
            _check_made_outside(value)
            sizes = value.shape if shape is None else TensorShape(shape)
            if validate_shape and not sizes.ndims and sizes.ndims != 0:
                raise ShapeError(
                    f"initial_value must have a shape: {value.name!r} is of unknown rank",
                    loc=loc.caller(),
                    hint="give the tensor a shape with set_shape, or pass validate_shape=False",
                )
            static = tuple(sizes.as_list()) if validate_shape and sizes.ndims is not None else None
            self._initial_value = value
            op = graph.create_operation(
                lookup("VariableV2"), (),
                {"dtype": value.dtype.base, "shape": static, "container": "", "shared_name": ""},
                scope,
            )  # fmt: skip
            self._ref: Tensor = op.outputs[0]
            table = graph.get_collection_ref(_OWNERS)
            if not table:
                table.append({})
            table[0][op] = self
            start = _with_safe_reads(value, self)
            self._initializer: Operation = lookup("Assign")(
                self._ref, start, validate_shape=validate_shape, use_locking=True, name="Assign"
            ).op
            self._snapshot: Tensor = lookup("Identity")(self._ref, name="read")

    # ---- what it is
    @property
    def name(self) -> str:
        """Name of the reference, ``<name>:0``."""
        return self._ref.name

    @property
    def _shared_name(self) -> str:
        return self._ref.op.name

    @property
    def op(self) -> Operation:
        """The operation that stands for the storage."""
        return self._ref.op

    @property
    def graph(self) -> Graph:
        """The graph the variable belongs to."""
        return self._ref.graph

    @property
    def device(self) -> str:
        """The device asked for, or an empty string."""
        return self._ref.device

    @property
    def dtype(self) -> DType:
        """The element type, a reference."""
        return self._ref.dtype

    @property
    def shape(self) -> TensorShape:
        """The static shape."""
        return self._ref.shape

    def get_shape(self) -> TensorShape:
        """The static shape."""
        return self._ref.shape

    def set_shape(self, shape: Any) -> None:
        """Add what you know of the static shape."""
        self._ref.set_shape(shape)
        self._snapshot.set_shape(shape)

    @property
    def type(self) -> Any:
        """The type of the value."""
        return self._snapshot.type

    @property
    def initializer(self) -> Operation:
        """The operation that gives the variable its first value."""
        return self._initializer

    @property
    def initial_value(self) -> Tensor:
        """The tensor the first value comes from."""
        return self._initial_value

    @property
    def trainable(self) -> bool:
        """Whether optimizers change it by default."""
        return self._trainable

    @property
    def constraint(self) -> Callable[[Any], Any] | None:
        """The function applied after an optimizer's update, or None."""
        return self._constraint

    @property
    def aggregation(self) -> Any:
        """What was passed as `aggregation`."""
        return self._aggregation

    # ---- reading
    def as_graph_tensor(self) -> Tensor:
        """The tensor that stands for the value where the variable is used as a tensor."""
        graph = get_default_graph()
        if graph is self.graph and graph.current_control_inputs:
            return self.read_value()
        return self._snapshot

    def as_graph_element(self) -> Tensor:
        """The reference; a session gives the value at the end of the run for it."""
        return self._ref

    def value(self) -> Tensor:
        """The value as a tensor."""
        return self.as_graph_tensor()

    def read_value(self) -> Tensor:
        """A new read, which sees the writes that the control dependencies in force name."""
        return lookup("Identity")(self._ref, name="read")  # type: ignore[no-any-return]

    def initialized_value(self) -> Tensor:
        """The value, or the initial value where the variable has none yet."""
        with init_scope():
            return lookup("InitializedValue")(self._ref, self._initial_value)  # type: ignore[no-any-return]

    def eval(self, session: Any = None) -> Any:
        """The value, from `session` or the default session."""
        return self._ref.eval(session=session)

    def experimental_ref(self) -> Variable:
        """The variable itself, which hashes by identity."""
        return self

    ref = experimental_ref

    def gather_nd(self, indices: Any, name: str | None = None) -> Tensor:
        """Elements or slices by coordinates."""
        return lookup("GatherNd")(self.as_graph_tensor(), indices, name=name)  # type: ignore[no-any-return]

    def sparse_read(self, indices: Any, name: str | None = None) -> Tensor:
        """Rows by number."""
        return lookup("GatherV2")(self.as_graph_tensor(), indices, 0, name=name)  # type: ignore[no-any-return]

    # ---- writing
    def assign(
        self,
        value: Any,
        use_locking: bool = False,
        name: str | None = None,
        read_value: bool = True,
    ) -> Any:
        """Build a write of `value`; the result is the value just after it."""
        out = lookup("Assign")(
            self._ref, value, validate_shape=self._ref.type.shape is not None,
            use_locking=use_locking, name=name,
        )  # fmt: skip
        return out if read_value else out.op

    def assign_add(
        self,
        delta: Any,
        use_locking: bool = False,
        name: str | None = None,
        read_value: bool = True,
    ) -> Any:
        """Build an addition of `delta` to the value left by the write before."""
        out = lookup("AssignAdd")(self._ref, delta, use_locking=use_locking, name=name)
        return out if read_value else out.op

    def assign_sub(
        self,
        delta: Any,
        use_locking: bool = False,
        name: str | None = None,
        read_value: bool = True,
    ) -> Any:
        """Build a subtraction of `delta` from the value left by the write before."""
        out = lookup("AssignSub")(self._ref, delta, use_locking=use_locking, name=name)
        return out if read_value else out.op

    def _scatter(self, op: str, delta: Any, use_locking: bool, name: str | None) -> Tensor:
        return lookup(op)(  # type: ignore[no-any-return]
            self._ref, delta.indices, delta.values, use_locking=use_locking, name=name
        )

    def scatter_update(
        self, sparse_delta: Any, use_locking: bool = False, name: str | None = None
    ) -> Tensor:
        """Put ``sparse_delta.values`` into rows ``sparse_delta.indices``."""
        return self._scatter("ScatterUpdate", sparse_delta, use_locking, name)

    def scatter_add(
        self, sparse_delta: Any, use_locking: bool = False, name: str | None = None
    ) -> Tensor:
        """Add to rows."""
        return self._scatter("ScatterAdd", sparse_delta, use_locking, name)

    def scatter_sub(
        self, sparse_delta: Any, use_locking: bool = False, name: str | None = None
    ) -> Tensor:
        """Subtract from rows."""
        return self._scatter("ScatterSub", sparse_delta, use_locking, name)

    def scatter_mul(
        self, sparse_delta: Any, use_locking: bool = False, name: str | None = None
    ) -> Tensor:
        """Multiply rows."""
        return self._scatter("ScatterMul", sparse_delta, use_locking, name)

    def scatter_div(
        self, sparse_delta: Any, use_locking: bool = False, name: str | None = None
    ) -> Tensor:
        """Divide rows."""
        return self._scatter("ScatterDiv", sparse_delta, use_locking, name)

    def scatter_min(
        self, sparse_delta: Any, use_locking: bool = False, name: str | None = None
    ) -> Tensor:
        """Take the minimum of rows and values."""
        return self._scatter("ScatterMin", sparse_delta, use_locking, name)

    def scatter_max(
        self, sparse_delta: Any, use_locking: bool = False, name: str | None = None
    ) -> Tensor:
        """Take the maximum of rows and values."""
        return self._scatter("ScatterMax", sparse_delta, use_locking, name)

    def scatter_nd_update(self, indices: Any, updates: Any, name: str | None = None) -> Tensor:
        """Put `updates` into the places `indices`."""
        return lookup("ScatterNdUpdate")(self._ref, indices, updates, name=name)  # type: ignore[no-any-return]

    def scatter_nd_add(self, indices: Any, updates: Any, name: str | None = None) -> Tensor:
        """Add `updates` to the places `indices`."""
        return lookup("ScatterNdAdd")(self._ref, indices, updates, name=name)  # type: ignore[no-any-return]

    def scatter_nd_sub(self, indices: Any, updates: Any, name: str | None = None) -> Tensor:
        """Subtract `updates` from the places `indices`."""
        return lookup("ScatterNdSub")(self._ref, indices, updates, name=name)  # type: ignore[no-any-return]

    def count_up_to(self, limit: int) -> Tensor:
        """Add one and give the value before; the run fails where that value is `limit`."""
        graph = self.graph
        with name_scope(None, "CountUpTo", [self._ref]):
            before = self.read_value()
            ok = before < limit
            with graph.control_dependencies([lookup("Assert")(ok, [before], name="below_limit")]):
                step = lookup("AssignAdd")(self._ref, 1)
            with graph.control_dependencies([step]):
                return lookup("Identity")(before)  # type: ignore[no-any-return]

    def load(self, value: Any, session: Any = None) -> None:
        """Put `value` into the variable now, in `session` or the default session."""
        session = session or _default_session(self.name)
        session.run(self._initializer, {self._initializer.inputs[1]: value})

    # ---- behaving as a tensor
    def apply_op(self, op: Op, args: Any, kwargs: Mapping[str, Any], name: str | None) -> Any:
        """Build `op`; a variable of another graph takes the building there."""
        graph = get_default_graph()
        others = flatten([args, kwargs])
        if not graph.within(self.graph) and not any(
            getattr(x, "graph", None) is graph for x in others
        ):
            with self.graph.as_default():
                return default_builder()(op, args, kwargs, name)
        return default_builder()(op, args, kwargs, name)

    def describe(self) -> str:
        """Type and origin in one line, for error texts."""
        return f"{self._ref.type.public()}  variable {self.op.name!r} at {self.loc.short()}"

    def __iter__(self) -> NoReturn:
        raise UsageError(f"the variable {self.name!r} cannot be iterated", loc=loc.caller())

    def __repr__(self) -> str:
        return f"<tf.Variable {self.name!r} shape={self.shape} dtype={self.dtype.name}>"

    __str__ = __repr__


def _default_session(name: str) -> Any:
    session = get_default_session()
    if session is None:
        raise UsageError(
            f"{name!r} cannot be loaded: there is no default session", loc=loc.caller(),
            hint="use `with tf.Session():` or pass session=",
        )  # fmt: skip
    return session


def _with_safe_reads(value: Tensor, variable: Variable) -> Tensor:
    """`value` computed from variables that may not be initialised before.

    Initialisers run in one step and in any order, so where an initial value is computed from
    another variable, the reads of that one become reads of its value or its initial value.
    """
    seen: set[Operation] = set()
    stack = [value.op]
    found = False
    while stack:
        op = stack.pop()
        if op in seen or op.type == "InitializedValue":
            continue
        seen.add(op)
        found = found or op.type == "VariableV2"
        stack += [t.op for t in op.inputs]
    if not found:
        return value
    graph = value.graph
    swap: dict[Tensor, Tensor] = {}
    for op in sorted(seen, key=lambda o: o.id):
        if op.type == "Identity" and op.inputs[0].op.type == "VariableV2":
            owner = variable_of(op.inputs[0].op)
            if owner is not None:
                swap[op.outputs[0]] = owner.initialized_value()
        elif any(t in swap for t in op.inputs) and op.record.effect == "pure":
            name = graph.unique_name(
                f"{op.name.rsplit('/', 1)[-1]}_{variable.op.name.rsplit('/', 1)[-1]}"
            )
            new = graph.create_operation(
                op.record, [swap.get(t, t) for t in op.inputs], op.attrs, name + "/", op.loc
            )
            swap.update(zip(op.outputs, new.outputs, strict=True))
    return swap.get(value, value)


VariableV1 = Variable

__all__ = ["Variable", "VariableV1"]
