"""Prints, run-time checks and Python functions."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

from staticgraph.api.framework import control_dependencies, group, name_scope
from staticgraph.errors import UsageError
from staticgraph.ir import dtypes, loc
from staticgraph.ir.build import convert, is_tensor_like
from staticgraph.ir.graph import Operation, Tensor, get_default_graph
from staticgraph.ir.op import lookup
from staticgraph.ops.effects import Times


# ---------------------------------------------------------------- prints
def Print(  # noqa: N802
    input_: Any, data: Sequence[Any], message: str | None = None, first_n: int | None = None,
    summarize: int | None = None, name: str | None = None,
) -> Tensor:  # fmt: skip
    """Returns `input_`; whenever that is computed, `data` is printed to standard error.

    Args:
      data: tensors to print.
      message: text before them.
      first_n: print only so many times.
      summarize: how many elements of each tensor; 3 by default.

    >>> import staticgraph as tf
    >>> x = tf.constant([1.0, 2.0])
    >>> tf.Print(x, [x], "x is ")
    <tf.Tensor 'Print:0' shape=(2,) dtype=float32>
    """
    items = [data] if is_tensor_like(data) else list(data)
    return lookup("Print")(  # type: ignore[no-any-return]
        convert(input_, name="input"), items, message=message or "",
        first_n=-1 if first_n is None else first_n, summarize=3 if summarize is None else summarize,
        times=Times(), name=name,
    )  # fmt: skip


def print(*inputs: Any, **kwargs: Any) -> Operation:  # noqa: A001
    """An operation that prints tensors, other values and nests of them.

    Args:
      *inputs: printed with `sep` between them.
      output_stream: sys.stderr (default), sys.stdout, or "file://path".
      summarize: how many elements at both ends of each axis; 3 by default, -1 for all.
      sep: a space by default.
      end: a line break by default.
      name: name of the operation.

    Raises:
      TypeError: an unknown keyword.
      ValueError: an unknown stream.
    """
    stream = kwargs.pop("output_stream", sys.stderr)
    summarize = kwargs.pop("summarize", 3)
    sep, end = kwargs.pop("sep", " "), kwargs.pop("end", "\n")
    name = kwargs.pop("name", None)
    if kwargs:
        raise UsageError(f"print has no argument {sorted(kwargs)[0]!r}", loc=loc.caller())
    tensors: list[Tensor] = []
    pieces = [_template(x, tensors, nested=False) for x in inputs]
    with name_scope(name, "PrintV2", tensors) as scope:
        return lookup("PrintV2")(  # type: ignore[no-any-return]
            tensors, template=tuple(sep.join(pieces).split(_HOLE)), output_stream=_stream(stream),
            summarize=-1 if summarize is None else summarize, end=end, name=scope,
        )  # fmt: skip


_HOLE = "\0"  # not in any text that people print


def _stream(stream: Any) -> str:
    if stream in (sys.stdout, "stdout"):
        return "stdout"
    if stream in (sys.stderr, "stderr"):
        return "stderr"
    text = str(stream)
    if text.startswith("file://"):
        return text
    names = {"log(info)", "log(warning)", "log(error)", "logging.info", "logging.warning"}
    if text in names:
        return "stderr"
    raise UsageError(f"print: cannot print to {stream!r}", loc=loc.caller(),
                     hint='use sys.stdout, sys.stderr or "file://path"')  # fmt: skip


def _template(x: Any, tensors: list[Tensor], nested: bool) -> str:
    """Text with a hole for each tensor, which is appended to `tensors`."""
    if is_tensor_like(x):
        tensors.append(convert(x))
        return _HOLE
    if isinstance(x, dict):
        keys = sorted(x)
        cells = [f"{_template(k, tensors, True)}: {_template(x[k], tensors, True)}" for k in keys]
        return "{" + ", ".join(cells) + "}"
    if isinstance(x, tuple):
        inner = ", ".join(_template(v, tensors, True) for v in x)
        return f"({inner},)" if len(x) == 1 else f"({inner})"
    if isinstance(x, list):
        return "[" + ", ".join(_template(v, tensors, True) for v in x) + "]"
    return repr(x) if nested and isinstance(x, str) else str(x)


# ---------------------------------------------------------------- checks
def Assert(  # noqa: N802
    condition: Any, data: Sequence[Any], summarize: int | None = None, name: str | None = None
) -> Operation:
    """An operation that fails the run, with `data` in the message, unless `condition` holds.

    Args:
      condition: a bool scalar.
      data: tensors and values for the message.
      summarize: how many elements of each; 3 by default.

    Raises:
      TypeError, ValueError: the condition is no bool scalar.

    >>> import staticgraph as tf
    >>> x = tf.constant(1.0)
    >>> tf.Assert(x > 0, [x]).type
    'Assert'
    """
    with name_scope(name, "Assert", [condition, *data]):
        items = [convert(d, name=f"data_{i}") for i, d in enumerate(data)]
        return lookup("Assert")(  # type: ignore[no-any-return]
            convert(condition, dtypes.bool_, "condition"), items,
            summarize=3 if summarize is None else summarize, name="Assert",
        )  # fmt: skip


def check_numerics(tensor: Any, message: str, name: str | None = None) -> Tensor:
    """Returns `tensor`; fails the run where it, or its gradient, holds a NaN or an infinity.

    Raises:
      TypeError: not a floating tensor.
    """
    return lookup("CheckNumerics")(tensor, message=message, name=name)  # type: ignore[no-any-return]


def verify_tensor_all_finite(
    t: Any = None, msg: str | None = None, name: str | None = None, x: Any = None,
    message: str | None = None,
) -> Tensor:  # fmt: skip
    """As `check_numerics`, by the name and argument order of TensorFlow 1."""
    value, text = x if t is None else t, message if msg is None else msg
    if value is None or text is None:
        raise UsageError("verify_tensor_all_finite: give a tensor and a message", loc=loc.caller())
    with name_scope(name, "VerifyFinite", [value]) as scope:
        return check_numerics(convert(value, name="t"), text, name=scope)


assert_all_finite = verify_tensor_all_finite


def add_check_numerics_ops() -> Operation:
    """Check every floating tensor of the graph; returns the operation that does all checks."""
    checks: list[Operation] = []
    graph = get_default_graph()
    for op in graph.get_operations():
        if op.type == "CheckNumerics":
            continue
        for t in op.outputs:
            if t.dtype.base.is_floating and not t.dtype.is_ref:
                with control_dependencies(checks):
                    checks.append(check_numerics(t, t.name).op)
    return group(*checks)


# ---------------------------------------------------------------- Python functions
def py_func(
    func: Callable[..., Any], inp: Sequence[Any], Tout: Any, stateful: bool = True,  # noqa: N803
    name: str | None = None,
) -> Any:  # fmt: skip
    """Tensors that a Python function computes from arrays, at every run.

    Args:
      func: takes a numpy array per tensor of `inp`, returns arrays of the dtypes in `Tout`.
      inp: tensors.
      Tout: a dtype or a list of dtypes.
      stateful: False says that equal arguments give equal results.

    Returns:
      A tensor, a list of tensors as `Tout` says, or the operation where `Tout` is empty.  Their
      rank is unknown: say it with `set_shape`.  Gradients stop here.

    >>> import numpy as np
    >>> import staticgraph as tf
    >>> tf.py_func(np.sinh, [tf.constant([1.0])], tf.float32)
    <tf.Tensor 'PyFunc:0' shape=<unknown> dtype=float32>
    """
    if not callable(func):
        raise UsageError(f"py_func: {func!r} cannot be called", loc=loc.caller())
    many = isinstance(Tout, (list, tuple))
    kinds = tuple(dtypes.as_dtype(t) for t in (Tout if many else [Tout]))
    op = lookup("PyFunc" if stateful else "PyFuncStateless")
    out = op(
        [convert(x, name=f"input_{i}") for i, x in enumerate(inp)], func=func, Tout=kinds, name=name
    )
    return out if many or isinstance(out, Operation) else out[0]


def numpy_function(
    func: Callable[..., Any], inp: Sequence[Any], Tout: Any, name: str | None = None
) -> Any:  # noqa: N803
    """As `py_func`, for functions that may have state."""
    return py_func(func, inp, Tout, stateful=True, name=name)


__all__ = [
    "Assert", "Print", "add_check_numerics_ops", "assert_all_finite", "check_numerics",
    "numpy_function", "print", "py_func", "verify_tensor_all_finite",
]  # fmt: skip
