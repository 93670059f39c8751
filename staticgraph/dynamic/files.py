"""Tensors in files: an archive of arrays and a description in JSON; nothing in it is executed."""

from __future__ import annotations

import json
import os
import zipfile
from collections import OrderedDict
from typing import Any

import numpy as np

from staticgraph.dynamic.apply import Taped, wrap
from staticgraph.dynamic.element_types import NUMPY
from staticgraph.errors import DataLossError, UsageError
from staticgraph.ir import dtypes, loc

_DESCRIPTION = "description.json"


def save(obj: Any, f: Any) -> None:
    """Write tensors, numbers, strings, and lists, tuples and dictionaries of them.

    Args:
      f: a file name or a binary file.

    Raises:
      UsageError: something in `obj` is of another kind.
    """
    arrays: dict[str, np.ndarray] = {}
    description = json.dumps(_described(obj, arrays)).encode()
    arrays[_DESCRIPTION] = np.frombuffer(description, np.uint8)
    if isinstance(f, (str, os.PathLike)):
        with open(f, "wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
    else:
        np.savez(f, allow_pickle=False, **arrays)


def _described(obj: Any, arrays: dict[str, np.ndarray]) -> Any:
    if obj is None or isinstance(obj, (bool, int, float, str)):
        return {"value": obj}
    if isinstance(obj, Taped):
        key = f"t{len(arrays)}"
        a = obj._array
        kind = NUMPY[a.dtype].name
        arrays[key] = a.view(np.uint16) if kind == "bfloat16" else a
        asks = obj._requires and obj._node is None
        return {"tensor": key, "dtype": kind, "requires_grad": asks}
    if isinstance(obj, np.ndarray) and obj.dtype != object:
        key = f"t{len(arrays)}"
        arrays[key] = obj
        return {"array": key}
    if isinstance(obj, (list, tuple)):
        kind = "list" if isinstance(obj, list) else "tuple"
        return {kind: [_described(v, arrays) for v in obj]}
    if isinstance(obj, dict):
        kind = "ordered" if isinstance(obj, OrderedDict) else "dict"
        return {kind: [[_described(k, arrays), _described(v, arrays)] for k, v in obj.items()]}
    raise UsageError(
        f"a {type(obj).__name__} cannot be saved", loc=loc.caller(),
        hint="save model.state_dict(), and tensors, numbers, strings, lists and dictionaries",
    )  # fmt: skip


def load(f: Any, map_location: Any = None, weights_only: bool = True) -> Any:
    """Read what `save` has written.

    Raises:
      DataLossError: the file is damaged or of another kind.
    """
    del map_location, weights_only
    try:
        with np.load(f, allow_pickle=False) as archive:
            arrays = {k: archive[k] for k in archive.files}
        description = json.loads(arrays.pop(_DESCRIPTION).tobytes())
        return _restored(description, arrays)
    except FileNotFoundError:
        raise
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as e:
        raise DataLossError(f"{f!r} is not a file of tensors: {e}", loc=loc.caller()) from None


def _restored(d: Any, arrays: dict[str, np.ndarray]) -> Any:
    if "value" in d:
        return d["value"]
    if "tensor" in d:
        a = np.array(arrays[d["tensor"]])
        t = wrap(a.view(dtypes.as_dtype(d["dtype"]).np))
        return t.requires_grad_() if d["requires_grad"] else t
    if "array" in d:
        return arrays[d["array"]]
    ((kind, items),) = d.items()
    if kind in ("list", "tuple"):
        out = [_restored(v, arrays) for v in items]
        return out if kind == "list" else tuple(out)
    pairs = [(_restored(k, arrays), _restored(v, arrays)) for k, v in items]
    return OrderedDict(pairs) if kind == "ordered" else dict(pairs)
