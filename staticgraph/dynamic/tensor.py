"""`Tensor`: an array that knows which operations made it, so that gradients can be asked for."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from staticgraph.dynamic import engine, inplace, shapes
from staticgraph.dynamic.apply import Taped, edge, set_tensor_class, wrap
from staticgraph.dynamic.conversion import Conversions, plain
from staticgraph.dynamic.device import Device
from staticgraph.dynamic.element_types import (
    DIFFERENTIABLE,
    LEGACY,
    NUMPY,
    as_numpy,
    default_float,
)
from staticgraph.dynamic.modes import MODES
from staticgraph.dynamic.printing import text_of
from staticgraph.dynamic.tape import Node
from staticgraph.dynamic.versions import bump
from staticgraph.errors import DtypeError, RunError, ShapeError, UsageError
from staticgraph.ir import loc
from staticgraph.ir.dtypes import DType
from staticgraph.ir.op import lookup
from staticgraph.ir.types import TensorType

_TITLES = {d: title for title, d in LEGACY.items()}


class _Type(TensorType):
    """The type of a tensor; called, it is PyTorch's `Tensor.type`."""

    __slots__ = ("tensor",)

    tensor: Tensor

    def __call__(self, dtype: object = None) -> Any:
        """Convert to `dtype`; without one, the name of the tensor's class."""
        if dtype is None:
            return "torch." + _TITLES.get(self.dtype, "Tensor")
        return self.tensor.to(as_numpy(dtype))


class Handle:
    """Takes a hook away again."""

    def __init__(self, hooks: list[Any], entry: Any) -> None:
        self._hooks, self._entry = hooks, entry

    def remove(self) -> None:
        """Take the hook away."""
        if self._entry in self._hooks:
            self._hooks.remove(self._entry)


