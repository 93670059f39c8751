"""The classes that older programs name element types by: ``torch.FloatTensor`` and its like."""

from __future__ import annotations

from typing import Any

import numpy as np

from staticgraph.dynamic import shapes
from staticgraph.dynamic.apply import wrap
from staticgraph.dynamic.conversion import plain
from staticgraph.dynamic.element_types import LEGACY
from staticgraph.dynamic.tensor import Tensor
from staticgraph.ir.dtypes import DType


class _Legacy(type):
    """``isinstance(x, torch.FloatTensor)`` asks for the element type."""

    legacy_dtype: DType

    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, Tensor) and value.dtype is cls.legacy_dtype

    def __call__(cls, *args: Any) -> Any:
        """``FloatTensor([1, 2])`` holds these values; ``FloatTensor(2, 3)`` is uninitialised.

        An array of the same element type shares its memory with the tensor.
        """
        if len(args) == 1 and not isinstance(args[0], int):
            given = args[0]
            if isinstance(given, np.ndarray) and given.dtype == cls.legacy_dtype.np:
                return wrap(given)
            return wrap(np.array(plain(args[0]), cls.legacy_dtype.np))
        return wrap(np.zeros(shapes.lengths_of(args, cls.__name__) if args else (0,),
                             cls.legacy_dtype.np))  # fmt: skip


LEGACY_CLASSES = {
    title: _Legacy(title, (), {"legacy_dtype": d, "__doc__": f"Tensors of {d.name}, by old name."})
    for title, d in LEGACY.items()
}
