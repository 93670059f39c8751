"""Parsing of the small parts that all levels share: sizes, types, constants, attributes."""

from __future__ import annotations

import base64
import json
import math
import zlib
from typing import Any

import numpy as np

from staticgraph.ir import dims as D
from staticgraph.ir import dtypes
from staticgraph.ir.dims import Dim, symbol
from staticgraph.ir.dtypes import DType
from staticgraph.ir.tokens import Reader, Token
from staticgraph.ir.types import ConstantArray, TensorType

_DTYPES = {d.short: d for d in dtypes.ALL} | {d.short + "_ref": dtypes.ref(d) for d in dtypes.ALL}
_DTYPES[dtypes.variant.short] = dtypes.variant
_FUNCTIONS = {"floordiv": D.floordiv, "mod": D.mod, "max": D.maximum, "min": D.minimum}
_WORDS = {"True": True, "False": False, "None": None}


class ValueReader(Reader):
    """Reads sizes, types and attribute values."""

    # ---- sizes
    def dim(self) -> Dim:
        """A size: ``2*n + 1``, ``floordiv(n + 1, 2)``, ``n - 1``."""
        total = self._product()
        while True:
            if self.accept("+"):
                total = total + self._product()
            elif self.accept("-"):
                total = total - self._product()
            elif self.next.kind == "int" and self.next.text.startswith("-"):  # n -1
                total = total + self._product()
            else:
                return total

    def _product(self) -> Dim:
        out = self._factor()
        while self.accept("*"):
            out = out * self._factor()
        return out

    def _factor(self) -> Dim:
        token = self.next
        if token.kind == "int":
            return int(self.advance().text)
        if self.accept("("):
            inner = self.dim()
            self.expect(")")
            return inner
        if self.accept("-"):
            return -self._factor()
        if token.kind != "word":
            self.fail(f"expected a size, found {self.shown()}")
        self.advance()
        if not self.accept("("):
            return symbol(token.text)
        fn = _FUNCTIONS.get(token.text)
        if fn is None:
            self.fail(f"{token.text!r} is no function of sizes; {', '.join(_FUNCTIONS)} are", token)
        a = self.dim()
        self.expect(",")
        b = self.dim()
        self.expect(")")
        try:
            return fn(a, b)
        except ZeroDivisionError:
            self.fail("division by zero", token)

    # ---- types
    def dtype(self) -> DType:
        """``f32``, ``f32_ref``."""
        token = self.take("word", "an element type")
        dtype = _DTYPES.get(token.text)
        if dtype is None:
            self.fail(f"{token.text!r} is not an element type", token)
        return dtype

    def type(self) -> TensorType:
        """``f32[n, 3]``, ``f32[*]``."""
        dtype = self.dtype()
        self.expect("[")
        if self.at("*"):
            self.advance()
            self.expect("]")
            return TensorType(dtype, None)
        sizes: list[Dim] = []
        while not self.at("]"):
            sizes.append(self.dim())
            if not self.accept(","):
                break
        self.expect("]")
        return TensorType(dtype, tuple(sizes))

    # ---- attributes
    def attributes(self) -> dict[str, tuple[Any, Token]]:
        """``{a=1, b=2}`` or nothing, each with the token of its name."""
        out: dict[str, tuple[Any, Token]] = {}
        if not self.accept("{"):
            return out
        while not self.at("}"):
            key = self.take("word", "the name of an attribute")
            if key.text in out:
                self.fail(f"the attribute {key.text!r} is given twice", key)
            self.expect("=")
            out[key.text] = (self.attribute(), key)
            if not self.accept(","):
                break
        self.expect("}")
        return out

    def attribute(self) -> Any:
        """One attribute value."""
        token = self.next
        match token.kind:
            case "string":
                return self.string()
            case "float":
                return self.float()
            case "int":
                return self.dim()
            case "word":
                return self._worded(token)
        if self.accept("("):
            return self._tuple()
        if self.accept("["):
            return self._list()
        if self.at("-"):
            return self.dim()
        if self.at("<"):
            self.fail("a Python object has no text form and cannot be read back")
        self.fail(f"expected the value of an attribute, found {self.shown()}")

    def _worded(self, token: Token) -> Any:
        if token.text in _WORDS:
            self.advance()
            return _WORDS[token.text]
        if token.text == "dense":
            return self.dense()
        if token.text == "function":
            return self.function()
        if token.text == "graph":
            return self.body()
        if token.text in _DTYPES:
            following = self.ahead(1)
            sized = following.kind == "punct" and following.text == "["
            return self.type() if sized else self.dtype()
        return self.dim()

    def _list(self) -> list[Any]:
        items: list[Any] = []
        while not self.at("]"):
            items.append(self.attribute())
            if not self.accept(","):
                break
        self.expect("]")
        return items

    def _tuple(self) -> Any:
        items: list[Any] = []
        comma = False
        while not self.at(")"):
            items.append(self.attribute())
            comma = self.accept(",")
            if not comma:
                break
        self.expect(")")
        return items[0] if len(items) == 1 and not comma else tuple(items)

    def body(self) -> Any:
        """The body of a loop or branch of a graph as the value of an attribute."""
        self.fail("a graph cannot stand here")

    def function(self) -> Any:
        """A function as the value of an attribute."""
        self.fail("a function cannot stand here")

    def string(self) -> str | bytes:
        """``"..."`` or ``b"..."``."""
        token = self.take("string")
        data = token.text.startswith("b")
        try:
            text = json.loads(token.text[data:])
        except ValueError as e:
            self.fail(f"not a string: {e}", token)
        return text.encode("latin-1") if data else str(text)

    def float(self) -> float:
        """A float, ``nan(0x...)`` included."""
        token = self.take("float", "a number")
        if token.text == "nan" and self.accept("("):
            bits = int(self.take("hex").text, 16)
            self.expect(")")
            return float(np.uint64(bits).view(np.float64))
        return float(token.text)

    # ---- constants
    def dense(self) -> ConstantArray:
        """``dense<f32[2]: [1.0, 2.0]>``."""
        start = self.expect("dense")
        self.expect("<")
        type_ = self.type()
        shape = tuple(d for d in type_.shape or () if isinstance(d, int))
        if type_.shape is None or len(shape) != len(type_.shape):
            self.fail("the sizes of a constant are numbers", start)
        self.expect(":")
        count = math.prod(shape)
        if self.at("zlib"):
            array = self._compressed(type_.dtype, shape)
        else:
            array = self._listed(type_.dtype, count, len(shape), start).reshape(shape)
        self.expect(">")
        return ConstantArray(array)

    def _compressed(self, dtype: DType, shape: tuple[int, ...]) -> np.ndarray:
        self.expect("zlib")
        token = self.next
        text = self.string()
        try:
            data = zlib.decompress(base64.b64decode(text, validate=True))
            return np.frombuffer(data, dtype.np).reshape(shape)
        except (ValueError, zlib.error) as e:
            self.fail(f"the data do not make {dtype.short}{list(shape)}: {e}", token)

    def _listed(self, dtype: DType, count: int, rank: int, start: Token) -> np.ndarray:
        """Elements between brackets; the number of open brackets is the rank."""
        values: list[Any] = []
        bits: dict[int, int] = {}
        depth = 0
        while not self.at(">"):
            if self.accept("["):
                depth += 1
            elif self.accept("]"):
                depth -= 1
            elif not self.accept(","):
                if depth != rank:
                    self.fail(f"an element inside {depth} brackets of a constant of rank {rank}")
                self._element(dtype, values, bits)
        if depth or len(values) != count:
            self.fail(f"{len(values)} elements for a constant of {count}", start)
        return _array(dtype, values, bits)

    def _element(self, dtype: DType, values: list[Any], bits: dict[int, int]) -> None:
        if dtype is dtypes.string:
            values.append(self.string())
        elif dtype.is_complex:
            self.expect("(")
            parts: list[float] = []
            self._number(parts, bits, 2 * len(values))
            self.expect(",")
            self._number(parts, bits, 2 * len(values) + 1)
            self.expect(")")
            values.append(parts)
        elif dtype.is_floating:
            self._number(values, bits, len(values))
        elif dtype.is_bool:
            if not self.at("True", "False"):
                self.fail(f"expected True or False, found {self.shown()}")
            values.append(self.advance().text == "True")
        else:
            token = self.take("int", "an integer")
            value = int(token.text)
            if not dtype.min <= value <= dtype.max:
                self.fail(f"{value} does not fit {dtype.name}", token)
            values.append(value)

    def _number(self, values: list[Any], bits: dict[int, int], at: int) -> None:
        if self.next.kind == "int":
            values.append(float(self.advance().text))
            return
        token = self.take("float", "a number")
        values.append(float(token.text))
        if token.text == "nan" and self.accept("("):
            bits[at] = int(self.take("hex").text, 16)
            self.expect(")")


def _array(dtype: DType, values: list[Any], bits: dict[int, int]) -> np.ndarray:
    if dtype is dtypes.string:
        strings = np.empty(len(values), dtype=object)
        strings[:] = values
        return strings
    if not (dtype.is_floating or dtype.is_complex):
        return np.array(values, dtype=dtype.np)
    size = dtype.size // 2 if dtype.is_complex else dtype.size
    part: np.dtype[Any] = dtype.np
    if dtype.is_complex:
        part = np.dtype(f"f{size}")
    flat: np.ndarray = np.array(values, dtype=np.float64).reshape(-1)
    with np.errstate(over="ignore"):
        out: np.ndarray = flat.astype(part)
    for at, pattern in bits.items():
        out.view(f"u{size}")[at] = pattern
    return out.view(dtype.np)


__all__ = ["ValueReader"]
