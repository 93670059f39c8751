"""Define by run: tensors that compute at once and remember how, in PyTorch's idiom.

``import staticgraph.dynamic as torch`` and write as for PyTorch.  Every operation is one of the
records that the static compiler is built on: its numpy rule is the forward, its gradient rule the
backward.

>>> import staticgraph.dynamic as torch
>>> w = torch.tensor([1.0, 2.0], requires_grad=True)
>>> loss = (w * torch.tensor([3.0, 4.0])).sum()
>>> loss.backward()
>>> w.grad
tensor([3., 4.])
"""

from __future__ import annotations

import importlib
import math
from typing import TYPE_CHECKING, Any

from staticgraph import ops as _records
from staticgraph.dynamic import accelerator, autograd, cuda
from staticgraph.dynamic.apply import apply
from staticgraph.dynamic.comparing import (
    allclose,
    equal,
    is_tensor,
    isclose,
)
from staticgraph.dynamic.contraction import einsum, tensordot
from staticgraph.dynamic.creation import (
    arange,
    as_tensor,
    asarray,
    bernoulli,
    empty,
    empty_like,
    eye,
    from_numpy,
    full,
    full_like,
    linspace,
    logspace,
    multinomial,
    normal,
    ones,
    ones_like,
    poisson,
    rand,
    rand_like,
    randint,
    randn,
    randn_like,
    randperm,
    tensor,
    zeros,
    zeros_like,
)
from staticgraph.dynamic.device import Device as device
from staticgraph.dynamic.device import (
    get_default_device,
    set_default_device,
)
from staticgraph.dynamic.element_types import (
    finfo,
    get_default_dtype,
    iinfo,
    set_default_dtype,
)
from staticgraph.dynamic.elementwise import (
    abs,
    absolute,
    acos,
    acosh,
    add,
    addcdiv,
    addcmul,
    arccos,
    arcsin,
    arctan,
    asin,
    asinh,
    atan,
    atan2,
    atanh,
    bitwise_and,
    bitwise_not,
    bitwise_or,
    bitwise_xor,
    ceil,
    clamp,
    clip,
    clone,
    cos,
    cosh,
    digamma,
    div,
    eq,
    erf,
    erfc,
    erfinv,
    exp,
    exp2,
    expm1,
    floor,
    floor_divide,
    fmod,
    ge,
    gt,
    isfinite,
    isinf,
    isnan,
    le,
    lerp,
    lgamma,
    log,
    log1p,
    log2,
    log10,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    lt,
    maximum,
    minimum,
    mul,
    nan_to_num,
    ne,
    neg,
    negative,
    pow,
    reciprocal,
    relu,
    remainder,
    round,
    rsqrt,
    sigmoid,
    sign,
    sin,
    sinh,
    sqrt,
    square,
    sub,
    tan,
    tanh,
    trunc,
    where,
)
from staticgraph.dynamic.files import (
    load,
    save,
)
from staticgraph.dynamic.generator import (
    Generator,
    initial_seed,
    manual_seed,
    seed,
)
from staticgraph.dynamic.legacy import LEGACY_CLASSES
from staticgraph.dynamic.modes import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    no_grad,
    set_grad_enabled,
)
from staticgraph.dynamic.printing import (
    set_printoptions,
)
from staticgraph.dynamic.products import (
    addmm,
    baddbmm,
    bmm,
    dot,
    ger,
    inner,
    matmul,
    mm,
    mv,
    outer,
    trace,
    vdot,
)
from staticgraph.dynamic.reductions import (
    all,
    amax,
    amin,
    any,
    argmax,
    argmin,
    count_nonzero,
    cumprod,
    cumsum,
    log_softmax,
    logsumexp,
    max,
    mean,
    min,
    norm,
    numel,
    prod,
    softmax,
    std,
    sum,
    var,
)
from staticgraph.dynamic.selection import (
    argsort,
    bincount,
    diag,
    diagonal,
    gather,
    index_add,
    index_select,
    isin,
    masked_fill,
    masked_select,
    median,
    narrow,
    nonzero,
    repeat_interleave,
    scatter,
    scatter_add,
    sort,
    take_along_dim,
    topk,
    tril,
    triu,
    unique,
)
from staticgraph.dynamic.shapes import (
    Size,
    broadcast_tensors,
    broadcast_to,
    cat,
    chunk,
    concat,
    concatenate,
    flatten,
    flip,
    hstack,
    meshgrid,
    movedim,
    permute,
    ravel,
    reshape,
    roll,
    split,
    squeeze,
    stack,
    swapaxes,
    swapdims,
    t,
    tile,
    transpose,
    unbind,
    unflatten,
    unsqueeze,
    vstack,
)
from staticgraph.dynamic.tensor import Tensor
from staticgraph.ir import dtypes as _dtypes
from staticgraph.ir.dtypes import DType as dtype

if TYPE_CHECKING:
    from staticgraph.dynamic import nn, optim

float16 = half = _dtypes.float16
bfloat16 = _dtypes.bfloat16
float32 = float = _dtypes.float32
float64 = double = _dtypes.float64
int8, int16, int32, int64 = _dtypes.int8, _dtypes.int16, _dtypes.int32, _dtypes.int64
short, int, long = int16, int32, int64
uint8 = _dtypes.uint8
bool = _dtypes.bool_
complex64, complex128 = _dtypes.complex64, _dtypes.complex128
cfloat, cdouble = complex64, complex128
pi, e, inf, nan = math.pi, math.e, math.inf, math.nan
multiply, subtract, divide, true_divide = mul, sub, div, div
strided = "torch.strided"

FloatTensor, DoubleTensor = LEGACY_CLASSES["FloatTensor"], LEGACY_CLASSES["DoubleTensor"]
HalfTensor, BFloat16Tensor = LEGACY_CLASSES["HalfTensor"], LEGACY_CLASSES["BFloat16Tensor"]
ByteTensor, CharTensor = LEGACY_CLASSES["ByteTensor"], LEGACY_CLASSES["CharTensor"]
ShortTensor, IntTensor = LEGACY_CLASSES["ShortTensor"], LEGACY_CLASSES["IntTensor"]
LongTensor, BoolTensor = LEGACY_CLASSES["LongTensor"], LEGACY_CLASSES["BoolTensor"]


_ELSEWHERE = {  # what users of PyTorch look for here
    "utils": "Dataset, DataLoader and their like are in staticgraph.data",
    "compile": "compile a function with staticgraph.function",
    "jit": "record a function with staticgraph.trace",
    "func": "whole derivatives are in autograd.functional",
}


def is_floating_point(input: Tensor) -> Any:
    """True of tensors of floats."""
    return input.is_floating_point()


def __getattr__(name: str) -> Any:
    if name in ("nn", "optim"):  # imported where they are used
        return importlib.import_module(f"{__name__}.{name}")
    found = _ELSEWHERE.get(name)
    raise AttributeError(
        f"module {__name__!r} has no attribute {name!r}" + (f"; {found}" if found else "")
    )
