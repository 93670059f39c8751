"""The methods of tensors that are functions of the package under the same name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from staticgraph.dynamic import elementwise, inplace, products, reductions, selection, shapes
from staticgraph.dynamic.apply import Taped
from staticgraph.dynamic.indexing import getitem, index_put, index_put_, setitem


def _of_itself(function: Callable[..., Any]) -> Callable[..., Any]:
    """Changes of a tensor's own shape: `unsqueeze_` and its like."""

    def method(self: Any, *args: Any) -> Any:
        new = function(self, *args)
        self._array, self._node, self._slot = new._array, new._node, new._slot
        self._requires = new._requires
        return self

    method.__doc__ = f"`{function.__name__}` of the tensor itself; returns it."
    return method


class Methods(Taped):
    """Functions of a tensor as its methods."""

    # ------------------------------------------------------------ elements
    neg = elementwise.neg
    negative = elementwise.negative
    abs = elementwise.abs
    absolute = elementwise.absolute
    sign = elementwise.sign
    exp = elementwise.exp
    expm1 = elementwise.expm1
    exp2 = elementwise.exp2
    log = elementwise.log
    log1p = elementwise.log1p
    log2 = elementwise.log2
    log10 = elementwise.log10
    sqrt = elementwise.sqrt
    rsqrt = elementwise.rsqrt
    square = elementwise.square
    reciprocal = elementwise.reciprocal
    sin = elementwise.sin
    cos = elementwise.cos
    tan = elementwise.tan
    asin = elementwise.asin
    acos = elementwise.acos
    atan = elementwise.atan
    arcsin = elementwise.arcsin
    arccos = elementwise.arccos
    arctan = elementwise.arctan
    sinh = elementwise.sinh
    cosh = elementwise.cosh
    tanh = elementwise.tanh
    asinh = elementwise.asinh
    acosh = elementwise.acosh
    atanh = elementwise.atanh
    sigmoid = elementwise.sigmoid
    relu = elementwise.relu
    erf = elementwise.erf
    erfc = elementwise.erfc
    erfinv = elementwise.erfinv
    lgamma = elementwise.lgamma
    digamma = elementwise.digamma
    floor = elementwise.floor
    ceil = elementwise.ceil
    round = elementwise.round
    trunc = elementwise.trunc
    isnan = elementwise.isnan
    nan_to_num = elementwise.nan_to_num
    isinf = elementwise.isinf
    isfinite = elementwise.isfinite
    logical_not = elementwise.logical_not
    bitwise_not = elementwise.bitwise_not
    bitwise_and = elementwise.bitwise_and
    bitwise_or = elementwise.bitwise_or
    bitwise_xor = elementwise.bitwise_xor
    add = elementwise.add
    sub = elementwise.sub
    mul = elementwise.mul
    div = elementwise.div
    floor_divide = elementwise.floor_divide
    remainder = elementwise.remainder
    fmod = elementwise.fmod
    pow = elementwise.pow
    maximum = elementwise.maximum
    minimum = elementwise.minimum
    atan2 = elementwise.atan2
    eq = elementwise.eq
    ne = elementwise.ne
    lt = elementwise.lt
    le = elementwise.le
    gt = elementwise.gt
    ge = elementwise.ge
    logical_and = elementwise.logical_and
    logical_or = elementwise.logical_or
    logical_xor = elementwise.logical_xor
    clamp = elementwise.clamp
    clip = elementwise.clip
    lerp = elementwise.lerp
    addcmul = elementwise.addcmul
    addcdiv = elementwise.addcdiv
    clone = elementwise.clone
    multiply, subtract, divide, true_divide = mul, sub, div, div
    # ------------------------------------------------------------ reductions
    sum = reductions.sum
    prod = reductions.prod
    mean = reductions.mean
    var = reductions.var
    std = reductions.std
    all = reductions.all
    any = reductions.any
    max = reductions.max
    min = reductions.min
    amax = reductions.amax
    amin = reductions.amin
    argmax = reductions.argmax
    argmin = reductions.argmin
    norm = reductions.norm
    logsumexp = reductions.logsumexp
    softmax = reductions.softmax
    log_softmax = reductions.log_softmax
    cumsum = reductions.cumsum
    cumprod = reductions.cumprod
    count_nonzero = reductions.count_nonzero
    # ------------------------------------------------------------ shapes
    reshape = shapes.reshape
    view = shapes.view
    view_as = shapes.view_as
    reshape_as = shapes.reshape_as
    flatten = shapes.flatten
    ravel = shapes.ravel
    unflatten = shapes.unflatten
    unsqueeze = shapes.unsqueeze
    squeeze = shapes.squeeze
    transpose = shapes.transpose
    swapaxes = shapes.swapaxes
    swapdims = shapes.swapdims
    t = shapes.t
    permute = shapes.permute
    movedim = shapes.movedim
    expand = shapes.expand
    broadcast_to = shapes.broadcast_to
    expand_as = shapes.expand_as
    repeat = shapes.repeat
    tile = shapes.tile
    flip = shapes.flip
    roll = shapes.roll
    contiguous = shapes.contiguous
    unbind = shapes.unbind
    split = shapes.split
    chunk = shapes.chunk
    # ------------------------------------------------------------ choice
    index_select = selection.index_select
    gather = selection.gather
    masked_select = selection.masked_select
    masked_fill = selection.masked_fill
    nonzero = selection.nonzero
    sort = selection.sort
    argsort = selection.argsort
    median = selection.median
    repeat_interleave = selection.repeat_interleave
    topk = selection.topk
    unique = selection.unique
    tril = selection.tril
    triu = selection.triu
    diagonal = selection.diagonal
    diag = selection.diag
    scatter = selection.scatter
    scatter_add = selection.scatter_add
    bincount = selection.bincount
    narrow = selection.narrow
    index_add = selection.index_add
    index_put = index_put
    # ------------------------------------------------------------ products
    mm = products.mm
    bmm = products.bmm
    mv = products.mv
    dot = products.dot
    inner = products.inner
    outer = products.outer
    ger = products.ger
    matmul = products.matmul
    addmm = products.addmm
    baddbmm = products.baddbmm
    trace = products.trace
    # ------------------------------------------------------------ changes in place
    add_ = inplace.add_
    sub_ = inplace.sub_
    mul_ = inplace.mul_
    div_ = inplace.div_
    pow_ = inplace.pow_
    clamp_ = inplace.clamp_
    floor_divide_ = inplace.floor_divide_
    remainder_ = inplace.remainder_
    lerp_ = inplace.lerp_
    addcmul_ = inplace.addcmul_
    addcdiv_ = inplace.addcdiv_
    exp_ = inplace.exp_
    log_ = inplace.log_
    sqrt_ = inplace.sqrt_
    rsqrt_ = inplace.rsqrt_
    abs_ = inplace.abs_
    neg_ = inplace.neg_
    relu_ = inplace.relu_
    sigmoid_ = inplace.sigmoid_
    tanh_ = inplace.tanh_
    sin_ = inplace.sin_
    cos_ = inplace.cos_
    square_ = inplace.square_
    reciprocal_ = inplace.reciprocal_
    floor_ = inplace.floor_
    ceil_ = inplace.ceil_
    round_ = inplace.round_
    trunc_ = inplace.trunc_
    sign_ = inplace.sign_
    copy_ = inplace.copy_
    fill_ = inplace.fill_
    zero_ = inplace.zero_
    masked_fill_ = inplace.masked_fill_
    uniform_ = inplace.uniform_
    normal_ = inplace.normal_
    bernoulli_ = inplace.bernoulli_
    index_add_ = inplace.index_add_
    index_put_ = index_put_
    scatter_ = inplace.scatter_
    scatter_add_ = inplace.scatter_add_
    clip_ = clamp_
    unsqueeze_, squeeze_ = _of_itself(shapes.unsqueeze), _of_itself(shapes.squeeze)
    t_, transpose_ = _of_itself(shapes.t), _of_itself(shapes.transpose)

    def where(self: Any, condition: Any, other: Any) -> Any:
        """This tensor's elements where `condition` holds, else those of `other`."""
        return elementwise.where(condition, self, other)

    # ------------------------------------------------------------ operators
    __add__, __radd__ = elementwise._add, elementwise._radd
    __sub__, __rsub__ = elementwise._sub, elementwise._rsub
    __mul__, __rmul__ = elementwise._mul, elementwise._rmul
    __truediv__, __rtruediv__ = elementwise.true_div, elementwise.reflected_div
    __floordiv__, __rfloordiv__ = elementwise._floordiv, elementwise._rfloordiv
    __mod__, __rmod__ = elementwise._mod, elementwise._rmod
    __pow__, __rpow__ = elementwise._pow, elementwise._rpow
    __matmul__ = products.matmul
    __eq__, __ne__ = elementwise._eq, elementwise._ne
    __lt__, __le__, __gt__, __ge__ = (
        elementwise._lt, elementwise._le, elementwise._gt, elementwise._ge,
    )  # fmt: skip
    __and__ = __rand__ = elementwise.bitwise_and
    __or__ = __ror__ = elementwise.bitwise_or
    __xor__ = __rxor__ = elementwise.bitwise_xor
    __lshift__, __rshift__ = elementwise._left, elementwise._right
    __neg__, __abs__, __invert__ = elementwise.neg, elementwise.abs, elementwise.bitwise_not
    __iadd__, __isub__, __imul__ = inplace.add_, inplace.sub_, inplace.mul_
    __itruediv__, __ipow__ = inplace.div_, inplace.pow_
    __ifloordiv__, __imod__ = inplace.floor_divide_, inplace.remainder_
    __getitem__, __setitem__ = getitem, setitem
    __hash__ = object.__hash__
