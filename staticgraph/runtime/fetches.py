"""Fetches and feeds: from what the user wrote to tensors, and back to the user's structure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import numpy as np

from staticgraph.errors import DtypeError, FeedError, FetchError, GraphError, UsageError
from staticgraph.ir import loc
from staticgraph.ir.dtypes import DType
from staticgraph.ir.graph import Graph
from staticgraph.ir.tensor import Operation, Tensor
from staticgraph.ir.types import TensorType

Rebuild = Callable[[Sequence[Any]], Any]


class FetchPlan:
    """A fetch structure taken apart.

    Attributes:
      fetches: distinct tensors and operations, in order.
      final: variables (operations) fetched for their value at the end.
      rebuild: from the values (tensors first, then `final`) to the user's structure.
    """

    def __init__(self, graph: Graph, structure: Any) -> None:
        self.graph = graph
        self.tensors: dict[Tensor, int] = {}
        self.operations: list[Operation] = []
        self.final: dict[Operation, int] = {}
        build = self._take(structure)
        n = len(self.tensors)
        finals = {op: n + i for op, i in self.final.items()}
        self.fetches: list[Tensor | Operation] = [*self.tensors, *self.operations]
        self.rebuild: Rebuild = lambda values: build(values, finals)
        # The shortest ways for what hot loops fetch: one tensor, and a list of different ones.
        if not finals and not self.operations:
            if n == 1 and not isinstance(structure, list | tuple | Mapping):
                self.rebuild = itemgetter(0)
            elif type(structure) is list and n == len(structure) and _is_flat(structure):
                self.rebuild = list

    def _take(self, s: Any) -> Callable[[Sequence[Any], dict[Operation, int]], Any]:
        if isinstance(s, (list, tuple)):
            parts = [self._take(x) for x in s]
            if hasattr(s, "_fields"):
                kind = type(s)
                return lambda v, f: kind(*[p(v, f) for p in parts])
            if isinstance(s, tuple):
                return lambda v, f: tuple(p(v, f) for p in parts)
            return lambda v, f: [p(v, f) for p in parts]
        if isinstance(s, Mapping):
            items = [(k, self._take(x)) for k, x in s.items()]
            mapping: Any = type(s)
            if mapping is dict:
                return lambda v, f: {k: p(v, f) for k, p in items}
            return lambda v, f: mapping((k, p(v, f)) for k, p in items)
        return self._leaf(s)

    def _leaf(self, s: Any) -> Callable[[Sequence[Any], dict[Operation, int]], Any]:
        element = self._element(s)
        if isinstance(element, Operation):
            if element not in self.operations:
                self.operations.append(element)
            return lambda v, f: None
        if not self.graph.is_fetchable(element):
            raise FetchError(f"{element.name!r} is marked as not fetchable", loc=loc.caller())
        if element.op.type == "VariableV2":
            op = element.op
            self.final.setdefault(op, len(self.final))
            return lambda v, f: v[f[op]]
        i = self.tensors.setdefault(element, len(self.tensors))
        return lambda v, f: v[i]

    def _element(self, s: Any) -> Tensor | Operation:
        if s is None or isinstance(s, (int, float, np.ndarray)):
            raise FetchError(
                f"{s!r} ({type(s).__name__}) cannot be fetched",
                loc=loc.caller(),
                hint="fetch tensors, operations, variables, their names, "
                "or nested lists and dicts of them",
            )
        try:
            return self.graph.as_graph_element(s)
        except (GraphError, UsageError) as e:
            raise FetchError(
                f"cannot fetch {getattr(s, 'name', s)!r}: {e.message}",
                loc=loc.caller(),
                operands=e.operands,
                hint=e.hint,
            ) from None


def _is_flat(structure: Sequence[Any]) -> bool:
    return not any(isinstance(s, list | tuple | Mapping) for s in structure)


def feed_tensors(graph: Graph, feed_dict: Mapping[Any, Any] | None) -> dict[Tensor, Any]:
    """The fed tensors and what is fed, with keys that are tensors, variables, names or tuples."""
    out: dict[Tensor, Any] = {}
    for key, value in (feed_dict or {}).items():
        if isinstance(key, (tuple, list)):
            if not isinstance(value, (tuple, list)) or len(value) != len(key):
                raise FeedError(f"{len(key)} tensors are fed with {value!r}", loc=loc.caller())
            out |= feed_tensors(graph, dict(zip(key, value, strict=True)))
            continue
        try:
            element = graph.as_graph_element(key, allow_operation=False)
        except (GraphError, UsageError) as e:
            raise FeedError(
                f"cannot feed {getattr(key, 'name', key)!r}: {e.message}",
                loc=loc.caller(),
                operands=e.operands,
                hint=e.hint,
            ) from None
        assert isinstance(element, Tensor)
        if element.op.type == "VariableV2" and hasattr(key, "as_graph_tensor"):
            element = key.as_graph_tensor()
        if not graph.is_feedable(element):
            raise FeedError(f"{element.name!r} is marked as not feedable", loc=loc.caller())
        if isinstance(value, (Tensor, Operation)):
            raise FeedError(
                f"the value fed for {element.name!r} is the symbolic {value!r}", loc=loc.caller(),
                hint="feed numbers or arrays; run it first to get its value",
            )  # fmt: skip
        if element in out:
            raise FeedError(f"{element.name!r} is fed twice", loc=loc.caller())
        out[element] = value
    return out


def feed_array(t: Tensor, value: Any) -> np.ndarray:
    """Convert a fed value to an array of the tensor's dtype, and check its shape.

    Raises:
      FeedError: the shape or the dtype does not fit; names the placeholder and the line that
        made it.
    """
    dtype = t.dtype.base
    try:
        array = np.asarray(value)
        if array.dtype != dtype.np:
            array = _converted(t, array, dtype)
    except (ValueError, TypeError, OverflowError, DtypeError) as e:
        if isinstance(e, FeedError):
            raise
        reason = "its nested lists differ in length" if "inhomogeneous" in str(e) else e
        raise FeedError(
            f"the value fed for {t.name!r} cannot be turned into a {dtype.name} array: {reason}",
            loc=loc.caller(), operands=(f"{t.name}: {t.describe()}",),
        ) from None  # fmt: skip
    want = t.type.shape
    if want is not None and not fits(array.shape, want):
        raise FeedError(
            f"shape {list(array.shape)} is fed for {t.name!r}, which has shape "
            f"{[d if isinstance(d, int) else None for d in want]}",
            loc=loc.caller(), operands=(f"{t.name}: {t.describe()}",),
        )  # fmt: skip
    return array


def fits(shape: tuple[int, ...], want: Sequence[Any]) -> bool:
    """True where a concrete shape agrees with the known sizes."""
    return len(shape) == len(want) and all(
        not isinstance(w, int) or w == d for d, w in zip(shape, want, strict=True)
    )


def _converted(t: Tensor, array: np.ndarray, dtype: DType) -> np.ndarray:
    source, kind = array.dtype.kind, dtype.kind
    if dtype.np == object:
        return array.astype(object)
    if not array.size:  # an empty list has no dtype of its own
        return array.astype(dtype.np)
    lossy = (
        source in "OSU"
        or (source in "fc" and kind in ("int", "uint", "bool"))
        or (source == "c" and kind != "complex")
        or (source != "b" and kind == "bool")
    )
    if source in "iu" and dtype.is_integer and array.size:
        lossy = bool(array.min() < dtype.min or array.max() > dtype.max)
    if lossy:
        text = source in "OSU"
        what = "text or objects" if text else f"{array.dtype.name} values"
        raise FeedError(
            f"{what} are fed for {t.name!r}, which is {dtype.name}",
            loc=loc.caller(), operands=(f"{t.name}: {t.describe()}",),
            hint=None
            if text
            else f"convert the array with .astype({dtype.name!r}) if that is meant",
        )  # fmt: skip
    return array.astype(dtype.np)


def feed_type(t: Tensor, array: np.ndarray) -> TensorType:
    """The type a fed tensor has in the compiled function: its own, or the array's rank."""
    if t.type.shape is not None:
        return t.type
    return TensorType(t.dtype.base, tuple(t.graph.fresh("n") for _ in array.shape))


__all__ = ["FetchPlan", "feed_array", "feed_tensors", "feed_type", "fits"]
