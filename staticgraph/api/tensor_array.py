"""`TensorArray`: elements of one shape, written one by one and read.

An array is a value like a tensor: `write` gives a new array and leaves the old one as it was.
What it holds are two tensors, the elements and which of them are written (see
`ops.tensor_array`).  As the variable of a loop an array is at first only a list of the writes
that the body makes: if the body does no more than write, what it writes becomes stacked outputs
of the loop, which are put into place behind it (see `api.loop_arrays`).
"""

from __future__ import annotations

from dataclasses import field, replace
from typing import Any, Protocol

from staticgraph.api.array import fill, zeros
from staticgraph.api.array import range as range_
from staticgraph.api.framework import no_op
from staticgraph.errors import DtypeError, GraphError, OutOfBoundsError, ShapeError, UsageError
from staticgraph.ir import dtypes, loc
from staticgraph.ir.build import convert
from staticgraph.ir.dims import Dim
from staticgraph.ir.dtypes import DType
from staticgraph.ir.graph import Graph, get_default_graph
from staticgraph.ir.op import lookup
from staticgraph.ir.record import record
from staticgraph.ir.tensor import Operation, Tensor
from staticgraph.ir.tensor_shape import TensorShape


@record(frozen=True, slots=True)
class Entry:
    """A write that has not been built: a scalar index and a value, or a list of each."""

    index: Tensor
    value: Tensor
    where: loc.Loc


class Carried(Protocol):
    """An array as it enters the body of a loop."""

    @property
    def body(self) -> Graph:
        """The body."""
        ...

    def tensors(self) -> tuple[Tensor, Tensor | None]:
        """Its elements and marks as parameters of the body; made when first asked for."""
        ...


@record(frozen=True, slots=True)
class Contents:
    """What an array holds.

    Attributes:
      data: the elements; None where nothing is written.
      marks: which are written; None for all of them.
      carried, pending: instead of these: what enters a body, and the writes since then.
    """

    data: Tensor | None = None
    marks: Tensor | None = None
    carried: Carried | None = None
    pending: tuple[Entry, ...] = field(default=())


