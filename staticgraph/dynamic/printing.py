"""How tensors print: PyTorch's layout, four digits, long ones with their middle left out."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from staticgraph.dynamic.element_types import FLOATS, NUMPY, default_float
from staticgraph.errors import UsageError
from staticgraph.ir import loc

_DEFAULTS = {"precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 80, "sci_mode": None}
_OPTIONS: dict[str, Any] = dict(_DEFAULTS)


def set_printoptions(
    precision: int | None = None, threshold: float | None = None, edgeitems: int | None = None,
    linewidth: int | None = None, profile: str | None = None, sci_mode: bool | None = None,
) -> None:  # fmt: skip
    """Set how many digits and elements tensors print."""
    if profile is not None:
        if profile not in ("default", "short", "full"):
            raise UsageError(f"there is no print profile {profile!r}", loc=loc.caller())
        _OPTIONS.update(_DEFAULTS)
        _OPTIONS["precision"] = 2 if profile == "short" else 4
        _OPTIONS["threshold"] = math.inf if profile == "full" else 1000
    given = {
        "precision": precision, "threshold": threshold, "edgeitems": edgeitems,
        "linewidth": linewidth, "sci_mode": sci_mode,
    }  # fmt: skip
    _OPTIONS.update({k: v for k, v in given.items() if v is not None})


def _float_format(values: np.ndarray) -> Callable[[Any], str]:
    digits = _OPTIONS["precision"]
    finite = np.abs(values[np.isfinite(values) & (values != 0)]).astype(np.float64)
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    whole = bool(np.all(np.ceil(finite) == finite))
    scientific = finite.size > 0 and (high / low > 1000 or high > 1e8 or low < 1e-4)
    if _OPTIONS["sci_mode"] is not None:
        scientific = _OPTIONS["sci_mode"]

    def one(v: Any) -> str:
        v = float(v)
        if scientific:
            return f"{v:.{digits}e}"
        if whole:
            return f"{v:.0f}." if math.isfinite(v) else f"{v:.0f}"
        return f"{v:.{digits}f}"

    return one


def _complex_format(values: np.ndarray) -> Callable[[Any], str]:
    real, imaginary = _float_format(values.real), _float_format(values.imag)

    def one(v: Any) -> str:
        sign = "" if math.copysign(1, v.imag) < 0 else "+"
        return f"{real(v.real)}{sign}{imaginary(v.imag)}j"

    return one


def _format(values: np.ndarray) -> Callable[[Any], str]:
    if values.dtype in FLOATS:
        return _float_format(values)
    if values.dtype.kind == "c":
        return _complex_format(values)
    return str


def _edges(a: np.ndarray) -> np.ndarray:
    """What is shown of an array whose middle is left out."""
    k = _OPTIONS["edgeitems"]
    for axis, n in enumerate(a.shape):
        if n > 2 * k:
            a = np.take(a, [*range(k), *range(n - k, n)], axis=axis)
    return a


def _body(a: np.ndarray, indent: int, short: bool, one: Callable[[Any], str], width: int) -> str:
    if a.ndim == 0:
        return one(a[()]).rjust(width)
    k = _OPTIONS["edgeitems"]
    cut = short and len(a) > 2 * k
    if a.ndim == 1:
        cells = [one(v).rjust(width) for v in (a[:k] if cut else a)]
        if cut:
            cells += [" ..."] + [one(v).rjust(width) for v in a[-k:]]
        per_line = max(1, (_OPTIONS["linewidth"] - indent) // (width + 2))
        lines = [", ".join(cells[i : i + per_line]) for i in range(0, len(cells), per_line)]
        return "[" + (",\n" + " " * (indent + 1)).join(lines) + "]"
    rows = [_body(r, indent + 1, short, one, width) for r in (a[:k] if cut else a)]
    if cut:
        rows += ["..."] + [_body(r, indent + 1, short, one, width) for r in a[-k:]]
    return "[" + ("," + "\n" * (a.ndim - 1) + " " * (indent + 1)).join(rows) + "]"


def text_of(array: np.ndarray, prefix: str, notes: list[str]) -> str:
    """The text of a tensor.

    Args:
      prefix: what stands before the elements: ``tensor(``.
      notes: what stands behind them: ``requires_grad=True``.
    """
    kind = array.dtype
    usual = kind == default_float() or kind in (np.dtype(np.int64), np.dtype(np.bool_))
    notes = list(notes)
    if not usual or (array.size == 0 and kind != default_float()):
        notes.insert(0, f"dtype=torch.{NUMPY[kind].name}")
    if array.size == 0:
        if array.ndim != 1:
            notes.insert(0, f"size={tuple(array.shape)}")
        body = "[]"
    else:
        short = array.size > _OPTIONS["threshold"]
        shown = _edges(array) if short else array
        one = _format(shown.ravel())
        flat = shown.ravel()
        if kind in FLOATS:  # what is not finite does not count, as in PyTorch
            flat = flat[np.isfinite(flat) & (flat != 0)]
        width = max((len(one(v)) for v in flat), default=1)
        body = _body(array, len(prefix), short, one, width)
    out, line = (
        prefix + body,
        len(body.rsplit("\n", 1)[-1]) + (len(prefix) if "\n" not in body else 0) + 2,
    )
    for note in notes:
        if line + len(note) + 2 > _OPTIONS["linewidth"]:
            out, line = out + ",\n" + " " * len(prefix) + note, len(prefix) + len(note)
        else:
            out, line = f"{out}, {note}", line + len(note) + 2
    return out + ")"
