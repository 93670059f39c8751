"""`Optimizer`: from gradients to updates of variables.

Updates are built from ordinary operations and writes, so that the compiler fuses them into the
computation of the gradients.  Plain reads see the values at the start of the run: whatever the
order of the writes, every gradient and every slot is used as it was before the step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from staticgraph.api.casting import cast
from staticgraph.api.collections import GraphKeys
from staticgraph.api.framework import flatten, group, init_scope, name_scope
from staticgraph.api.gradients import gradients
from staticgraph.api.indexed_slices import IndexedSlices
from staticgraph.api.initializers import Constant, Initializer, Zeros
from staticgraph.api.looked_up import rows_of_slices
from staticgraph.api.state import trainable_variables
from staticgraph.api.variable_scope import get_variable, variable_scope
from staticgraph.api.variables import Variable
from staticgraph.errors import DtypeError, GraphError, UsageError
from staticgraph.ir import loc
from staticgraph.ir.build import convert
from staticgraph.ir.dtypes import DType
from staticgraph.ir.graph import Graph, Operation, Tensor, get_default_graph
from staticgraph.ir.op import lookup
from staticgraph.train.rows import NamedPart, Part, part_of


class Optimizer:
    """The base of optimizers.

    A subclass gives `_create_slots`, `_prepare` and `_apply_part`, or `_apply_dense` where every
    step is about all of a variable; `_finish` where something is updated once a step.

    Args:
      use_locking: accepted and ignored; writes are always ordered.
      name: names the scope of the updates and the slots.
    """

    # True where a gradient of zero changes no weight and no slot.
    _zero_stays = False

    GATE_NONE = 0
    GATE_OP = 1
    GATE_GRAPH = 2

    def __init__(self, use_locking: bool, name: str) -> None:
        if not name:
            raise GraphError("an optimizer needs a name", loc=loc.caller())
        self._use_locking = use_locking
        self._name = name
        self._slots: dict[str, dict[Variable, Variable]] = {}
        self._non_slots: dict[tuple[str, Graph], Variable] = {}
        self._tensors: dict[str, Tensor] = {}

    def get_name(self) -> str:
        """The optimizer's name."""
        return self._name

    # ---- the three steps
    def minimize(
        self,
        loss: Any,
        global_step: Any = None,
        var_list: Any = None,
        gate_gradients: int = GATE_OP,
        aggregation_method: Any = None,
        colocate_gradients_with_ops: bool = False,
        name: str | None = None,
        grad_loss: Any = None,
    ) -> Operation:
        """Build one step that makes `loss` smaller.

        Args:
          loss: a tensor; its elements are summed.
          global_step: a variable to count steps in.
          var_list: the variables to change, the trainable ones by default.

        Returns:
          The operation to run for a step.

        Raises:
          ValueError: no variable influences the loss.
        """
        pairs = self.compute_gradients(
            loss,
            var_list,
            gate_gradients,
            aggregation_method,
            colocate_gradients_with_ops,
            grad_loss,
        )
        if not any(g is not None for g, _ in pairs):
            names = [v.name for _, v in pairs]
            raise GraphError(
                f"no variable of {names} has a gradient: the loss {loss.name!r} depends on none "
                "of them through differentiable operations",
                loc=loc.caller(),
            )
        return self.apply_gradients(pairs, global_step, name)

    def compute_gradients(
        self,
        loss: Any,
        var_list: Any = None,
        gate_gradients: int = GATE_OP,
        aggregation_method: Any = None,
        colocate_gradients_with_ops: bool = False,
        grad_loss: Any = None,
    ) -> list[tuple[Any, Any]]:
        """Pairs of gradient and variable; a gradient is None where there is no dependence."""
        if gate_gradients not in (self.GATE_NONE, self.GATE_OP, self.GATE_GRAPH):
            raise GraphError(
                f"gate_gradients must be GATE_NONE, GATE_OP or GATE_GRAPH, got {gate_gradients!r}",
                loc=loc.caller(),
            )
        if callable(loss) and not isinstance(loss, Tensor):
            loss = loss()
        if not loss.dtype.base.is_floating:
            raise DtypeError(
                f"the loss {loss.name!r} is {loss.dtype.base.name}; only floating losses can be "
                "minimized",
                loc=loc.caller(),
            )
        if var_list is None:
            extra = get_default_graph().get_collection(GraphKeys.TRAINABLE_RESOURCE_VARIABLES)
            variables = trainable_variables() + extra
        else:
            variables = flatten(var_list)
        if not variables:
            raise GraphError("there are no variables to optimize", loc=loc.caller())
        for v in variables:
            if not isinstance(v, (Variable, Tensor)):
                raise UsageError(f"var_list holds {v!r}, which is not a variable", loc=loc.caller())
        found = gradients(
            loss,
            variables,
            grad_loss,
            gate_gradients=gate_gradients == self.GATE_OP,
            aggregation_method=aggregation_method,
            colocate_gradients_with_ops=colocate_gradients_with_ops,
        )
        return list(zip(found, variables, strict=True))

    def apply_gradients(
        self,
        grads_and_vars: Sequence[tuple[Any, Any]],
        global_step: Any = None,
        name: str | None = None,
    ) -> Operation:
        """Build the updates for pairs of gradient and variable.

        Raises:
          ValueError: there are no pairs, or no gradient in them.
        """
        pairs = list(grads_and_vars)
        if not pairs:
            raise GraphError("apply_gradients: no variables were given", loc=loc.caller())
        for _, v in pairs:
            if not isinstance(v, Variable):
                raise UsageError(f"apply_gradients: {v!r} is not a variable", loc=loc.caller())
        used = [v for g, v in pairs if g is not None]
        if not used:
            raise GraphError(
                f"apply_gradients: no gradient for any of {[v.name for _, v in pairs]}",
                loc=loc.caller(),
            )
        with init_scope():
            self._create_slots(used)
        updates: list[Operation] = []
        with name_scope(name, self._name) as scope:
            self._prepare()
            parts: list[tuple[str, Part, Variable]] = []
            for g, v in pairs:
                if g is None:
                    continue
                with name_scope(f"update_{v.op.name}") as update:
                    parts.append((update, self._part(g, v), v))
            # Ids are looked at for all tables before the first is written, so that all are
            # written in place: a run whose ids are out of range changes nothing.
            for update, part, v in parts:
                with name_scope(update):
                    updates.append(self._update(part, v))
            if global_step is None:
                train = self._finish(updates, scope)
            else:
                graph = get_default_graph()
                with graph.control_dependencies([self._finish(updates, "update")]):
                    step = global_step.as_graph_element()
                    train = lookup("AssignAdd")(step, 1, name=scope).op
        collection = get_default_graph().get_collection_ref(GraphKeys.TRAIN_OP)
        if train not in collection:
            collection.append(train)
        return train

    def _part(self, g: Any, v: Variable) -> Part:
        if isinstance(g, IndexedSlices) and self._knows_rows():
            return NamedPart(rows_of_slices(g, v))
        g = convert(g, v.dtype.base, "gradient")
        return part_of(g, self._zero_stays) if self._goes_by_rows(g) else Part(g)

    def _update(self, part: Part, v: Variable) -> Operation:
        whole = type(part) is Part
        done = self._apply_dense(part.grad, v) if whole else self._apply_part(part, v)
        if v.constraint is None:
            return done
        with get_default_graph().control_dependencies([done]):
            return v.assign(v.constraint(v)).op  # type: ignore[no-any-return]

    # ---- for subclasses
    def _create_slots(self, var_list: Sequence[Variable]) -> None:
        """Make the state the updates need."""

    def _prepare(self) -> None:
        """Make tensors of hyperparameters; under the name scope of the step."""

    def _apply_dense(self, grad: Tensor, var: Variable) -> Operation:
        """Build the update of a whole variable."""
        return self._apply_part(Part(grad), var)

    def _apply_part(self, part: Part, var: Variable) -> Operation:
        """Build the update of a variable, or of some of its rows."""
        raise NotImplementedError

    def _goes_by_rows(self, grad: Tensor) -> bool:
        """True where a gradient that is about some rows updates only those."""
        return self._knows_rows()

    def _knows_rows(self) -> bool:
        return type(self)._apply_dense is Optimizer._apply_dense

    def _finish(self, update_ops: Sequence[Operation], name_scope: str) -> Operation:
        """Build what is done once a step; the result is the whole step."""
        return group(*update_ops, name=name_scope)

    def _hyper(self, name: str, value: Any) -> None:
        """Keep a hyperparameter (number, tensor or function) as a tensor."""
        self._tensors[name] = convert(value() if _is_function(value) else value, None, name)

    def _in_dtype(self, name: str, v: Variable) -> Any:
        """A hyperparameter in the dtype of `v`."""
        return self._as(name, v.dtype.base)

    def _as(self, name: str, dtype: DType) -> Any:
        """A hyperparameter in `dtype`."""
        return cast(self._tensors[name], dtype)

    def _slot(
        self, var: Variable, slot: str, op_name: str, initializer: Initializer | Any = None
    ) -> Variable:
        """The variable `slot` that goes with `var`; made at the first call."""
        table = self._slots.setdefault(slot, {})
        if var not in table:
            table[var] = create_slot(var, op_name, initializer)
        return table[var]

    def _scalar_state(self, name: str, value: Any, dtype: Any) -> Variable:
        """A scalar that belongs to the whole step; made at the first call in each graph."""
        key = (name, get_default_graph().root)
        if key not in self._non_slots:
            self._non_slots[key] = Variable(value, name=name, trainable=False, dtype=dtype)
        return self._non_slots[key]

    # ---- state
    def get_slot(self, var: Variable, name: str) -> Variable | None:
        """The slot `name` of `var`, or None."""
        return self._slots.get(name, {}).get(var)

    def get_slot_names(self) -> list[str]:
        """Names of the slots, sorted."""
        return sorted(self._slots)

    def variables(self) -> list[Variable]:
        """The optimizer's own variables in the default graph, by name."""
        graph = get_default_graph().root
        slots = [s for table in self._slots.values() for s in table.values()]
        own = [*self._non_slots.values(), *slots]
        return sorted((v for v in own if v.graph is graph), key=lambda v: v.name)


def _is_function(value: Any) -> bool:
    return callable(value) and not isinstance(value, (Tensor, Variable))


def create_slot(primary: Variable, name: str, initializer: Any = None) -> Variable:
    """A variable of the shape and dtype of `primary`, named ``<primary>/<name>``.

    Args:
      initializer: an initializer, a number, or a tensor; zeros by default.
    """
    if isinstance(initializer, (int, float)):
        initializer = Constant(initializer)
    with variable_scope(None, f"{primary.op.name}/{name}"):
        if isinstance(initializer, Tensor):
            return get_variable("", initializer=initializer, trainable=False)
        return get_variable(
            "", primary.shape, primary.dtype.base, initializer or Zeros(), trainable=False
        )


__all__ = ["Optimizer", "create_slot"]
