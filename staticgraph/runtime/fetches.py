"""Fetches and feeds: from what the user wrote to tensors, and back to the user's structure."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import numpy as np

from staticgraph.errors import DtypeError, FeedError, FetchError, GraphError, UsageError
from staticgraph.ir import loc
from staticgraph.ir.dtypes import DType, texts
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
      slots: which value stands where, -1 for an operation, if the structure is a single element or
        a list or tuple of them; else None.
    """

    def __init__(self, graph: Graph, structure: Any) -> None:
        self.graph = graph
        self.tensors: dict[Tensor, int] = {}
        self.operations: list[Operation] = []
        self.final: dict[Operation, int] = {}
        self._leaves: list[tuple[int, bool]] = []  # position, and whether it is one of `final`
        build = self._take(structure)
        n = len(self.tensors)
        self.slots: tuple[int, ...] | None = None
        if _is_flat(structure):
            self.slots = tuple(i + n if final else i for i, final in self._leaves)
        finals = {op: n + i for op, i in self.final.items()}
        self.fetches: list[Tensor | Operation] = [*self.tensors, *self.operations]
        self.rebuild: Rebuild = lambda values: build(values, finals)
        # The shortest ways for what hot loops fetch: one tensor, and a list of different ones.
        if not finals and not self.operations:
            if n == 1 and not _is_composite(structure):
                self.rebuild = itemgetter(0)
            elif type(structure) is list and n == len(structure) and self.slots is not None:
                self.rebuild = list

    @property
    def needs(self) -> set[Tensor | Operation]:
        """What is fetched, in whatever structure."""
        return {*self.fetches, *self.final}

    def _take(self, s: Any) -> Callable[[Sequence[Any], dict[Operation, int]], Any]:
        if hasattr(s, "components"):  # a sparse tensor
            s = s.components()
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
            self._leaves.append((-1, False))
            return lambda v, f: None
        if not self.graph.is_fetchable(element):
            raise FetchError(f"{element.name!r} is marked as not fetchable", loc=loc.caller())
        if element.op.type == "VariableV2":
            op = element.op
            self._leaves.append((self.final.setdefault(op, len(self.final)), True))
            return lambda v, f: v[f[op]]
        i = self.tensors.setdefault(element, len(self.tensors))
        self._leaves.append((i, False))
        return lambda v, f: v[i]

    def _element(self, s: Any) -> Tensor | Operation:
        if not isinstance(s, (str, Tensor, Operation)) and not hasattr(s, "as_graph_element"):
            what = repr(s) if s is None or isinstance(s, (bool, int, float)) else "an object"
            raise FetchError(
                f"{what} ({type(s).__name__}) cannot be fetched",
                loc=loc.caller(),
                hint="leave it out; tf.gradients gives None where there is no dependence"
                if s is None else getattr(
                    s, "instead_of_tensor", "fetch tensors, operations, variables, their names, "
                    "or nested lists and dicts of them",
                ),
            )  # fmt: skip
        try:
            return self.graph.as_graph_element(s)
        except (GraphError, UsageError) as e:
            raise FetchError(
                f"cannot fetch {getattr(s, 'name', s)!r}: {e.message}",
                loc=loc.caller(),
                operands=e.operands,
                hint=e.hint,
            ) from None


def _is_flat(structure: Any) -> bool:
    """True of a single element, and of a list or tuple of single elements."""
    if type(structure) in (list, tuple):
        return not any(map(_is_composite, structure))
    return not _is_composite(structure)


def _is_composite(s: Any) -> bool:
    return isinstance(s, list | tuple | Mapping) or hasattr(s, "components")


def check_feed_dict(feed_dict: Any) -> None:
    """Refuse what is no dictionary, as fetches and feeds that have changed places."""
    if feed_dict is not None and not isinstance(feed_dict, Mapping):
        raise FeedError(
            f"feed_dict must be a dict from tensors to values, got an object of type "
            f"{type(feed_dict).__name__}",
            loc=loc.caller(), hint="sess.run(fetches, feed_dict={x: value})",
        )  # fmt: skip


def feed_tensors(graph: Graph, feed_dict: Mapping[Any, Any] | None) -> dict[Tensor, Any]:
    """The fed tensors and what is fed, with keys that are tensors, variables, names or tuples."""
    out: dict[Tensor, Any] = {}
    for key, value in (feed_dict or {}).items():
        if hasattr(key, "components"):  # a sparse tensor; parts that are constants are not fed
            parts = zip(key.components(), key.split_value(value), strict=True)
            out |= feed_tensors(graph, {t: v for t, v in parts if t.op.type != "Const"})
            continue
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
    if value is None:
        raise FeedError(
            f"None is fed for {t.name!r}", loc=loc.caller(),
            operands=(f"{t.name}: {t.describe()}",),
        )  # fmt: skip
    try:
        array = texts(value) if dtype.np == object else np.asarray(value)
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
    array = _unboxed(array)
    source, kind = array.dtype.kind, dtype.kind
    if not array.size:  # an empty list has no dtype of its own
        return array.astype(dtype.np)
    lossy = (
        source in "OSU"
        or (source in "fc" and kind in ("int", "uint", "bool"))
        or (source == "c" and kind != "complex")
        or (source != "b" and kind == "bool")
    )
    if source in "iu" and kind == "bool":  # a switch that is fed as 0 or 1
        lossy = bool(array.min() < 0 or array.max() > 1)
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


def _unboxed(array: np.ndarray) -> np.ndarray:
    """An array of objects that are all numbers as an array of numbers, as slices of tables are."""
    if array.dtype.kind != "O":
        return array
    plain = np.asarray(array.tolist())
    return plain if plain.shape == array.shape and plain.dtype.kind in "biufc" else array


def fed_array(t: Tensor, value: Any) -> np.ndarray:
    """`feed_array`, with a short way for arrays that already fit."""
    kind = t.type.dtype.np
    if type(value) is np.ndarray and value.dtype == kind != object and t.type.shape is not None:
        shape = value.shape
        if len(shape) == len(t.type.shape):
            for d, w in zip(shape, t.type.shape, strict=True):
                if d != w and isinstance(w, int):
                    break
            else:
                return value
    return feed_array(t, value)


def admits(type_: TensorType, a: np.ndarray) -> bool:
    """True where an array fits the sizes an executable was compiled for."""
    return (
        type_.shape is not None
        and len(type_.shape) == a.ndim
        and all(not isinstance(w, int) or w == d for d, w in zip(a.shape, type_.shape, strict=True))
    )


def frozen(x: Any) -> Any:
    """A hashable form of a structure of fetches; what cannot be fetched is equal to nothing."""
    if isinstance(x, (list, tuple)):
        return (type(x), *map(frozen, x))
    if isinstance(x, Mapping):
        return (dict, *((k, frozen(v)) for k, v in x.items()))
    return x if isinstance(x, Hashable) else object()


def feed_type(t: Tensor, array: np.ndarray) -> TensorType:
    """The type a fed tensor has in the compiled function: its own, or the array's rank."""
    if t.type.shape is not None:
        return t.type
    return TensorType(t.dtype.base, tuple(t.graph.fresh("n") for _ in array.shape))


__all__ = [
    "FetchPlan", "admits", "check_feed_dict", "fed_array", "feed_array", "feed_tensors",
    "feed_type", "fits", "frozen",
]  # fmt: skip
