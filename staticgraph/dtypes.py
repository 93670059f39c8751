"""`tf.dtypes`: element types and conversion between them."""

from staticgraph.api.casting import cast, saturate_cast
from staticgraph.ir.dtypes import (
    DType,
    as_dtype,
    bfloat16,
    complex64,
    complex128,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    string,
    uint8,
    uint16,
    uint32,
    uint64,
)
from staticgraph.ir.dtypes import bool_ as bool  # noqa: A004

half = float16
double = float64

__all__ = [
    "DType", "as_dtype", "bfloat16", "bool", "cast", "complex128", "complex64", "double", "float16",
    "float32", "float64", "half", "int16", "int32", "int64", "int8", "saturate_cast", "string",
    "uint16", "uint32", "uint64", "uint8",
]  # fmt: skip
