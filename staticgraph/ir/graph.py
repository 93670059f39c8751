"""`Graph`: what the user builds.

A graph only grows.  An operation's inputs and control inputs always exist before it, so creation
order is a topological order and no traversal needs to recurse.  Each operation is an `Op` record
applied to tensors and attributes; `Tensor.known` follows shape arithmetic (arrays of
sizes) at build time, which is how ``tf.reshape(x, [tf.shape(x)[0], -1])`` has a static shape.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from staticgraph.errors import (
    GraphError,
    NameNotFoundError,
    UsageError,
)
from staticgraph.ir import loc, tensor
from staticgraph.ir.dims import Dim, symbol
from staticgraph.ir.known import known_value, nested
from staticgraph.ir.op import Infer, Op, RuleError, infer
from staticgraph.ir.tensor import Operation, Tensor, rule_error, sessions, split_operands

_VALID_SCOPE = re.compile(r"^[A-Za-z0-9_.\-/]*$")
_OF, _RESULT = "the body of {}, outside of which it has no value", "make it a result of the body"


class Graph:
    """A set of operations with unique names, scopes and collections.

    >>> g = Graph()
    >>> with g.as_default(), g.name_scope("layer"):
    ...     g.unique_name("w")
    'layer/w'
    """

    outer_graph: Graph | None = None  # of the body of a loop or branch
    what = "a graph"  # what a body is the body of, for error texts

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._ops: list[Operation] = []
        self._by_name: dict[str, Operation] = {}
        self._names: dict[str, int] = {}
        self._collections: dict[Any, list[Any]] = {}
        self._symbols = 0
        self._finalized = False
        self.seed: int | None = None
        self._scope = threading.local()
        self.building_function = False
        self.variable_store: Any = None  # owned by the API's variable scopes
        self.gradient_overrides: dict[str, str] = {}
        self.draws: dict[str, Operation] = {}  # random operations, those of bodies included
        self._unfeedable: set[Tensor] = set()
        self._unfetchable: set[Operation] = set()

    # ---- state of the building thread
    def _state(self) -> _Building:
        state = getattr(self._scope, "state", None)
        if state is None:
            state = self._scope.state = _Building()
        return state

    @contextmanager
    def as_default(self) -> Iterator[Graph]:
        """Make this the graph that operations are built in."""
        stack = _graphs()
        stack.append(self)
        try:
            yield self
        finally:
            if stack[-1] is not self:
                raise GraphError("default graphs must be left in the order they were entered")
            stack.pop()

    # ---- names
    def unique_name(self, name: str, mark_as_used: bool = True) -> str:
        """A name nobody has, in the current scope: ``mul``, ``mul_1``, ...; case is ignored."""
        scope = self._state().name_scope
        full = f"{scope}/{name}" if scope else name
        with self._lock:
            key = full.lower()
            i = self._names.get(key, 0)
            if mark_as_used:
                self._names[key] = i + 1
            if i > 0:
                base = key
                while key in self._names:
                    key = f"{base}_{i}"
                    i += 1
                if mark_as_used:
                    self._names[key] = 1
                full = f"{full}_{i - 1}"
        return full

    @contextmanager
    def name_scope(self, name: str | None) -> Iterator[str]:
        """Prefix names with a unique scope; a name that ends in ``/`` re-enters it."""
        state = self._state()
        old = state.name_scope
        if name:
            valid = _VALID_SCOPE if old else tensor.VALID_NAME
            if not valid.match(name):
                raise GraphError(f"{name!r} is not a valid scope name", loc=loc.caller())
            new = name[:-1] if name.endswith("/") else self.unique_name(name)
        else:
            new = ""
        state.name_scope = new
        try:
            yield f"{new}/" if new else ""
        finally:
            state.name_scope = old

    def get_name_scope(self) -> str:
        """The current scope, without a trailing slash."""
        return self._state().name_scope

    def reserve_symbols(self, names: Iterable[str]) -> None:
        """Never give out these names of sizes; for graphs whose types come from a text."""
        numbers = [n.rpartition(".")[2] for n in names]
        with self._lock:
            self._symbols = max([self._symbols, *(int(k) for k in numbers if k.isdigit())])

    # ---- context
    @contextmanager
    def control_dependencies(self, control_inputs: Sequence[Any] | None) -> Iterator[None]:
        """Run `control_inputs` before the operations built inside; None clears the context."""
        state = self._state()
        old = state.controls
        if control_inputs is None:
            new: tuple[Operation, ...] = ()
        else:
            ops = []
            for c in control_inputs:
                element = self.as_graph_element(c)
                ops.append(element.op if isinstance(element, Tensor) else element)
            new = tuple(dict.fromkeys([*old, *ops]))
        state.controls = new
        try:
            yield
        finally:
            state.controls = old

    @property
    def current_control_inputs(self) -> tuple[Operation, ...]:
        """The control inputs that a new operation gets."""
        return self._state().controls

    @contextmanager
    def device(self, name: object) -> Iterator[None]:
        """Ask for a device for the operations built inside."""
        state = self._state()
        old = state.device
        state.device = "" if name is None else str(name) if not callable(name) else old
        try:
            yield
        finally:
            state.device = old

    @contextmanager
    def colocate_with(self, op: object, ignore_existing: bool = False) -> Iterator[None]:
        """Ask for the device of `op`."""
        del ignore_existing
        found: Any = op.as_graph_element() if hasattr(op, "as_graph_element") else op
        element = found if hasattr(found, "device") else self.as_graph_element(op)
        with self.device(element.device):
            yield

    @contextmanager
    def gradient_override_map(self, op_type_map: Mapping[str, str]) -> Iterator[None]:
        """Use registered gradients by name for op types built inside."""
        state = self._state()
        old = state.overrides
        state.overrides = {**old, **op_type_map}
        try:
            yield
        finally:
            state.overrides = old

    # ---- collections
    def add_to_collection(self, name: Any, value: Any) -> None:
        """Append `value` to the collection `name`."""
        self._check_open()
        self._collections.setdefault(name, []).append(value)

    def add_to_collections(self, names: Any, value: Any) -> None:
        """Append `value` to each collection of `names`, once each."""
        names = (names,) if isinstance(names, str) else dict.fromkeys(names or ())
        for name in names:
            self.add_to_collection(name, value)

    def get_collection(self, name: Any, scope: str | None = None) -> list[Any]:
        """A copy of a collection, filtered by a regular expression on names."""
        items = self._collections.get(name, [])
        if not scope:
            return list(items)
        pattern = re.compile(scope)
        return [x for x in items if hasattr(x, "name") and pattern.match(x.name)]

    def get_collection_ref(self, name: Any) -> list[Any]:
        """The collection itself: changes to it are kept."""
        return self._collections.setdefault(name, [])

    def get_all_collection_keys(self) -> list[Any]:
        """Names of the collections that hold something."""
        return [k for k, v in self._collections.items() if v]

    def clear_collection(self, name: Any) -> None:
        """Empty a collection."""
        self._collections.pop(name, None)

    # ---- operations
    def fresh(self, hint: str) -> Dim:
        """A new size symbol."""
        with self._lock:
            self._symbols += 1
            return symbol(f"{hint}.{self._symbols}")

    def create_operation(
        self, record: Op, inputs: Sequence[Tensor], attrs: Mapping[str, Any], name: str,
        where: loc.Loc | None = None,
    ) -> Operation:  # fmt: skip
        """Infer types and add an operation; every building path ends here.

        Raises:
          ShapeError, DtypeError: the inputs do not fit, with the user's line.
          GraphError: the graph is finalized, an input of another graph, or the name no name.
        """
        where = where or loc.caller()
        self._check_open()
        tensor.check_name(name, where)
        if any(t.graph is not self for t in inputs):
            inputs = [self.adopt(t, record, inputs, where) for t in inputs]
        data, static = split_operands(record, inputs)
        values = {k: self.static_value(t) for k, t in static.items()}
        ctx = Infer(self.fresh, assume=False)
        try:
            types = infer(record, [t.type for t in data], {**attrs, **values}, ctx)
        except RuleError as e:
            raise rule_error(e, record, name, inputs, where) from None
        state = self._state()
        with self._lock:
            unique = name[:-1] if name.endswith("/") else self.unique_name(name)
            if unique in self._by_name:
                unique = self.unique_name(unique.rsplit("/", 1)[-1])
            frozen = dict(attrs)
            override = state.overrides.get(record.name)
            if override is not None:
                frozen["_gradient_op_type"] = override
            op = Operation(
                self, len(self._ops), unique, record, tuple(inputs), frozen, state.controls,
                state.device, where,
            )  # fmt: skip
            op.outputs = tuple(
                Tensor(
                    op,
                    i,
                    t,
                    known_value(
                        record,
                        t,
                        [d.type for d in data],
                        [d.known for d in data],
                        {**attrs, **values},
                        i,
                    ),
                )
                for i, t in enumerate(types)
            )
            self._ops.append(op)
            self._by_name[unique] = op
            if record.effect == "random":
                self.root.draws[unique] = op
            for t in inputs:
                t._consumers.append(op)
        return op

    def adopt(self, t: Tensor, record: Op, inputs: Sequence[Tensor], where: loc.Loc) -> Tensor:
        """What stands in this graph for a tensor that `record` is applied to.

        Raises:
          GraphError: the tensor belongs to another graph.
        """
        if t.graph is self:
            return t
        operands = [f"{x.name}: {x.describe()}" for x in inputs]
        if t.graph.within(self):
            raise GraphError(
                f"{record.name}: the tensor {t.name!r} belongs to {_OF.format(t.graph.what)}",
                loc=where, operands=operands, hint=_RESULT,
            )  # fmt: skip
        raise GraphError(
            f"{record.name}: the tensor {t.name!r} belongs to another graph", loc=where,
            operands=operands, hint="build both in one graph, with graph.as_default()",
        )  # fmt: skip

    @property
    def root(self) -> Graph:
        """The graph itself, or the outermost one around a body."""
        graph = self
        while graph.outer_graph is not None:
            graph = graph.outer_graph
        return graph

    def within(self, other: Graph) -> bool:
        """True where this graph is `other` or the body of a loop or branch in it."""
        graph: Graph | None = self
        while graph is not None:
            if graph is other:
                return True
            graph = graph.outer_graph
        return False

    def bodies(self) -> Iterator[Graph]:
        """The bodies of all loops and branches in this graph, and in those."""
        for op in self._ops:
            if op.record.control:
                for value in op.attrs.values():
                    for body in value if isinstance(value, tuple) else (value,):
                        if isinstance(body, Graph):
                            yield body
                            yield from body.bodies()

    def static_value(self, t: Tensor) -> Any:
        """The value of an ``@`` operand: a tuple of sizes, a size, fresh symbols, or None."""
        if t.known is not None:
            return nested(t.known)
        shape = t.type.shape
        if shape == ():
            return self.fresh("s")
        if shape is not None and len(shape) == 1 and isinstance(shape[0], int):
            return tuple(self.fresh("s") for _ in range(shape[0]))
        return None

    def get_operations(self) -> list[Operation]:
        """All operations in the order of their creation."""
        return list(self._ops)

    @property
    def operations(self) -> list[Operation]:
        """The list of all operations itself, for those who watch its length; not to be changed."""
        return self._ops

    @property
    def version(self) -> int:
        """Grows by one with each operation."""
        return len(self._ops)

    @property
    def last_id(self) -> int:
        """Number of operations; unset op seeds are derived from it."""
        return len(self._ops)

    def get_operation_by_name(self, name: str) -> Operation:
        """The operation `name`; an error that lists near names where there is none."""
        element = self.as_graph_element(name, allow_tensor=False)
        assert isinstance(element, Operation)
        return element

    def get_tensor_by_name(self, name: str) -> Tensor:
        """The tensor ``name:index``."""
        element = self.as_graph_element(name, allow_operation=False)
        assert isinstance(element, Tensor)
        return element

    def as_graph_element(
        self, obj: Any, allow_tensor: bool = True, allow_operation: bool = True
    ) -> Tensor | Operation:
        """The tensor or operation that `obj` (an object or a name) stands for in this graph."""
        if not isinstance(obj, (Tensor, Operation, str)) and hasattr(obj, "as_graph_element"):
            obj = obj.as_graph_element()
        if isinstance(obj, (Tensor, Operation)):
            if obj.graph is not self:
                made = obj.describe() if isinstance(obj, Tensor) else f"made at {obj.loc.short()}"
                inner = obj.graph.within(self)
                raise GraphError(
                    f"{obj.name!r} belongs to {_OF.format(obj.graph.what)}" if inner
                    else f"{obj.name!r} belongs to another graph",
                    loc=loc.caller(), operands=(f"{obj.name}: {made}",),
                    hint=_RESULT if inner else None,
                )  # fmt: skip
            if not (allow_tensor if isinstance(obj, Tensor) else allow_operation):
                what, hint = tensor.other_kind(obj)
                raise UsageError(f"{obj.name!r} is {what}", loc=loc.caller(), hint=hint)
            return obj
        if not isinstance(obj, str):
            raise UsageError(
                f"{obj!r} ({type(obj).__name__}) is neither a tensor, an operation nor a name",
                loc=loc.caller(),
            )
        return self._by_text(obj, allow_tensor, allow_operation)

    def _by_text(self, text: str, allow_tensor: bool, allow_operation: bool) -> Tensor | Operation:
        name, colon, index = text.partition(":")
        op = self._by_name.get(name)
        if op is None:
            for body in self.bodies():
                if name in body._by_name:
                    raise NameNotFoundError(
                        f"{name!r} belongs to {_OF.format(body.what)}", loc=loc.caller(),
                        hint=_RESULT,
                    )  # fmt: skip
            near = [n for n in self._by_name if n.lower().endswith(name.lower().rsplit("/", 1)[-1])]
            raise NameNotFoundError(
                f"the graph holds no operation named {name!r}", loc=loc.caller(),
                hint="did you mean " + ", ".join(map(repr, near[:3])) if near else None,
            )  # fmt: skip
        if not colon:
            if allow_operation:
                return op
            what, hint = tensor.other_kind(op)
            raise GraphError(f"{text!r} names {what}", loc=loc.caller(), hint=hint)
        if not allow_tensor:
            raise GraphError(f"{text!r} names a tensor, not an operation", loc=loc.caller())
        if not index.isdigit() or int(index) >= len(op.outputs):
            what = f"operation {name!r} has {len(op.outputs)} results"
            raise NameNotFoundError(f"{what}, so there is no tensor {text!r}", loc=loc.caller())
        return op.outputs[int(index)]

    # ---- properties of the whole
    def finalize(self) -> None:
        """Refuse further operations."""
        self._finalized = True

    @property
    def finalized(self) -> bool:
        """True after `finalize`."""
        return self._finalized

    def _check_open(self) -> None:
        if self._finalized:
            raise GraphError("the graph is finalized and cannot be changed", loc=loc.caller())

    def is_feedable(self, tensor: Any) -> bool:
        """True where `tensor` may be fed."""
        return tensor not in self._unfeedable

    def is_fetchable(self, tensor_or_op: Any) -> bool:
        """True where `tensor_or_op` may be fetched."""
        op = tensor_or_op.op if isinstance(tensor_or_op, Tensor) else tensor_or_op
        return op not in self._unfetchable

    def prevent_feeding(self, tensor: Tensor) -> None:
        """Refuse feeds of `tensor`."""
        self._unfeedable.add(tensor)

    def prevent_fetching(self, op: Operation) -> None:
        """Refuse fetches of `op`."""
        self._unfetchable.add(op)

    def as_graph_def(self, from_version: int | None = None, add_shapes: bool = False) -> str:
        """The graph as text, one operation a line, with result types if `add_shapes`."""
        lines = []
        for op in self._ops[from_version or 0 :]:
            types = " -> " + ", ".join(str(t.type) for t in op.outputs) if add_shapes else ""
            lines.append(op.node_def + types)
        return "\n".join(lines) + "\n"

    def __repr__(self) -> str:
        return f"<tf.Graph with {len(self._ops)} operations>"


class _Building:
    """What one thread has opened: scope, control inputs, device, gradient overrides."""

    def __init__(self) -> None:
        self.name_scope = ""
        self.controls: tuple[Operation, ...] = ()
        self.device = ""
        self.overrides: dict[str, str] = {}


# ---------------------------------------------------------------- default graph and session

_THREAD = threading.local()
_GLOBAL: list[Graph] = []
_GLOBAL_LOCK = threading.Lock()


def _graphs() -> list[Graph]:
    stack = getattr(_THREAD, "graphs", None)
    if stack is None:
        stack = _THREAD.graphs = []
    return stack


def get_default_graph() -> Graph:
    """The innermost graph of this thread, or the global one."""
    stack = _graphs()
    if stack:
        return stack[-1]
    with _GLOBAL_LOCK:
        if not _GLOBAL:
            _GLOBAL.append(Graph())
        return _GLOBAL[0]


def reset_default_graph() -> None:
    """Replace the global default graph by an empty one."""
    if _graphs():
        raise GraphError(
            "reset_default_graph cannot be called while another graph is the default",
            loc=loc.caller(),
        )
    with _GLOBAL_LOCK:
        _GLOBAL[:] = [Graph()]


__all__ = [
    "Graph", "Operation", "Tensor", "get_default_graph", "nested", "reset_default_graph",
    "sessions",
]  # fmt: skip
