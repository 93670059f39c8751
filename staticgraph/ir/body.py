"""`BodyGraph`: the body of a loop or branch as the user builds it.

A body is a graph of its own inside another.  Its parameters are placeholders whose values the
loop gives; a tensor of an enclosing graph that is used inside becomes a further parameter, a
*capture*.  Plain reads of variables are built again inside instead, so that a read sees what the
iteration has written, and so are integer constants, which may be axes and sizes.  When the body
is complete it is frozen, and the operation that runs it takes the captured tensors as operands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from staticgraph.errors import GraphError
from staticgraph.ir import loc
from staticgraph.ir.dims import Dim
from staticgraph.ir.graph import Graph
from staticgraph.ir.op import Op, lookup
from staticgraph.ir.tensor import Operation, Tensor
from staticgraph.ir.types import TensorType

Gradient = Callable[[str, Any, Any, Sequence[Tensor], Mapping[str, Any]], Any]


_GRADIENT: list[Gradient] = []


def set_body_gradient(gradient: Gradient) -> None:
    """Set what differentiates operations whose bodies were read from a text."""
    _GRADIENT[:] = [gradient]


def body_gradient(
    kind: str, g: Any, y: Any, inputs: Sequence[Tensor], attrs: Mapping[str, Any]
) -> Any:
    """What differentiates an operation with bodies; see `BodyGraph`."""
    return _GRADIENT[0](kind, g, y, inputs, attrs)


class BodyGraph(Graph):
    """A graph inside a graph; see the module's text.

    Args:
      outer: the graph that the loop or branch is built in.
      what: ``the loop 'while'``, for error texts.
      gradient: builds the gradient of the operation that runs the body: it gets "loop" or
        "branch", the cotangents, results, operands and attributes, and gives the operands'
        cotangents.
    """

    def __init__(self, outer: Graph, what: str, gradient: Gradient, where: loc.Loc) -> None:
        super().__init__()
        self.outer_graph = self._outer = outer
        self.what, self.gradient, self.loc = what, gradient, where
        self.seed = outer.seed
        self.building_function = True
        self._collections = outer._collections
        self.params: list[Tensor] = []
        self.captures: dict[Tensor, Tensor] = {}  # outer tensor -> parameter
        self.sources: dict[Tensor, Tensor] = {}  # parameter -> outer tensor
        self.results: tuple[Tensor, ...] = ()
        self.names: tuple[str, ...] = ()  # of the carries, for error texts
        self.segments = False  # its iterations are segments of a loop, to need less memory
        self.residuals: dict[Tensor, int] = {}  # value that is kept for gradients -> result
        self.after: dict[Operation, None] = {}  # outer operations that must have run before
        self._copies: dict[Tensor, Tensor] = {}  # outer tensor -> what was built again for it

    # ---- as the rules of loops see it
    @property
    def param_types(self) -> tuple[TensorType, ...]:
        """The types of the parameters, captures included."""
        return tuple(t.type for t in self.params)

    @property
    def result_types(self) -> tuple[TensorType, ...]:
        """The types of the results."""
        return tuple(t.type for t in self.results)

    def bound(self, sizes: Sequence[Dim]) -> None:
        """None: sizes in the body are those of the graph around it."""
        del sizes

    # ---- building
    def fresh(self, hint: str) -> Dim:
        """A new size symbol, new in the graphs around too."""
        return self._outer.fresh(hint)

    @property
    def last_id(self) -> int:
        """Number of operations, those of the graphs around included."""
        return self._outer.last_id + len(self._ops)

    def param(self, type_: TensorType, name: str, like: Tensor | None = None) -> Tensor:
        """Add a parameter; `like` is the outer tensor whose value it has."""
        t = self.create_operation(
            lookup("Placeholder"), (), {"dtype": type_.dtype, "shape": None}, name,
            like.op.loc if like is not None else self.loc,
        ).outputs[0]  # fmt: skip
        t.type = type_
        if like is not None:
            t.known = like.known
        self.params.append(t)
        return t

    def adopt(self, t: Tensor, record: Op, inputs: Sequence[Tensor], where: loc.Loc) -> Tensor:
        """What stands inside for a tensor of a graph around."""
        if t.graph is self:
            return t
        have = self.captures.get(t)
        if have is None:
            have = self._copies.get(t)
        if have is not None:
            return have
        if not self.within(t.graph):
            return super().adopt(t, record, inputs, where)
        if t.graph is not self._outer:
            source = self._outer.adopt(t, record, inputs, where)
            self._copies[t] = inner = self.adopt(source, record, inputs, where)
            return inner
        with self.control_dependencies(None), self.name_scope(None):
            if _is_read(t) or (t.op.type == "Const" and not t.dtype.base.is_differentiable):
                inputs = [self.adopt(x, record, inputs, where) for x in t.op.inputs]
                op = self.create_operation(t.op.record, inputs, t.op.attrs, t.op.name, t.op.loc)
                self._copies[t] = op.outputs[0]
                return op.outputs[0]
            return self.capture(t)

    def capture(self, t: Tensor) -> Tensor:
        """The parameter for a tensor of the graph around."""
        inner = self.captures.get(t)
        if inner is None:
            inner = self.captures[t] = self.param(t.type, t.op.name, t)
            self.sources[inner] = t
        return inner

    @contextmanager
    def control_dependencies(self, control_inputs: Sequence[Any] | None) -> Iterator[None]:
        """As `Graph.control_dependencies`; operations around must have run before the loop."""
        own: list[Any] | None = None
        if control_inputs is not None:
            own = []
            for c in control_inputs:
                element = c.as_graph_element() if hasattr(c, "as_graph_element") else c
                op = element.op if isinstance(element, Tensor) else element
                if isinstance(op, Operation) and op.graph is not self and self.within(op.graph):
                    self.after[op] = None
                else:
                    own.append(c)
        with super().control_dependencies(own):
            yield

    def close(self, results: Sequence[Tensor]) -> None:
        """Say what the body gives, and freeze it."""
        self.results = tuple(results)
        self.finalize()

    def _check_open(self) -> None:
        if self._finalized:
            raise GraphError(f"the body of {self.what} is complete", loc=loc.caller())

    def __repr__(self) -> str:
        taken, made = len(self.params), len(self.results)
        count = f"{taken} parameters, {len(self._ops)} operations, {made} results"
        return f"<body of {self.what}: {count}>"


def _is_read(t: Tensor) -> bool:
    """True of a plain read of a variable."""
    op = t.op
    if op.type != "Identity" or op.control_inputs:
        return False
    return source_of(op.inputs[0]).op.type == "VariableV2"


def source_of(t: Tensor) -> Tensor:
    """The outer tensor whose value a capture has; any other tensor itself."""
    while isinstance(t.graph, BodyGraph) and t in t.graph.sources:
        t = t.graph.sources[t]
    return t


__all__ = ["BodyGraph", "body_gradient", "set_body_gradient", "source_of"]
