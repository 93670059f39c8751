"""Ops that talk to the world outside: prints, checks, Python functions.

They run on the host, in the order that control edges and creation give; their numpy rules
perform the effect.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from staticgraph.errors import AssertionFailedError, InvalidArgumentError, NumericsError
from staticgraph.ir import dtypes
from staticgraph.ir.dims import Dim
from staticgraph.ir.dtypes import DType
from staticgraph.ir.op import REQUIRED, ErrorSample, Infer, Op, RuleError, Sample
from staticgraph.ir.types import TensorType
from staticgraph.ops.iteration import prefix
from staticgraph.ops.rules import FLOATING, first_shape, floats, same


# ---------------------------------------------------------------- values as text
def element(value: Any, quoted: bool = False) -> str:
    """One element as TensorFlow prints it: ``1``, ``0.1``, ``1e+20``, ``nan``."""
    if isinstance(value, (bytes, str)):
        text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        return f'"{text}"' if quoted else text
    if isinstance(value, (bool, np.bool_)):
        return "1" if value else "0"
    if isinstance(value, (int, np.integer)):
        return str(int(value))
    if isinstance(value, (complex, np.complexfloating)):
        return f"({element(value.real)},{element(value.imag)})"
    number = float(value)
    if isinstance(value, (float, np.float64)):
        short, full = 15, 17
        back: Any = float
    else:
        short, full = 6, 9
        back = np.float32
    text = f"{number:.{short}g}"
    same_value = number != number or back(text) == back(number)
    return text if same_value else f"{number:.{full}g}"


def summary(array: np.ndarray, limit: int | None) -> str:
    """The first `limit` elements (all if negative) in the form of ``tf.Print``."""
    a = np.asarray(array)
    limit = a.size if limit is None or limit < 0 else min(limit, a.size)
    if a.ndim == 0:
        return element(a[()]) if limit else "..."
    done = 0
    out: list[str] = []

    def walk(part: np.ndarray, depth: int) -> None:
        nonlocal done
        if part.ndim == 1:
            for i, value in enumerate(part):
                if done >= limit:
                    if depth:
                        out.append("...")
                    return
                out.append(" " * (i > 0) + element(value))
                done += 1
            return
        for row in part:
            if done >= limit:
                return
            out.append("[")
            walk(row, depth + 1)
            out.append("]")

    walk(a, 0)
    return "".join(out) + ("..." if a.size > limit else "")


def pretty(array: np.ndarray, ends: int | None) -> str:
    """The first and last `ends` elements of each axis in the form of ``tf.print``."""
    a = np.asarray(array)
    ends = -1 if ends is None else ends

    def walk(part: np.ndarray, depth: int) -> str:
        if part.ndim == 0:
            return element(part[()], quoted=a.dtype == object)
        last = depth == a.ndim - 1
        gap = " " if last else "\n" * (a.ndim - 1 - depth) + " " * (depth + 1)
        n = len(part)
        if ends < 0 or n <= 2 * ends:
            cells = [walk(part[i, ...], depth + 1) for i in range(n)]
        else:
            cells = [walk(part[i, ...], depth + 1) for i in range(ends)] + ["..."]
            cells += [walk(part[i, ...], depth + 1) for i in range(n - ends, n)]
        return "[" + gap.join(cells) + "]"

    return walk(a, 0)


# ---------------------------------------------------------------- prints
class Times:
    """How often one print op has run; made when it is built, so that each op has its own."""

    def __init__(self) -> None:
        self.count = 0


def _write(stream: str, text: str) -> None:
    if stream.startswith("file://"):
        with open(stream[len("file://") :], "a", encoding="utf-8") as f:
            f.write(text)
        return
    # Look the streams up now: programs redirect them.
    out = sys.stdout if stream == "stdout" else sys.stderr
    out.write(text)
    out.flush()


def _print(
    x: np.ndarray,
    *data: np.ndarray,
    message: str,
    first_n: int,
    summarize: int,
    times: Times | None,
) -> np.ndarray:
    if times is not None and 0 <= first_n <= times.count:
        return x
    if times is not None:
        times.count += 1
    shown = "".join(f"[{summary(d, summarize)}]" for d in data)
    _write("stderr", f"{prefix()}{message}{shown}\n")
    return x


print_ = Op(
    "Print", ("input", "*data"), lambda x, *_, **__: x, first_shape, _print,
    lambda g, y, x, *data, **_: (g, *(None for _ in data)), host=True, effect="io",
    attrs={"message": "", "first_n": -1, "summarize": 3, "times": None},
    operand_dtypes={"data": None},
    samples=lambda: (Sample((floats(), [floats(shape=(2, 2)), np.int32(3)]), {"message": "x: "}),),
    doc="""Returns `input` and prints `data` to standard error.

    Only the first `first_n` times if that is not negative, `summarize` elements of each tensor.
    """,
)  # fmt: skip


def _print_v2(
    *inputs: np.ndarray, template: Sequence[str], output_stream: str, summarize: int, end: str
) -> tuple[()]:
    text = template[0]
    for x, piece in zip(inputs, template[1:], strict=True):
        # A lone string is text, not a value: no quotes.
        lone = np.ndim(x) == 0 and np.asarray(x).dtype == object
        text += (element(np.asarray(x)[()]) if lone else pretty(x, summarize)) + piece
    _write(output_stream, prefix() + text + end)
    return ()


print_v2 = Op(
    "PrintV2", ("*inputs",), lambda *_, **__: (), lambda ctx, *_, **__: (), _print_v2, None,
    host=True, effect="io", results=0,
    attrs={"template": ("", ""), "output_stream": "stderr", "summarize": 3, "end": "\n"},
    operand_dtypes={"inputs": None},
    doc="Prints the pieces of text in `template` with the tensors between them.",
)  # fmt: skip


# ---------------------------------------------------------------- checks
def _assert_shape(ctx: Infer, condition: TensorType, *data: TensorType, **_: Any) -> tuple[()]:
    if condition.shape:
        raise RuleError(
            f"the condition must be a scalar, got {condition.public()}",
            hint="use tf.reduce_all(condition)",
        )
    return ()


def _assert(condition: np.ndarray, *data: np.ndarray, summarize: int | None) -> tuple[()]:
    if not bool(np.all(condition)):
        limit = 3 if summarize is None else summarize
        shown = " ".join(f"[{summary(d, limit)}]" for d in data)
        raise AssertionFailedError(f"assertion failed: {shown}")
    return ()


assert_ = Op(
    "Assert", ("condition", "*data"), lambda c, *_, **__: same((dtypes.bool_,))(c) and (),
    _assert_shape, _assert, None, host=True, effect="io", results=0, attrs={"summarize": 3},
    operand_dtypes={"condition": dtypes.bool_, "data": None},
    error_samples=lambda: (
        ErrorSample((np.array([True, False]), [np.float32(1)]), {}, "must be a scalar, got bool"),
    ),
    doc="Fails the run with `data` in the message unless the condition holds.",
)  # fmt: skip


def _check_numerics(x: np.ndarray, *, message: str) -> np.ndarray:
    nan, inf = int(np.isnan(x).sum()), int(np.isinf(x).sum())
    if nan or inf:
        found = " and ".join(f"{n} {kind}" for n, kind in ((nan, "NaN"), (inf, "Inf")) if n)
        lead = f"{message} : " if message else ""
        raise NumericsError(f"CheckNumerics: {lead}the tensor holds {found} of {x.size} values")
    return x


check_numerics = Op(
    "CheckNumerics", ("tensor",), lambda x, **_: same(FLOATING)(x), first_shape, _check_numerics,
    lambda g, y, x, *, message: (check_numerics_of_gradient(g, message),), host=True, effect="io",
    attrs={"message": ""},
    samples=lambda: (Sample((floats(dtype="float64"),)), Sample((floats(shape=(0,)),))),
    error_samples=lambda: (ErrorSample((np.zeros(2, np.int32),), {}, "does not take int32"),),
    doc="Returns its operand; fails the run where it holds a NaN or an infinity.",
)  # fmt: skip


def check_numerics_of_gradient(g: Any, message: str) -> Any:
    """The gradient of a checked tensor is checked too, and says so."""
    suffix = "(in the gradient)"
    text = message if message.endswith(suffix) else f"{message} {suffix}".strip()
    return check_numerics(g, message=text)


# ---------------------------------------------------------------- Python functions
def _py_dtypes(*_: DType, Tout: Sequence[Any], **__: Any) -> tuple[DType, ...]:  # noqa: N803
    return tuple(dtypes.as_dtype(t) for t in Tout)


def _py_shape(
    ctx: Infer, *_: TensorType, Tout: Sequence[Any], **__: Any
) -> tuple[tuple[Dim, ...] | None, ...]:  # noqa: N803
    return (None,) * len(Tout)


def _as_result(value: Any, dtype: DType, i: int, name: str) -> np.ndarray:
    if type(value) in (int, float, bool):
        return np.asarray(value, dtype.np)  # a plain number has no dtype of its own
    array = np.asarray(value)
    if array.dtype.kind in "SUO":
        try:
            array = dtypes.texts(value)
        except TypeError as e:
            raise InvalidArgumentError(f"PyFunc: result {i} of {name}: {e}") from None
    if array.dtype != dtype.np:
        raise InvalidArgumentError(
            f"PyFunc: result {i} of {name} is {dtypes.as_dtype(array.dtype).name}, "
            f"but Tout says {dtype.name}",
            hint=f"return an array with .astype({dtype.name!r})",
        )
    return array


def _call(
    *inputs: np.ndarray, func: Callable[..., Any], Tout: Sequence[Any]
) -> tuple[np.ndarray, ...]:  # noqa: N803
    kinds = [dtypes.as_dtype(t) for t in Tout]
    out = func(*(np.array(x) for x in inputs))  # copies: a function may write into its arguments
    if not kinds:
        return ()
    results = (
        list(out)
        if isinstance(out, (tuple, list)) and (len(kinds) != 1 or len(out) == 1)
        else [out]
    )
    name = getattr(func, "__name__", repr(func))
    if len(results) != len(kinds):
        raise InvalidArgumentError(
            f"PyFunc: {name} returned {len(results)} values, Tout asks for {len(kinds)}"
        )
    return tuple(
        _as_result(v, k, i, name) for i, (v, k) in enumerate(zip(results, kinds, strict=True))
    )


_PY = {"func": REQUIRED, "Tout": REQUIRED}
py_func = Op(
    "PyFunc", ("*input",), _py_dtypes, _py_shape, _call, None, host=True, effect="io",
    results=lambda *, Tout, **_: len(Tout), attrs=_PY, operand_dtypes={"input": None},
    doc="Calls a Python function with arrays at every run.",
)  # fmt: skip
py_func_stateless = Op(
    "PyFuncStateless", ("*input",), _py_dtypes, _py_shape, _call, None, host=True,
    results=lambda *, Tout, **_: len(Tout), attrs=_PY, operand_dtypes={"input": None},
    samples=lambda: (
        Sample(([floats(), floats()],), {"func": np.add, "Tout": (dtypes.float32,)}, grad=False),
        Sample(([floats()],), {"func": np.modf, "Tout": (dtypes.float32, dtypes.float32)},
               grad=False),
    ),
    doc="A Python function whose results depend on its arguments alone.",
)  # fmt: skip

no_op = Op(
    "NoOp", (), lambda: (), lambda ctx: (), lambda: (), None, host=True, effect="io", results=0,
    doc="Does nothing; carries control edges.",
)  # fmt: skip
