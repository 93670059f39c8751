"""Tensors of another element type, and new ones of the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from staticgraph.dynamic import elementwise as E
from staticgraph.dynamic import shapes
from staticgraph.dynamic.apply import Taped, wrap
from staticgraph.dynamic.device import Device
from staticgraph.dynamic.element_types import as_numpy
from staticgraph.dynamic.methods import Methods
from staticgraph.ir import dtypes

if TYPE_CHECKING:
    from staticgraph.dynamic.tensor import Tensor


def plain(data: Any) -> Any:
    """Nested lists with arrays in place of tensors."""
    if isinstance(data, Taped):
        return data._array
    if isinstance(data, (list, tuple)):
        return [plain(v) for v in data]
    return data


def _filled(
    like: Any, size: tuple[int, ...], value: Any, *, dtype: object = None, device: Any = None,
    requires_grad: bool = False,
) -> Any:  # fmt: skip
    """One value, repeated, with the element type of `like` unless `dtype` is given."""
    if device is not None:
        Device(device)
    made = wrap(np.full(size, plain(value), as_numpy(dtype) if dtype else like._array.dtype))
    return made.requires_grad_() if requires_grad else made


class Conversions(Methods):
    """Methods that give another element type."""

    def to(self: Any, *args: Any, **kwargs: Any) -> Tensor:
        """Convert to another element type (or that of another tensor); devices are all ``cpu``."""
        wanted: Any = kwargs.get("dtype")
        for a in args:
            if isinstance(a, Taped):
                wanted = a._array.dtype
            elif isinstance(a, Device) or (isinstance(a, str) and a.split(":")[0] in Device.KINDS):
                Device(a)
            elif a is not None and not isinstance(a, bool):
                wanted = a
        if kwargs.get("device") is not None:
            Device(kwargs["device"])
        return self if wanted is None else E.cast(self, wanted)

    def type_as(self: Any, other: Tensor) -> Tensor:
        """With the element type of `other`."""
        return E.cast(self, other._array.dtype)

    def float(self: Any) -> Tensor:
        """As float32."""
        return E.cast(self, dtypes.float32)

    def double(self: Any) -> Tensor:
        """As float64."""
        return E.cast(self, dtypes.float64)

    def half(self: Any) -> Tensor:
        """As float16."""
        return E.cast(self, dtypes.float16)

    def bfloat16(self: Any) -> Tensor:
        """As bfloat16."""
        return E.cast(self, dtypes.bfloat16)

    def long(self: Any) -> Tensor:
        """As int64."""
        return E.cast(self, dtypes.int64)

    def int(self: Any) -> Tensor:
        """As int32."""
        return E.cast(self, dtypes.int32)

    def short(self: Any) -> Tensor:
        """As int16."""
        return E.cast(self, dtypes.int16)

    def byte(self: Any) -> Tensor:
        """As uint8."""
        return E.cast(self, dtypes.uint8)

    def bool(self: Any) -> Tensor:
        """As truth values."""
        return E.cast(self, dtypes.bool_)

    def cpu(self: Any) -> Tensor:
        """The tensor itself."""
        return self  # type: ignore[no-any-return]

    def cuda(self: Any, device: object = None) -> Tensor:
        """An error: tensors live on the CPU."""
        raise Device.unavailable("cuda" if device is None else device)

    def pin_memory(self: Any) -> Tensor:
        """The tensor itself."""
        return self  # type: ignore[no-any-return]

    def new_tensor(self: Any, data: Any) -> Tensor:
        """A tensor of `data` with this element type."""
        return wrap(np.array(plain(data), self._array.dtype))  # type: ignore[no-any-return]

    def new_zeros(self: Any, *size: Any, **options: Any) -> Tensor:
        """Zeros with this element type, unless `dtype` says another."""
        return _filled(self, shapes.lengths_of(size, "new_zeros"), 0, **options)  # type: ignore[no-any-return]

    def new_ones(self: Any, *size: Any, **options: Any) -> Tensor:
        """Ones with this element type, unless `dtype` says another."""
        return _filled(self, shapes.lengths_of(size, "new_ones"), 1, **options)  # type: ignore[no-any-return]

    def new_full(self: Any, size: Sequence[Any], fill_value: Any, **options: Any) -> Tensor:
        """One value, repeated, with this element type, unless `dtype` says another."""
        return _filled(self, shapes.lengths_of((size,), "new_full"), fill_value, **options)  # type: ignore[no-any-return]

    new_empty = new_zeros
