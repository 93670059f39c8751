"""`Tensor` and `Operation`: the nodes and edges of the graph that the user builds."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from staticgraph.errors import DtypeError, GraphError, ShapeError, UsageError
from staticgraph.ir import loc, tensor_shape
from staticgraph.ir.dtypes import DType
from staticgraph.ir.op import Op, RuleError, default_builder
from staticgraph.ir.operators import Operators
from staticgraph.ir.types import TensorType

if TYPE_CHECKING:
    from staticgraph.ir.graph import Graph

_THREAD = threading.local()
VALID_NAME = re.compile(r"^[A-Za-z0-9.][A-Za-z0-9_.\-/]*$")


def sessions() -> list[Any]:
    """This thread's stack of default sessions, innermost last."""
    stack = getattr(_THREAD, "sessions", None)
    if stack is None:
        stack = _THREAD.sessions = []
    return stack


def _session(session: Any, name: str) -> Any:
    if session is not None:
        return session
    stack = sessions()
    if not stack:
        raise UsageError(
            f"{name!r} cannot be evaluated: there is no default session",
            loc=loc.caller(),
            hint="use `with tf.Session():` or pass session=",
        )
    return stack[-1]


class Tensor(Operators):
    """A symbolic result of an operation; it has a value only inside a session's run.

    Attributes: `op`, `value_index`, `dtype`, `shape` (static), `name`, `graph`.
    """

    __slots__ = ("__weakref__", "_consumers", "_keras_shape", "known", "op", "type", "value_index")

    op: Operation
    value_index: int
    type: TensorType
    known: np.ndarray | None

    def __init__(
        self, op: Operation, index: int, type_: TensorType, known: np.ndarray | None
    ) -> None:
        self.op, self.value_index, self.type, self.known = op, index, type_, known
        self._consumers: list[Operation] = []

    @property
    def name(self) -> str:
        """``<operation>:<index>``."""
        return f"{self.op.name}:{self.value_index}"

    @property
    def graph(self) -> Graph:
        """The graph the tensor belongs to."""
        return self.op.graph

    @property
    def device(self) -> str:
        """The device asked for, or an empty string."""
        return self.op.device

    @property
    def dtype(self) -> DType:
        """The element type."""
        return self.type.dtype

    @property
    def shape(self) -> tensor_shape.TensorShape:
        """The static shape, None where a size is known only at run time."""
        return tensor_shape.from_dims(self.type.shape)

    def get_shape(self) -> tensor_shape.TensorShape:
        """The static shape."""
        return self.shape

    def set_shape(self, shape: object) -> None:
        """Add what you know of the static shape; ValueError where it contradicts what is known."""
        merged = self.shape.merge_with(shape)
        if merged.ndims is None:
            return
        old = self.type.shape or tuple(self.graph.fresh("d") for _ in range(len(merged)))
        new = tuple(
            d if isinstance(d, int) or m is None else m
            for d, m in zip(old, merged.as_list(), strict=True)
        )
        self.type = TensorType(self.type.dtype, new)

    def consumers(self) -> list[Operation]:
        """The operations that take this tensor."""
        return list(self._consumers)

    def eval(self, feed_dict: Mapping[Any, Any] | None = None, session: Any = None) -> Any:
        """Run the default session (or `session`) for this tensor's value."""
        return _session(session, self.name).run(self, feed_dict)

    def apply_op(
        self, op: Op, args: Sequence[Any], kwargs: Mapping[str, Any], name: str | None
    ) -> Tensor:
        """Build `op` in the default graph; `Op.__call__` comes here."""
        made: Tensor = default_builder()(op, args, kwargs, name)
        return made

    def describe(self) -> str:
        """Type and origin in one line, for error texts."""
        op, kind = self.op, self.op.type
        source = op.inputs[0].op if kind == "Identity" else op
        if source.type == "VariableV2":
            op, kind = source, "variable"
        return f"{self.type.public()}  {kind} {op.name!r} at {op.loc.short()}"

    def __repr__(self) -> str:
        return f"<tf.Tensor {self.name!r} shape={self.shape} dtype={self.dtype.name}>"

    def __str__(self) -> str:
        return f'Tensor("{self.name}", shape={self.shape}, dtype={self.dtype.name})'

    def _as_number(self) -> Any:
        raise UsageError(
            f"the tensor {self.name!r} has no value while the graph is built, so it is no number",
            loc=loc.caller(),
            operands=(f"{self.name}: {self.describe()}",),
            hint="run it in a session first: sess.run(x)",
        )

    __float__ = __int__ = _as_number

    def __bool__(self) -> bool:
        raise UsageError(
            f"the tensor {self.name!r} has no value while the graph is built, so it is neither "
            "true nor false",
            loc=loc.caller(),
            operands=(f"{self.name}: {self.describe()}",),
            hint="use tf.cond or tf.where to choose inside the graph, "
            "`is None` to test for presence",
        )

    def __len__(self) -> int:
        shape = self.shape
        if shape.ndims and shape.as_list()[0] is not None:
            return int(shape.as_list()[0] or 0)
        raise UsageError(
            f"the length of the tensor {self.name!r} is unknown while the graph is built",
            loc=loc.caller(),
            operands=(f"{self.name}: {self.describe()}",),
            hint="use tf.shape(x)[0] for its length at run time",
        )

    def __iter__(self) -> Iterator[Any]:
        if self.type.shape and isinstance(self.type.shape[0], int):
            return iter([self[i] for i in range(self.type.shape[0])])
        raise UsageError(
            f"the tensor {self.name!r} cannot be iterated: the size of its first axis is unknown "
            "while the graph is built"
            if self.type.shape != ()
            else f"the tensor {self.name!r} is a scalar and cannot be iterated",
            loc=loc.caller(),
            operands=(f"{self.name}: {self.describe()}",),
            hint="use tf.map_fn, tf.scan or tf.unstack(x, num)",
        )

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise UsageError(
            f"the tensor {self.name!r} has no value while the graph is built; numpy cannot use it",
            loc=loc.caller(),
            hint="run it in a session first: sess.run(x)",
        )


