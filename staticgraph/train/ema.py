"""Moving averages of variables and tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from staticgraph.api.casting import cast
from staticgraph.api.collections import GraphKeys
from staticgraph.api.framework import group, init_scope, name_scope
from staticgraph.api.state import global_variables, moving_average_variables, trainable_variables
from staticgraph.api.variables import Variable
from staticgraph.errors import DtypeError, GraphError
from staticgraph.ir import loc
from staticgraph.ir.build import convert
from staticgraph.ir.graph import Operation, get_default_graph
from staticgraph.ir.op import lookup
from staticgraph.train.optimizer import create_slot


def assign_moving_average(
    variable: Variable, value: Any, decay: Any, zero_debias: bool = True, name: str | None = None
) -> Any:
    """``variable = decay * variable + (1 - decay) * value``; the result is the new value.

    Args:
      zero_debias: the variable starts at 0, which the result is corrected for.
    """
    with name_scope(name, "AssignMovingAvg", [variable, value, decay]) as scope:
        dtype = variable.dtype.base
        keep_out = 1.0 - cast(
            convert(decay, None if hasattr(decay, "dtype") else dtype, "decay"), dtype
        )
        value = convert(value, dtype, "value")
        if not zero_debias:
            return lookup("AssignSub")(
                variable.as_graph_element(), (variable - value) * keep_out, name=scope
            )
        with init_scope():
            biased = create_slot(variable, "biased")
            steps = Variable(
                0.0, trainable=False, name=f"{variable.op.name}/local_step", dtype=dtype
            )
        average = biased.assign_sub((biased - value) * keep_out)
        count = steps.assign_add(1.0)
        corrected = average / (1.0 - lookup("Pow")(1.0 - keep_out, count))
        return lookup("Assign")(variable.as_graph_element(), corrected, name=scope)


class ExponentialMovingAverage:
    """Keeps an average of each variable that forgets the past exponentially.

    Args:
      decay: how much of the average is kept at each update, near 1.
      num_updates: a count of updates; early ones then use ``(1 + n) / (10 + n)`` if that is less.
      zero_debias: averages of tensors start at 0; correct for it.

    >>> import staticgraph as tf
    >>> w = tf.Variable(1.0, name="w")
    >>> ema = tf.train.ExponentialMovingAverage(0.9)
    >>> update = ema.apply([w])
    >>> ema.average(w).op.name, ema.average_name(w)
    ('w/ExponentialMovingAverage', 'w/ExponentialMovingAverage')
    """

    def __init__(
        self,
        decay: Any,
        num_updates: Any = None,
        zero_debias: bool = False,
        name: str = "ExponentialMovingAverage",
    ) -> None:
        self._decay, self._num_updates, self._zero_debias = decay, num_updates, zero_debias
        self._name = name
        self._averages: dict[Any, Variable] = {}

    @property
    def name(self) -> str:
        """Name of the averages."""
        return self._name

    def apply(self, var_list: Sequence[Any] | None = None) -> Operation:
        """Build an update of the averages of `var_list`, the trainable variables by default.

        Raises:
          TypeError: an element is not floating.
        """
        items = list(trainable_variables() if var_list is None else var_list)
        debias: set[Any] = set()
        for v in items:
            if not v.dtype.base.is_floating:
                raise DtypeError(
                    f"only floating tensors have averages, {v.name!r} is {v.dtype.base.name}",
                    loc=loc.caller(),
                )
            if v in self._averages:
                continue
            with init_scope():
                self._averages[v] = self._start(v)
            if not isinstance(v, Variable) and self._zero_debias:
                debias.add(v)
        with name_scope(self._name) as scope:
            decay: Any = convert(self._decay, None, "decay")
            if self._num_updates is not None:
                n = cast(convert(self._num_updates), decay.dtype.base)
                decay = lookup("Minimum")(decay, (1.0 + n) / (10.0 + n))
            updates = [
                assign_moving_average(self._averages[v], v, decay, zero_debias=v in debias)
                for v in items
            ]
            return group(*updates, name=scope)

    def _start(self, v: Any) -> Variable:
        graph = get_default_graph()
        if isinstance(v, Variable):
            average = create_slot(v, self._name, v.initialized_value())
            graph.add_to_collection(GraphKeys.MOVING_AVERAGE_VARIABLES, v)
            return average
        if not v.shape.is_fully_defined():
            raise GraphError(
                f"the moving average of {v.name!r} needs a known shape, got {v.shape}",
                loc=loc.caller(),
            )
        return create_slot(v, self._name)

    def average(self, var: Any) -> Variable | None:
        """The variable that holds the average of `var`, or None."""
        return self._averages.get(var)

    def average_name(self, var: Any) -> str:
        """Name of the variable that holds, or will hold, the average of `var`."""
        if var in self._averages:
            return self._averages[var].op.name
        return f"{var.op.name}/{self._name}"

    def variables_to_restore(
        self, moving_avg_variables: Sequence[Any] | None = None
    ) -> dict[str, Any]:
        """Names to variables, averages standing for the variables they are of."""
        if moving_avg_variables is None:
            averaged = dict.fromkeys([*trainable_variables(), *moving_average_variables()])
        else:
            averaged = dict.fromkeys(moving_avg_variables)
        out = {self.average_name(v): v for v in averaged}
        names = {v.op.name for v in averaged}
        for v in global_variables():
            if v.op.name not in names and v.op.name not in out:
                out[v.op.name] = v
        return out


__all__ = ["ExponentialMovingAverage", "assign_moving_average"]
