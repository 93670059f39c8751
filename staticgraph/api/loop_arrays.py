"""Arrays as variables of a loop.

Where a body only writes to an array, the loop need not carry it: indices and values come out of
the loop stacked, and are put into place behind it, all at once.  That takes no memory beside what
is written, needs no shape in advance, and its gradient is a gather.  Where the body reads the
array, asks for its size, or writes to it in an inner loop or branch, elements and marks are
carried like other variables.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from staticgraph.api.tensor_array import Entry, TensorArray
from staticgraph.errors import ShapeError, UsageError
from staticgraph.ir import dtypes
from staticgraph.ir.body import BodyGraph
from staticgraph.ir.dims import Dim
from staticgraph.ir.graph import Graph, get_default_graph
from staticgraph.ir.op import lookup
from staticgraph.ir.record import record
from staticgraph.ir.tensor import Tensor
from staticgraph.ir.types import TensorType


@record(frozen=True, slots=True)
class Late:
    """A carry that was found out to be needed while the body was traced."""

    start: Tensor
    param: Tensor
    result: Tensor


class ArrayVariable:
    """One array as it goes through a loop.

    Args:
      array: as it is before the loop.
      body: the loop's body.
    """

    def __init__(self, array: TensorArray, body: BodyGraph) -> None:
        self.array, self.body = array, body
        self.inside = array.entered(self)
        self.params: tuple[Tensor, Tensor | None] | None = None
        self.start: tuple[Tensor, Tensor | None] | None = None
        self.entries: tuple[Entry, ...] = ()
        self.final = array

    def tensors(self) -> tuple[Tensor, Tensor | None]:
        """The elements and marks as parameters of the body."""
        if self.params is None:
            data, marks = self._before()
            array = self.array
            type_ = TensorType(array.dtype, None) if data is None else data.type
            if array.dynamic_size and type_.shape:
                type_ = TensorType(type_.dtype, (self.body.fresh("d"), *type_.shape[1:]))
            with self.body.name_scope(None), self.body.control_dependencies(None):
                own = self.body.param(
                    TensorType(type_.dtype.base, type_.shape), f"{array.name}/data"
                )
                kept = None
                if data is None or marks is not None:
                    size: Dim = self.body.fresh("d") if type_.shape is None else type_.shape[0]
                    kept = self.body.param(TensorType(dtypes.bool_, (size,)), f"{array.name}/marks")
            self.params = own, kept
        return self.params

    def _before(self) -> tuple[Tensor | None, Tensor | None]:
        """Elements and marks before the loop, None and None where nothing is written."""
        with self.body.outer_graph.as_default():  # type: ignore[union-attr]
            data, marks = self.array.tensors()
            known = self.array.element_shape.is_fully_defined()
            if known if data is None else marks is None and self.array.dynamic_size:
                data, marks = self.array.full_marks()
        self.start = None if data is None else (data, marks)
        return data, marks

    def take(self, given: Any, name: str) -> None:
        """Say what the body made of the array; in the body."""
        if not isinstance(given, TensorArray) or given.dtype is not self.array.dtype:
            what = f"a TensorArray of {self.array.dtype.name}"
            raise UsageError(
                f"{name} of {self.body.what} is {what}, the body gives {given!r}", loc=self.body.loc
            )
        self.final = given
        if given.contents.carried is not self:
            self.tensors()

    def finish(self) -> tuple[list[Late], list[Tensor]]:
        """Carries and outputs that the loop has for the array; in the body."""
        if self.params is None:
            self.entries = self.final.contents.pending
            return [], [t for e in self.entries for t in (e.index, e.value)]
        data, marks = self.final.tensors()
        own, kept = self.params
        if data is None:
            raise UsageError(
                f"{self.array!r} leaves {self.body.what} with nothing written", loc=self.body.loc
            )
        if kept is not None and marks is None:
            marks = self.final.full_marks()[1]
        start = self.start or self._made()
        late = [Late(start[0], own, data)]
        if kept is not None:
            assert marks is not None and start[1] is not None
            late.append(Late(start[1], kept, marks))
        return late, []

    def _made(self) -> tuple[Tensor, Tensor | None]:
        """The array before the loop, empty, with elements of the shape that the body writes."""
        outer = self.body.outer_graph
        assert outer is not None
        element, seen = self.final.element_shape, self.final.sizes
        with outer.as_default():
            if element.is_fully_defined():
                return self.array.shaped(element.as_list())
            sizes = None if seen is None else [size_in(d, outer) for d in seen]
            if sizes is None or None in sizes:
                raise ShapeError(
                    f"{self.array.name} is read in {self.body.what}, and the shape of its elements "
                    "is not known before one is written",
                    loc=self.body.loc, hint="say it with element_shape",
                )  # fmt: skip
            return self.array.shaped(sizes)

    def leave(self, finals: Sequence[Tensor], outputs: Sequence[Tensor]) -> TensorArray:
        """The array behind the loop.

        Args:
          finals: the last values of the carries that `finish` asked for.
          outputs: its outputs, stacked.
        """
        if self.params is not None:
            return self.array.holding(finals[0], finals[1] if len(finals) > 1 else None)
        array = self.array
        for k, e in enumerate(self.entries):
            index, value = outputs[2 * k : 2 * k + 2]
            if e.index.shape.ndims:  # lists of indices, stacked
                rest = lookup("Shape")(value)[2:]
                sizes = lookup("ConcatV2")([[-1], rest], axis=0)
                value = lookup("Reshape")(value, sizes)
                index = lookup("Reshape")(index, [-1])
            array = array.after(Entry(index, value, e.where))
        return array


def size_in(d: Dim, graph: Graph) -> Any:
    """A size as a number or a tensor, of `graph` or one around; None where nothing has it."""
    if isinstance(d, int):
        return d
    around: Graph | None = graph
    while around is not None:
        for op in around.get_operations():
            for t in op.outputs:
                for axis, other in enumerate(t.type.shape or ()):
                    if other == d and not t.dtype.is_ref:
                        return lookup("Shape")(t)[axis]
        around = around.outer_graph
    return None


class LoopArrays:
    """All arrays among the variables of a loop, by their place.

    Args:
      flat: the loop variables.
    """

    def __init__(self, flat: Sequence[Any]) -> None:
        self.arrays = {k: v for k, v in enumerate(flat) if isinstance(v, TensorArray)}
        self.variables: dict[int, ArrayVariable] = {}
        self._counts: dict[int, tuple[int, int]] = {}

    def enter(self) -> None:
        """Begin the body, which is the default graph."""
        body = get_default_graph()
        assert isinstance(body, BodyGraph)
        self.variables = {k: ArrayVariable(a, body) for k, a in self.arrays.items()}

    def inside(self, carries: Sequence[Tensor]) -> list[Any]:
        """The loop variables as the body sees them."""
        return self._mixed(carries, {k: v.inside for k, v in self.variables.items()})

    def outside(self, carries: Sequence[Tensor]) -> list[Any]:
        """The loop variables as they are before the loop."""
        return self._mixed(carries, self.arrays)

    def left(self, carries: Sequence[Tensor]) -> list[Any]:
        """The loop variables as the body leaves them."""
        return self._mixed(carries, {k: v.final for k, v in self.variables.items()})

    def _mixed(self, carries: Sequence[Tensor], arrays: Any) -> list[Any]:
        rest = iter(carries)
        count = len(carries) + len(arrays)
        return [arrays[k] if k in arrays else next(rest) for k in range(count)]

    def take(self, given: Sequence[Any]) -> list[Any]:
        """Set arrays aside of what a body gives; the others."""
        for k, v in self.variables.items():
            v.take(given[k], f"loop variable {k}")
        return [x for k, x in enumerate(given) if k not in self.arrays]

    def finish(self) -> tuple[list[Late], list[Tensor]]:
        """Carries and outputs that are needed for the arrays."""
        late: list[Late] = []
        outputs: list[Tensor] = []
        for k, v in self.variables.items():
            carries, outs = v.finish()
            self._counts[k] = len(carries), len(outs)
            late += carries
            outputs += outs
        return late, outputs

    def leave(
        self, carries: Sequence[Tensor], finals: Sequence[Tensor], outputs: Sequence[Tensor]
    ) -> list[Any]:
        """The loop variables as they are behind the loop.

        Args:
          carries: those that are tensors.
          finals, outputs: what the loop has of the carries and outputs that `finish` asked for.
        """
        out, i, j = {}, 0, 0
        for k, v in self.variables.items():
            n, m = self._counts[k]
            out[k] = v.leave(finals[i : i + n], outputs[j : j + m])
            i, j = i + n, j + m
        return self._mixed(carries, out)


__all__ = ["Late", "LoopArrays", "size_in"]
