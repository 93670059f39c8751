"""Source text of the kernels that copy a convolution's windows to a matrix, and back.

A *line* is one row of output pixels: all windows over the last axis at one place of the others.
The kernels know three axes; fewer have leading axes of one element.  Input and output have their
channels last.  Windows become rows of a matrix, or its columns where rows would be short.

Lines are numbered through the batch.  The parallel axis of the copies is the lines of one block.
"""

from __future__ import annotations

from functools import cache

from staticgraph.ir.dtypes import DType

WORDS = (
    "target", "source", "first line", "lines", "out_d", "out_h", "out_w", "kernel_d", "kernel_h",
    "kernel_w", "in_d", "in_h", "in_w", "channels", "stride_d", "stride_h", "stride_w",
    "dilation_d", "dilation_h", "dilation_w", "before_d", "before_h", "before_w",
)  # fmt: skip

_HEAD = """\
def kernel(args, lo, hi):
    target = {pointer}(args[0])
    source = {pointer}(args[1])
    first, lines = args[2], args[3]
    od, oh, ow = args[4], args[5], args[6]
    kd, kh, kw = args[7], args[8], args[9]
    d, h, w, c = args[10], args[11], args[12], args[13]
    sd, sh, sw = args[14], args[15], args[16]
    rd, rh, rw = args[17], args[18], args[19]
    pd, ph, pw = args[20], args[21], args[22]
    run = kw * c
"""

_ROWS = """\
    for u in range(lo, hi):
        line = first + u
        y0 = (line % oh) * sh - ph
        rest = line // oh
        z0 = (rest % od) * sd - pd
        n = rest // od
        at = u * ow * kd * kh * run
        for o in range(ow):
            x0 = o * sw - pw
            for a in range(kd):
                z = z0 + a * rd
                for b in range(kh):
                    y = y0 + b * rh
                    if z < 0 or z >= d or y < 0 or y >= h:
                        for q in range(run):
                            target[at + q] = 0
                    elif rw == 1:
                        here = (((n * d + z) * h + y) * w + x0) * c
                        begin = min(max(-x0, 0), kw) * c
                        end = max(min(w - x0, kw), 0) * c
                        for q in range(begin):
                            target[at + q] = 0
                        for q in range(begin, end):
                            target[at + q] = source[here + q]
                        for q in range(max(begin, end), run):
                            target[at + q] = 0
                    else:
                        here = ((n * d + z) * h + y) * w
                        for k in range(kw):
                            x = x0 + k * rw
                            if x < 0 or x >= w:
                                for q in range(c):
                                    target[at + k * c + q] = 0
                            else:
                                for q in range(c):
                                    target[at + k * c + q] = source[(here + x) * c + q]
                    at += run
    return 0
"""

_COLUMNS = """\
    width = lines * ow
    for u in range(lo, hi):
        line = first + u
        y0 = (line % oh) * sh - ph
        rest = line // oh
        z0 = (rest % od) * sd - pd
        n = rest // od
        at = u * ow
        for a in range(kd):
            z = z0 + a * rd
            for b in range(kh):
                y = y0 + b * rh
                here = ((n * d + z) * h + y) * w
                outside = z < 0 or z >= d or y < 0 or y >= h
                for k in range(kw):
                    shift = k * rw - pw
                    begin = min(max((-shift + sw - 1) // sw, 0), ow)
                    end = min(max((w - shift + sw - 1) // sw, begin), ow)
                    if outside:
                        begin, end = ow, ow
                    for q in range(c):
                        for o in range(begin):
                            target[at + o] = 0
                        if c == 1 and sw == 1:
                            for o in range(begin, end):
                                target[at + o] = source[here + shift + o]
                        else:
                            for o in range(begin, end):
                                target[at + o] = source[(here + shift + o * sw) * c + q]
                        for o in range(end, ow):
                            target[at + o] = 0
                        at += width
    return 0
"""

# One step of the parallel axis is one block: neighbouring lines add to the same elements.
_BACK = """\
    for u in range(lines if lo < hi else 0):
        line = first + u
        y0 = (line % oh) * sh - ph
        rest = line // oh
        z0 = (rest % od) * sd - pd
        n = rest // od
        at = u * ow * kd * kh * run
        for o in range(ow):
            x0 = o * sw - pw
            for a in range(kd):
                z = z0 + a * rd
                for b in range(kh):
                    y = y0 + b * rh
                    if z >= 0 and z < d and y >= 0 and y < h:
                        here = ((n * d + z) * h + y) * w
                        for k in range(kw):
                            x = x0 + k * rw
                            if x >= 0 and x < w:
                                for q in range(c):
                                    target[(here + x) * c + q] += source[at + k * c + q]
                    at += run
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
def rows(dtype: DType) -> str:
    """The kernel that copies windows to the rows of a matrix."""
    return _HEAD.format(pointer=f"ptr_u{8 * dtype.size}") + _ROWS


@cache
def columns(dtype: DType) -> str:
    """The kernel that copies windows to the columns of a matrix."""
    return _HEAD.format(pointer=f"ptr_u{8 * dtype.size}") + _COLUMNS


@cache
def back(dtype: DType) -> str:
    """The kernel that adds the rows of a matrix to where their windows lie."""
    return _HEAD.format(pointer=f"ptr_{dtype.short}") + _BACK


@cache
def zero(dtype: DType) -> str:
    """The kernel that clears an array."""
    return _ZERO.format(pointer=f"ptr_u{8 * dtype.size}")