class Tensor(Conversions):
    """An n-dimensional array that operations are recorded on.

    Make one with `tensor`, `zeros`, `randn`, `from_numpy` and their like.

    >>> import staticgraph.dynamic as torch
    >>> x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    >>> y = (x**2).sum()
    >>> y
    tensor(14., grad_fn=<SumBackward0>)
    >>> y.backward()
    >>> x.grad
    tensor([2., 4., 6.])
    """

    _grad: Tensor | None = None
    _hooks: list[Any] | None = None
    _retained: bool = False
    __array_priority__ = 1000

    def __new__(cls, *args: Any) -> Any:
        """As PyTorch's legacy constructor: values, or sizes of an uninitialised tensor."""
        made = object.__new__(cls)
        if len(args) == 1 and not isinstance(args[0], int):
            made._array = np.array(plain(args[0]), default_float())
        else:
            made._array = np.zeros(shapes.lengths_of(args, "Tensor") if args else (0,),
                                   default_float())  # fmt: skip
        made._version = [0, None]
        return made

    # ------------------------------------------------------------ what it is
    @property
    def dtype(self) -> DType:
        """The element type."""
        return NUMPY[self._array.dtype]

    @property
    def type(self) -> _Type:
        """Element type and sizes; ``x.type(dtype)`` converts."""
        t = _Type(NUMPY[self._array.dtype], self._array.shape)
        object.__setattr__(t, "tensor", self)
        return t

    @property
    def shape(self) -> shapes.Size:
        """The sizes of the axes."""
        if MODES.tracer is not None:
            MODES.tracer.sized(self)
        return shapes.Size(self._array.shape)

    def size(self, dim: int | None = None) -> Any:
        """The sizes of the axes, or that of one."""
        if MODES.tracer is not None:
            MODES.tracer.sized(self)
        if dim is None:
            return shapes.Size(self._array.shape)
        return self._array.shape[shapes.axis_of(dim, self._array.ndim, "size")]

    def dim(self) -> int:
        """The number of axes."""
        return self._array.ndim

    ndimension = dim

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self._array.ndim

    def numel(self) -> int:
        """The number of elements."""
        if MODES.tracer is not None:
            MODES.tracer.sized(self)
        return self._array.size

    nelement = numel

    def element_size(self) -> int:
        """Bytes in an element."""
        return self._array.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes in all elements."""
        return self._array.nbytes

    def stride(self, dim: int | None = None) -> Any:
        """How many elements lie between neighbours along each axis, or one."""
        steps = shapes.strides(self)
        return steps if dim is None else steps[dim]

    def is_contiguous(self) -> bool:
        """Whether the elements lie in order."""
        return self._array.flags.c_contiguous

    def data_ptr(self) -> int:
        """The address of the first element."""
        return self._array.__array_interface__["data"][0]  # type: ignore[no-any-return]

    @property
    def device(self) -> Device:
        """Where the elements are: always ``cpu``."""
        return Device("cpu")

    is_cuda = is_sparse = False

    @property
    def layout(self) -> str:
        """How the elements are laid out: always strided."""
        return "torch.strided"

    def is_floating_point(self) -> bool:
        """True of float16, bfloat16, float32 and float64."""
        return self.dtype.is_floating

    def is_complex(self) -> bool:
        """True of complex64 and complex128."""
        return self.dtype.is_complex

    # ------------------------------------------------------------ gradients
    @property
    def requires_grad(self) -> bool:
        """Whether a gradient is wanted of it, or of something that it was made from."""
        if edge(self) is not None:
            return True
        tracer = MODES.tracer
        return tracer is not None and tracer.requires(self)

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self.requires_grad_(value)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Ask for a gradient, or stop asking; leaves of floats only."""
        if requires_grad and self._array.dtype not in DIFFERENTIABLE:
            raise DtypeError(
                f"only floats have gradients, and the tensor is {self.dtype.name}",
                loc=loc.caller(), hint="convert it first: x.float()",
            )  # fmt: skip
        if not requires_grad and edge(self) is not None and self._node is not None:
            raise RunError(
                "requires_grad of a result cannot be taken away", loc=loc.caller(),
                hint="use x.detach()",
            )  # fmt: skip
        if self._node is None:
            if MODES.tracer is not None:
                MODES.tracer.asks(self, bool(requires_grad))
            else:
                self._requires = bool(requires_grad)
        return self

    @property
    def is_leaf(self) -> bool:
        """Whether no recorded operation made it."""
        edge(self)
        return self._node is None

    @property
    def grad_fn(self) -> Node | None:
        """The recorded operation that made it."""
        edge(self)
        node: Node | None = self._node
        return node

    @property
    def output_nr(self) -> int:
        """Which result of `grad_fn` it is."""
        return self._slot

    @property
    def grad(self) -> Tensor | None:
        """The gradient that `backward` has added up here, or None."""
        if MODES.tracer is not None:
            return MODES.tracer.training.gradient(self)  # type: ignore[no-any-return]
        return self._grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is not None:
            engine.check_gradient(value, self._array, "the value given to .grad")
        if MODES.tracer is not None:
            MODES.tracer.training.set_gradient(self, value)
        else:
            self._grad = value

    @grad.deleter
    def grad(self) -> None:
        self.grad = None

    def _accumulate(self, g: Any) -> None:
        have = self._grad
        if isinstance(g, Taped):  # its computation is recorded
            self._grad = g if have is None else have + g  # type: ignore[assignment]
        elif have is None:
            self._grad = wrap(np.array(g, order="C"))
        elif edge(have) is None and have._array.flags.writeable:
            MODES.run(np.add, have._array, g, have._array)
            bump(have._version)
        else:
            self._grad = wrap(MODES.run(np.add, have._array, g))

    def backward(
        self, gradient: Tensor | None = None, retain_graph: bool | None = None,
        create_graph: bool = False, inputs: Sequence[Tensor] | None = None,
    ) -> None:  # fmt: skip
        """Add the gradient of this tensor to `.grad` of the leaves it was computed from.

        Args:
          gradient: the gradient of something else with respect to this tensor; needed where it
            has more than one element.
          retain_graph: keep what is needed for another backward; by default as `create_graph`.
          create_graph: record the computation of the gradients, so that they can be
            differentiated.
          inputs: the only tensors that get a gradient; all leaves by default.

        Raises:
          RunError: nothing is recorded, what is needed was freed or changed in place, or the
            tensor is no single number and `gradient` is missing.
        """
        keep = create_graph if retain_graph is None else retain_graph
        engine.backward((self,), (gradient,), keep, create_graph, inputs)

    def retain_grad(self) -> None:
        """Keep the gradient of this result in `.grad`, as for a leaf."""
        if edge(self) is None:
            raise RunError("the tensor does not require a gradient", loc=loc.caller())
        if self._node is None or self._retained:
            return
        self._retained = True
        keeper = weakref.ref(self)

        def keep(g: Tensor) -> None:
            t = keeper()
            if t is not None:
                t._accumulate(g if edge(g) is not None else g._array)

        self._hook_list().append((self._slot, keep))

    @property
    def retains_grad(self) -> bool:
        """Whether `retain_grad` was called."""
        return self._retained

    def _hook_list(self) -> list[Any]:
        if self._node is not None:
            if self._node.hooks is None:
                self._node.hooks = []
            return self._node.hooks  # type: ignore[no-any-return]
        if self._hooks is None:
            self._hooks = []
        return self._hooks

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> Handle:
        """Call `hook` with the gradient of this tensor in every backward; it may return another."""
        if edge(self) is None:
            traced = MODES.tracer is not None and self.requires_grad
            raise RunError(
                "a hook on a result inside a compiled function, which keeps no nodes"
                if traced
                else "a hook on a tensor that does not require a gradient",
                loc=loc.caller(),
                hint="put it on a parameter, before the call" if traced else None,
            )
        hooks = self._hook_list()
        entry = hook if self._node is None else (self._slot, hook)
        hooks.append(entry)
        return Handle(hooks, entry)

    def detach(self) -> Tensor:
        """The same memory without the history.

        >>> import staticgraph.dynamic as torch
        >>> x = torch.ones(2, requires_grad=True)
        >>> x.detach().requires_grad
        False
        """
        t = wrap(self._array)
        t._version = self._version
        if MODES.tracer is not None:
            MODES.tracer.alias(self, t)
        return t  # type: ignore[no-any-return]

    def detach_(self) -> Tensor:
        """Forget the history; returns the tensor."""
        if MODES.tracer is not None:
            MODES.tracer.detached(self)
        self._node, self._slot, self._requires = None, 0, False
        return self

    @property
    def data(self) -> Tensor:
        """The same memory without history and without the check of changes in place."""
        t = wrap(self._array)
        if MODES.tracer is not None:
            MODES.tracer.alias(self, t)
        return t  # type: ignore[no-any-return]

    @data.setter
    def data(self, value: Tensor) -> None:
        if not isinstance(value, Taped):
            raise UsageError(f".data takes a tensor, got {type(value).__name__}", loc=loc.caller())
        if MODES.tracer is not None:
            MODES.tracer.put(self, value)
            return
        self._array = value._array

    # ------------------------------------------------------------ values
    def _known(self, what: str) -> np.ndarray:
        if MODES.tracer is not None:
            MODES.tracer.read(self, what)
        return self._array

    def item(self) -> Any:
        """The only element as a Python number; ShapeError where there are more."""
        a = self._known("item()")
        if a.size != 1:
            raise ShapeError(
                f"a tensor of shape {list(a.shape)} has {a.size} elements and is no single number",
                loc=loc.caller(), hint="use tolist(), or reduce it first",
            )  # fmt: skip
        return a.item()

    def tolist(self) -> Any:
        """The elements as nested lists of Python numbers."""
        return self._known("tolist()").tolist()

    def numpy(self, *, force: bool = False) -> np.ndarray:
        """The elements as an array in the same memory.

        Raises:
          RunError: the tensor requires a gradient; changes to the array would go unseen.
        """
        if edge(self) is not None and not force:
            raise RunError(
                "the array of a tensor that requires a gradient would share its memory unseen",
                loc=loc.caller(), hint="use x.detach().numpy()",
            )  # fmt: skip
        return self._known("numpy()")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        a = self.numpy()
        if dtype is not None and a.dtype != dtype:
            return a.astype(dtype)
        return a.copy() if copy else a

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __complex__(self) -> complex:
        return complex(self.item())

    def __index__(self) -> int:
        if self._array.dtype.kind not in "iub":
            raise UsageError(
                f"a {self.dtype.name} tensor is no index", loc=loc.caller(), hint="use x.long()"
            )
        return int(self.item())

    def __bool__(self) -> bool:
        a = self._known("a condition")
        if a.size != 1:
            raise UsageError(
                f"a tensor of {a.size} elements is neither true nor false", loc=loc.caller(),
                hint="use x.any() or x.all()",
            )  # fmt: skip
        return bool(a.item())

    def __format__(self, spec: str) -> str:
        return (
            format(self.item(), spec) if spec and self._array.ndim == 0 else format(str(self), spec)
        )

    def __len__(self) -> int:
        if self._array.ndim == 0:
            raise UsageError("a tensor without axes has no length", loc=loc.caller())
        if MODES.tracer is not None:
            MODES.tracer.sized(self)
        return len(self._array)

    def __iter__(self) -> Iterator[Any]:
        if self._array.ndim == 0:
            raise UsageError("a tensor without axes cannot be iterated", loc=loc.caller())
        return iter(shapes.unbind(self))

    def __contains__(self, value: Any) -> bool:
        return bool((self == value).any())

    def __repr__(self) -> str:
        if self._array.__class__ is not np.ndarray:
            return f"tensor({self._array!r})"
        notes = []
        if edge(self) is not None:
            notes = [
                "requires_grad=True" if self._node is None else f"grad_fn=<{self._node.name()}>"
            ]
        return text_of(self._array, "tensor(", notes)

    def __reduce__(self) -> tuple[object, ...]:
        if not self.is_leaf:
            raise RunError(
                "only leaves can be pickled or copied", loc=loc.caller(), hint="use x.detach()"
            )
        return _rebuild, (type(self), self._array, self._requires)

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if not self.is_leaf:
            raise RunError(
                "only leaves can be copied deeply", loc=loc.caller(), hint="use detach()"
            )
        made = _rebuild(type(self), self._array.copy(), self._requires)
        if self._grad is not None:
            made._grad = wrap(self._grad._array.copy())
        memo[id(self)] = made
        return made  # type: ignore[no-any-return]

    # ------------------------------------------------------------ axes
    @property
    def T(self) -> Tensor:  # noqa: N802 - PyTorch's name
        """With the axes in reverse order."""
        return lookup("Transpose")(self, tuple(reversed(range(self._array.ndim))))  # type: ignore[no-any-return]

    @property
    def mT(self) -> Tensor:  # noqa: N802 - PyTorch's name
        """With the last two axes exchanged."""
        return shapes.transpose(self, -2, -1)

    def _renew(self) -> None:
        inplace.renew(self)


def _rebuild(cls: Any, array: np.ndarray, requires: Any) -> Any:
    made = object.__new__(cls)
    made._array, made._version = array, [0, None]
    if requires:
        made._requires = True
    return made


set_tensor_class(Tensor)