class TensorArray:
    """An array of tensors of one type, whose elements are written once each.

    Args:
      dtype: of the elements.
      size: how many there are, an int or an int32 scalar.
      dynamic_size: with True, writing behind the end makes the array larger.
      element_shape: of the elements, as far as it is known; else that of what is written.
      infer_shape: with False, sizes of elements are left to the run.
      tensor_array_name, name: name of the array, for names of operations and error texts.
      handle, flow: those of an array that stands for the same elements.
      clear_after_read, colocate_with_first_write_call: accepted, and without effect; an element
        can be read any number of times.

    An index that is out of range, that is written twice, or read before it is written, is an
    error of the run that names the array, the index and the line.

    Raises:
      ValueError: no size is given.

    >>> import staticgraph as tf
    >>> squares = tf.TensorArray(tf.int32, size=4)
    >>> _, squares = tf.while_loop(
    ...     lambda i, a: i < 4, lambda i, a: (i + 1, a.write(i, i * i)), [0, squares])
    >>> tf.Session().run(squares.stack())
    array([0, 1, 4, 9], dtype=int32)
    """

    instead_of_tensor = "array.stack() gives its elements as one tensor"  # hint of error messages

    def __init__(
        self, dtype: Any, size: Any = None, dynamic_size: bool | None = None,
        clear_after_read: bool | None = None, tensor_array_name: str | None = None,
        handle: Any = None, flow: Any = None, infer_shape: bool = True, element_shape: Any = None,
        colocate_with_first_write_call: bool = True, name: str | None = None,
    ) -> None:  # fmt: skip
        del clear_after_read, colocate_with_first_write_call
        self._dtype: DType = dtypes.as_dtype(dtype).base
        self._infer, self._dynamic = infer_shape, bool(dynamic_size)
        self._element = TensorShape(element_shape)
        self._sizes: tuple[Dim, ...] | None = None
        self._loc = loc.caller()
        if handle is not None:
            self._adopt(handle, flow)
            return
        if size is None:
            raise GraphError("TensorArray: give the size", loc=self._loc)
        self._size: Tensor = convert(size, None, "size")
        if not self._size.dtype.is_integer or self._size.shape.ndims not in (0, None):
            raise DtypeError(
                f"the size of a TensorArray is an integer scalar, got {self._size.type.public()}",
                loc=self._loc,
            )
        self._name = get_default_graph().unique_name(name or tensor_array_name or "TensorArray")
        self._contents = Contents()

    def _adopt(self, handle: Any, flow: Any) -> None:
        if not isinstance(handle, TensorArray) or handle._dtype is not self._dtype:
            raise UsageError(
                f"TensorArray: {handle!r} is not the handle of an array of {self._dtype.name}",
                loc=self._loc,
            )
        if flow is not None and flow is not handle.flow:
            raise UsageError(
                "TensorArray: the flow is not that of the handle", loc=self._loc,
                hint="pass the TensorArray itself, as a loop variable for example",
            )  # fmt: skip
        self.__dict__.update({**handle.__dict__, "_infer": self._infer})

    # ---- what it is
    @property
    def dtype(self) -> DType:
        """The element type."""
        return self._dtype

    @property
    def element_shape(self) -> TensorShape:
        """The shape of an element, as far as it is known."""
        return self._element

    @property
    def dynamic_size(self) -> bool:
        """Whether the array grows."""
        return self._dynamic

    @property
    def handle(self) -> TensorArray:
        """What stands for the array: the array itself."""
        return self

    @property
    def flow(self) -> Tensor:
        """A tensor that is there when all writes are done: the elements, or 0.0 without any."""
        data = self.tensors()[0]
        return convert(0.0) if data is None else data

    @property
    def name(self) -> str:
        """The name."""
        return self._name

    def __repr__(self) -> str:
        return f"<tf.TensorArray {self._name!r} dtype={self._dtype.name}>"

    def size(self, name: str | None = None) -> Tensor:
        """The number of elements, those that are not written included; an int32 scalar."""
        data = self.tensors()[0] if self._dynamic else None
        if data is not None:
            return lookup("TakeIndex")(lookup("Shape")(data), 0, axis=0, name=name)  # type: ignore[no-any-return]
        return lookup("Cast")(self._size, DstT=dtypes.int32, name=name)  # type: ignore[no-any-return]

    # ---- contents
    def tensors(self) -> tuple[Tensor | None, Tensor | None]:
        """The elements and which of them are written, as tensors; None and None for nothing."""
        held = self._contents
        if held.carried is not None:
            carried, pending = held.carried, held.pending
            data, marks = carried.tensors()
            with carried.body.as_default():
                made = self._with(Contents(data, marks))
                for e in pending:
                    made = made._written(e)
            self._contents = held = made._contents
        return held.data, held.marks

    def full_marks(self) -> tuple[Tensor, Tensor]:
        """The elements and marks as tensors, all of them made.

        Raises:
          ValueError: nothing is written, and the shape of the elements is not known.
        """
        data, marks = self.tensors()
        if data is None:
            sizes = _known(self._element)
            if sizes is None:
                raise ShapeError(
                    f"the shape of the elements of {self!r} is not known before one is written",
                    loc=loc.caller(), hint="say it with element_shape",
                )  # fmt: skip
            return self.shaped(sizes)
        return data, self._marks(data, True) if marks is None else marks

    def _with(self, contents: Contents, element: TensorShape | None = None) -> TensorArray:
        """The array with other contents."""
        new = object.__new__(TensorArray)
        new.__dict__.update(self.__dict__)
        new._contents = contents
        if element is not None:
            new._element = element
        return new

    def holding(self, data: Tensor, marks: Tensor | None) -> TensorArray:
        """The array with these elements and marks."""
        shape = data.shape
        element = self._merged(_rest(shape), data) if shape.ndims else self._element
        return self._with(Contents(data, marks), element)

    def entered(self, carried: Carried) -> TensorArray:
        """The array as the body of a loop sees it."""
        return self._with(Contents(carried=carried))

    @property
    def contents(self) -> Contents:
        """What the array holds, without making tensors of it."""
        return self._contents

    def _marks(self, data: Tensor, value: bool) -> Tensor:
        return fill(lookup("Shape")(data)[:1], value)

    def shaped(self, sizes: Any) -> tuple[Tensor, Tensor]:
        """Elements of these sizes, none of them written."""
        size = lookup("Cast")(self._size, DstT=dtypes.int32)
        data = zeros([size, *sizes], self._dtype)
        return data, fill([size], False)

    @property
    def sizes(self) -> tuple[Dim, ...] | None:
        """The sizes of what was written last, None where they are not known."""
        return self._sizes

    def _merged(self, shape: TensorShape, value: Tensor) -> TensorShape:
        """The shape of the elements, now that one has this shape."""
        if not shape.is_compatible_with(self._element):
            raise ShapeError(
                f"{self._name}: the elements have the shape {self._element}, the value has {shape}",
                loc=loc.caller(), operands=(f"value: {value.describe()}",),
            )  # fmt: skip
        return self._element.merge_with(shape) if self._infer else self._element

    # ---- reading
    def read(self, index: Any, name: str | None = None) -> Tensor:
        """The element with number `index`."""
        return self._read(_index(index, self._name, 0), name)

    def gather(self, indices: Any, name: str | None = None) -> Tensor:
        """The elements with the numbers in a list, stacked."""
        return self._read(_index(indices, self._name, 1), name)

    def _read(self, index: Tensor, name: str | None) -> Tensor:
        data, marks = self.tensors()
        if data is None:
            raise GraphError(
                f"{self._name} is read, but nothing has been written to it", loc=loc.caller(),
                hint="write, unstack and scatter give a new TensorArray; read that one",
            )  # fmt: skip
        self._check_known(index)
        all_ = convert(True) if marks is None else marks
        out: Tensor = lookup("TensorArrayRead")(
            data, all_, index, name=name or f"{self._leaf}/read"
        )
        if self._element.ndims is not None and index.shape.ndims is not None:
            out.set_shape(index.shape.concatenate(self._element))
        return out

    def stack(self, name: str | None = None) -> Tensor:
        """All elements, stacked along a new first axis."""
        data, marks = self.tensors()
        if data is None:
            data, marks = self.full_marks()
        if marks is None:
            return lookup("Identity")(data, name=name or f"{self._leaf}/stack")  # type: ignore[no-any-return]
        out = lookup("TensorArrayStack")(data, marks, name=name or f"{self._leaf}/stack")
        return out  # type: ignore[no-any-return]

    def concat(self, name: str | None = None) -> Tensor:
        """All elements, one behind the other along their first axis."""
        parts = self.stack()
        if parts.shape.ndims is not None and parts.shape.ndims < 2:
            raise ShapeError(
                f"{self._name}: the elements are scalars, they cannot be joined", loc=loc.caller(),
                hint="use stack",
            )  # fmt: skip
        rest = lookup("Shape")(parts)
        count = rest[:1] * rest[1:2]
        sizes = lookup("ConcatV2")([count, rest[2:]], axis=0)
        return lookup("Reshape")(parts, sizes, name=name or f"{self._leaf}/concat")  # type: ignore[no-any-return]

    # ---- writing
    def write(self, index: Any, value: Any, name: str | None = None) -> TensorArray:
        """An array in which the element `index` is `value`."""
        del name
        i, v = _index(index, self._name, 0), convert(value, self._dtype, "value")
        self._check_known(i)
        return self._add(Entry(i, v, loc.caller()), v.shape)

    def scatter(self, indices: Any, value: Any, name: str | None = None) -> TensorArray:
        """An array in which the elements `indices` are the slices of `value`."""
        del name
        i, v = _index(indices, self._name, 1), convert(value, self._dtype, "value")
        if v.shape.ndims == 0:
            raise ShapeError(f"{self._name}: a scalar has no slices to write", loc=loc.caller())
        self._check_known(i)
        return self._add(Entry(i, v, loc.caller()), _rest(v.shape))

    def unstack(self, value: Any, name: str | None = None) -> TensorArray:
        """An array whose elements are the slices of `value` along its first axis."""
        v = convert(value, self._dtype, "value")
        if v.shape.ndims == 0:
            raise ShapeError(f"{self._name}: a scalar has no slices to write", loc=loc.caller())
        held = self._contents
        untouched = held.data is None and held.carried is None
        if untouched and (self._dynamic or self._same_size(v)):
            return self._with(Contents(v), self._merged(_rest(v.shape), v))
        return self.scatter(range_(lookup("Shape")(v)[0]), v, name)

    def split(self, value: Any, lengths: Any, name: str | None = None) -> TensorArray:
        """An array whose elements are parts of `value` along its first axis, of equal lengths.

        Raises:
          ValueError: the lengths are known to differ; if it turns out later, the run fails.
        """
        v, n = convert(value, self._dtype, "value"), _index(lengths, self._name, 1)
        if n.known is not None and len({str(d) for d in n.known.ravel()}) > 1:
            raise ShapeError(
                f"{self._name}: the parts have the lengths {n.known.tolist()}; elements of an "
                "array have one shape", loc=loc.caller(),
            )  # fmt: skip
        n = lookup("Cast")(n, DstT=dtypes.int32)
        same = lookup("All")(lookup("Equal")(n, n[0]), 0, keep_dims=False)
        text = f"{self._name}: the parts must be of one length"
        with get_default_graph().control_dependencies([lookup("Assert")(same, [convert(text), n])]):
            n = lookup("Identity")(n)
        head = lookup("Pack")([lookup("Shape")(n)[0], n[0]], axis=0)
        sizes = lookup("ConcatV2")([head, lookup("Shape")(v)[1:]], axis=0)
        return self.unstack(lookup("Reshape")(v, sizes), name)

    def _add(self, entry: Entry, element: TensorShape) -> TensorArray:
        held = self._contents
        here = held.carried is not None and held.carried.body is get_default_graph()
        now = here and _steady(entry)
        if not now:
            self.tensors()
        new = self._with(self._contents, self._merged(element, entry.value))
        shape = entry.value.type.shape
        new._sizes = None if shape is None else shape[entry.index.shape.ndims or 0 :]
        if not now:
            return new._written(entry)
        new._contents = replace(held, pending=(*held.pending, entry))
        return new

    def after(self, entry: Entry) -> TensorArray:
        """The array after a write that was checked when it was made."""
        listed = entry.index.shape.ndims == 1
        return self._add(entry, _rest(entry.value.shape) if listed else entry.value.shape)

    def _written(self, e: Entry) -> TensorArray:
        """The array after a write, with the operations that make it."""
        data, marks = self._contents.data, self._contents.marks
        graph = get_default_graph()
        if data is None:
            rank = e.index.shape.ndims or 0
            sizes = _known(self._element)
            if sizes is None:
                if e.value.shape.ndims is None:
                    raise ShapeError(
                        f"{self._name}: the rank of the elements is not known", loc=e.where,
                        hint="say it with element_shape or set_shape",
                    )  # fmt: skip
                found = lookup("Shape")(e.value)
                sizes = [
                    found[k + rank] if d is None else d
                    for k, d in enumerate(e.value.shape.as_list()[rank:])
                ]
            data, marks = self.shaped(sizes)
        elif marks is None:
            marks = self._marks(data, True)
        assert marks is not None
        if self._dynamic:
            data, marks = self._grown(data, marks, e.index)
        write, mark = lookup("TensorArrayWrite"), lookup("TensorArrayMark")
        name = f"{self._leaf}/write"
        new = graph.create_operation(write, (data, marks, e.index, e.value), {}, name, e.where)
        marked = graph.create_operation(mark, (marks, e.index), {}, f"{self._leaf}/mark", e.where)
        return self._with(Contents(new.outputs[0], marked.outputs[0]))

    def _grown(self, data: Tensor, marks: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """Room for an index behind the end."""
        i = lookup("Cast")(index, DstT=dtypes.int32)
        if i.shape.ndims:
            i = lookup("Max")(lookup("ConcatV2")([i, [-1]], axis=0), 0, keep_dims=False)
        more = lookup("Maximum")(i + 1 - lookup("Shape")(data)[0], 0)
        join = lookup("ConcatV2")
        sizes = join([lookup("Reshape")(more, [1]), lookup("Shape")(data)[1:]], axis=0)
        rows = join([data, zeros(sizes, self._dtype)], axis=0)
        return rows, join([marks, fill([more], False)], axis=0)

    # ---- the rest
    def identity(self) -> TensorArray:
        """The same array."""
        return self._with(self._contents)

    def close(self, name: str | None = None) -> Operation:
        """Nothing to do: an operation that does nothing."""
        return no_op(name)

    def grad(self, source: Any, flow: Any = None, name: str | None = None) -> TensorArray:
        """Refused: gradients are tensors of the graph.

        Raises:
          TypeError: always.
        """
        raise UsageError(
            "a TensorArray has no array of gradients", loc=loc.caller(),
            hint="tf.gradients(ys, xs) goes through writes and reads",
        )  # fmt: skip

    @property
    def _leaf(self) -> str:
        return self._name.rsplit("/", 1)[-1]

    def _same_size(self, value: Tensor) -> bool:
        """True where a tensor is known to have as many slices as the array has elements."""
        shape, size = value.type.shape, self._size.known
        return bool(shape) and size is not None and size.ndim == 0 and size[()] == shape[0]  # type: ignore[index]

    def _check_known(self, index: Tensor) -> None:
        """Refuse an index that is known to be out of range."""
        size, i = self._size.known, index.known
        if size is None or i is None or self._dynamic or not isinstance(size[()], int):
            return
        for k in i.ravel():
            if isinstance(k, int) and not 0 <= k < size[()]:
                raise OutOfBoundsError(
                    f"{self._name}: index {k} is outside [0, {size[()]})", loc=loc.caller()
                )


def _index(value: Any, name: str, rank: int) -> Tensor:
    t = convert(value, None if rank == 0 or not _is_empty(value) else dtypes.int32, "index")
    if t.dtype.base not in (dtypes.int32, dtypes.int64) or t.shape.ndims not in (rank, None):
        what = "an integer scalar" if rank == 0 else "a list of integers"
        raise DtypeError(
            f"{name}: an index is {what}, got {t.type.public()}", loc=loc.caller(),
            operands=(f"index: {t.describe()}",),
        )  # fmt: skip
    return t


def _is_empty(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and not value


def _rest(shape: TensorShape) -> TensorShape:
    """The shape of a slice."""
    return TensorShape(None if shape.ndims is None else shape.as_list()[1:])


def _known(shape: TensorShape) -> list[int] | None:
    return [int(d) for d in shape] if shape.is_fully_defined() else None


def _steady(e: Entry) -> bool:
    """True of a write that is of one size in all iterations."""
    shape = e.value.type.shape
    if shape is None:
        return False
    return e.index.shape.ndims == 0 or (e.index.shape.ndims == 1 and isinstance(shape[0], int))


__all__ = ["TensorArray"]
