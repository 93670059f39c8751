"""Source text of the kernels that lay out a convolution's input, and add up overlapping windows.

The kernels know three axes; fewer have leading axes of one element.  Input and output have their
channels last.
"""

from __future__ import annotations

from functools import cache

from staticgraph.ir.dtypes import DType

FRAME_WORDS = (
    "target", "source", "first", "to_d", "to_h", "to_w", "in_d", "in_h", "in_w", "channels",
    "before_d", "before_h", "before_w",
)  # fmt: skip
BACK_WORDS = (
    "target", "source", "first", "lines", "image", "out_d", "out_h", "out_w", "kernel_d",
    "kernel_h", "kernel_w", "in_d", "in_h", "in_w", "channels", "stride_d", "stride_h", "stride_w",
    "dilation_d", "dilation_h", "dilation_w", "before_d", "before_h", "before_w",
)  # fmt: skip
"""``lines`` rows of output pixels, counted through the batch from ``first`` on; they are those of
the images from number ``image`` on.
"""

# The parallel axis is the lines of the target, from the first image on; each collects its own.
_BACK = """\
def kernel(args, lo, hi):
    target = {pointer}(args[0])
    source = {pointer}(args[1])
    first, lines, image = args[2], args[3], args[4]
    od, oh, ow = args[5], args[6], args[7]
    kd, kh, kw = args[8], args[9], args[10]
    d, h, w, c = args[11], args[12], args[13], args[14]
    sd, sh, sw = args[15], args[16], args[17]
    rd, rh, rw = args[18], args[19], args[20]
    pd, ph, pw = args[21], args[22], args[23]
    run = kw * c
    for u in range(lo, hi):
        y = u % h
        rest = u // h
        z = rest % d
        n = image + rest // d
        here = ((n * d + z) * h + y) * w
        for a in range(kd):
            z0 = z + pd - a * rd
            for b in range(kh):
                y0 = y + ph - b * rh
                if z0 >= 0 and z0 % sd == 0 and y0 >= 0 and y0 % sh == 0:
                    oz = z0 // sd
                    oy = y0 // sh
                    line = (n * od + oz) * oh + oy - first
                    if oz < od and oy < oh and line >= 0 and line < lines:
                        for o in range(ow):
                            at = (((line * ow + o) * kd + a) * kh + b) * run
                            x0 = o * sw - pw
                            for k in range(kw):
                                x = x0 + k * rw
                                if x >= 0 and x < w:
                                    for q in range(c):
                                        target[(here + x) * c + q] += source[at + k * c + q]
    return 0
"""

# The parallel axis is the lines of the target: all elements along its last axis.
_FRAME = """\
def kernel(args, lo, hi):
    target = {pointer}(args[0])
    source = {pointer}(args[1])
    first = args[2]
    td, th, tw = args[3], args[4], args[5]
    d, h, w, c = args[6], args[7], args[8], args[9]
    pd, ph, pw = args[10], args[11], args[12]
    begin = min(max(pw, 0), tw)
    end = max(min(w + pw, tw), begin)
    for u in range(lo, hi):
        y = u % th - ph
        rest = u // th
        z = rest % td - pd
        n = first + rest // td
        at = u * tw * c
        if z < 0 or z >= d or y < 0 or y >= h:
            for q in range(tw * c):
                target[at + q] = 0
        else:
            here = (((n * d + z) * h + y) * w - pw) * c
            for q in range(begin * c):
                target[at + q] = 0
            for q in range(begin * c, end * c):
                target[at + q] = source[here + q]
            for q in range(end * c, tw * c):
                target[at + q] = 0
    return 0
"""

_ZERO = """\
def kernel(args, lo, hi):
    target = {pointer}(args[0])
    for p in range(lo, hi):
        target[p] = 0
    return 0
"""


@cache
def frame(dtype: DType) -> str:
    """The kernel that copies images from number `first` on, with zeros around them.

    The words are those of `FRAME_WORDS`; places before an axis begins count as `before`.
    """
    return _FRAME.format(pointer=f"ptr_u{8 * dtype.size}")


@cache
def back(dtype: DType) -> str:
    """The kernel that adds the rows of a matrix to where their windows lie."""
    return _BACK.format(pointer=f"ptr_{dtype.short}")


@cache
def zero(dtype: DType) -> str:
    """The kernel that clears an array."""
    return _ZERO.format(pointer=f"ptr_u{8 * dtype.size}")