class Operation:
    """One application of an op: a node of the graph."""

    __slots__ = (
        "__weakref__", "attrs", "control_inputs", "device", "graph", "id", "inputs", "loc", "name",
        "outputs", "record",
    )  # fmt: skip

    def __init__(
        self, graph: Graph, id_: int, name: str, record: Op, inputs: tuple[Tensor, ...],
        attrs: dict[str, Any], control_inputs: tuple[Operation, ...], device: str, where: loc.Loc,
    ) -> None:  # fmt: skip
        self.graph, self.id, self.name, self.record = graph, id_, name, record
        self.inputs, self.attrs, self.control_inputs = inputs, attrs, control_inputs
        self.device, self.loc = device, where
        self.outputs: tuple[Tensor, ...] = ()

    @property
    def type(self) -> str:
        """The op's type name."""
        return self.record.name

    def values(self) -> tuple[Tensor, ...]:
        """The results."""
        return self.outputs

    def get_attr(self, name: str) -> Any:
        """The attribute `name`; ValueError where the op has none."""
        if name not in self.attrs:
            raise GraphError(f"{self.type} {self.name!r} has no attribute {name!r}")
        return self.attrs[name]

    def split(self) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
        """The inputs as data operands in order, and ``@`` operands by name."""
        return split_operands(self.record, self.inputs)

    def run(self, feed_dict: Mapping[Any, Any] | None = None, session: Any = None) -> None:
        """Run the operation in the default session (or `session`)."""
        _session(session, self.name).run(self, feed_dict)

    @property
    def node_def(self) -> str:
        """The operation as one line of text."""
        inputs = [t.name for t in self.inputs] + [f"^{c.name}" for c in self.control_inputs]
        attrs = "".join(f", {k}={v!r}" for k, v in self.attrs.items())
        return f"{self.name} = {self.type}({', '.join(inputs)}{attrs})"

    def __repr__(self) -> str:
        return f"<tf.Operation {self.name!r} type={self.type}>"

    def __str__(self) -> str:
        return self.node_def


def split_operands(record: Op, inputs: Sequence[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Sort flat inputs into data operands and ``@`` operands."""
    extra = len(inputs) - len(record.operands)
    data: list[Any] = []
    static: dict[str, Any] = {}
    i = 0
    for operand in record.operands:
        if operand.startswith("*"):
            data += inputs[i : i + extra + 1]
            i += extra + 1
        elif operand.startswith("@"):
            static[operand[1:]] = inputs[i]
            i += 1
        else:
            data.append(inputs[i])
            i += 1
    return tuple(data), static


def other_kind(x: Tensor | Operation) -> tuple[str, str | None]:
    """What `x` is where the other of the two is meant, and how to name that."""
    if isinstance(x, Tensor):
        return "a tensor, not an operation", None
    hint = f"tensors are named operation:index, here '{x.name}:0'" if x.outputs else None
    return "an operation, not a tensor", hint


def check_name(name: str, where: loc.Loc) -> None:
    """Refuse a name that could not be asked for, or read back from text."""
    if not VALID_NAME.match(name):
        raise GraphError(
            f"{name!r} is not a valid name of an operation", loc=where,
            hint="names hold letters, digits, . _ - /, and begin with a letter, a digit or a dot",
        )  # fmt: skip


def rule_error(
    e: RuleError, record: Op, name: str, inputs: Sequence[Tensor], where: loc.Loc
) -> ShapeError | DtypeError:
    """Dress a rule's refusal with op, operands and the user's line."""
    cls = DtypeError if e.kind == "dtype" else ShapeError
    names = [o.lstrip("@*") for o in record.operands]
    if record.variadic:
        names = [t.name for t in inputs]
    operands = [f"{n}: {t.describe()}" for n, t in zip(names, inputs, strict=False)]
    label = record.name
    return cls(f"{label}: {e.message}", loc=where, operands=operands, hint=e.hint)
