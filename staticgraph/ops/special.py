"""Error functions, the gamma family and the Hurwitz zeta function.

What has no scalar primitive runs on the host through scipy.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from staticgraph.ir.op import ErrorSample, Op, Sample, lookup
from staticgraph.ir.scalar import s
from staticgraph.ops.arithmetic import neg
from staticgraph.ops.rules import FLOATING, broadcast_shape, floats, in_float32, same, sum_to, unary


@cache
def _scipy() -> Any:
    # The only use of scipy, which takes longer to import than this package.
    import scipy.special  # type: ignore[import-untyped]

    return scipy.special


def _special(name: str) -> Callable[..., Any]:
    """scipy's function `name`, in the dtype of its last argument."""

    def rule(*xs: np.ndarray, **_: Any) -> Any:
        return np.asarray(getattr(_scipy(), name)(*xs)).astype(xs[-1].dtype)

    return in_float32(rule)


# ---------------------------------------------------------------- one operand
_SLOPE = 2 / math.sqrt(math.pi)
erf: Op = unary("Erf", _special("erf"), s.erf, lambda g, y, x: g * _gauss(x))
erfc: Op = unary("Erfc", _special("erfc"), s.erfc, lambda g, y, x: neg(g * _gauss(x)))
erfinv: Op = unary(
    "Erfinv",
    _special("erfinv"),
    s.erfinv,
    lambda g, y, x: g * (lookup("Exp")(y * y) * (1 / _SLOPE)),
    domain=(-0.8, 0.8),
)
lgamma: Op = unary(
    "Lgamma", _special("gammaln"), s.lgamma, lambda g, y, x: g * digamma(x), domain=(0.3, 4.0)
)
digamma: Op = unary(
    "Digamma",
    _special("psi"),
    s.digamma,
    lambda g, y, x: g * polygamma(lookup("OnesLike")(x), x),
    domain=(0.5, 4.0),
)


def _gauss(x: Any) -> Any:
    return lookup("Exp")(neg(x * x)) * _SLOPE


# ---------------------------------------------------------------- on the host
def on_host(
    name: str,
    operands: tuple[str, ...],
    numpy: Callable[..., Any],
    grad: Callable[..., Any] | None,
    samples: tuple[Sample, ...],
    doc: str = "",
) -> Op:
    """A record of broadcasting operands that runs its numpy rule.

    Args:
      grad: ``(g, y, *operands) -> cotangents`` before broadcasting is undone.
    """

    def cotangents(g: Any, y: Any, *xs: Any, **_: Any) -> tuple[Any, ...]:
        assert grad is not None
        return tuple(
            None if d is None else sum_to(d, x) for d, x in zip(grad(g, y, *xs), xs, strict=True)
        )

    n = len(operands)
    return Op(
        name,
        operands,
        same(FLOATING),
        broadcast_shape,
        numpy,
        None if grad is None else cotangents,
        host=True,
        cheap=False,
        samples=samples,
        doc=doc,
        error_samples=lambda: (
            ErrorSample((np.zeros(2, bool),) * n, {}, "does not take bool"),
            *(
                [
                    ErrorSample(
                        (np.zeros(2),) * (n - 1) + (np.zeros(3),), {}, "do not broadcast, 2 and 3"
                    )
                ]
                if n > 1
                else []
            ),
        ),
    )


def _pairs(a: tuple[float, float], x: tuple[float, float], n: int = 1) -> tuple[Sample, ...]:
    """Samples of `n` parameters in `a` and an argument in `x`.

    Their gradients are not checked as a whole because that of a parameter may be undefined.
    """
    return tuple(
        Sample((*(floats(*a, shape, i, dt) for i in range(n)), floats(*x, sx, 9, dt)), grad=(n,))
        for shape, sx, dt in (
            ((3, 4), (3, 4), "float64"),
            ((), (17,), "float32"),
            ((2, 1), (3,), "float32"),
            ((0, 2), (2,), "float32"),
            ((), (), "float64"),
        )
    )


ndtri: Op = on_host(
    "Ndtri",
    ("x",),
    _special("ndtri"),
    lambda g, y, x: (g * (lookup("Exp")(y * y * 0.5) * math.sqrt(2 * math.pi)),),
    tuple(
        Sample((floats(0.1, 0.9, shape, dtype=dt),))
        for shape, dt in (((3, 5), "float64"), ((17,), "float32"), ((0,), "float32"))
    ),
    "The quantile function of the normal distribution.",
)


def _np_polygamma(a: np.ndarray, x: np.ndarray, **_: Any) -> Any:
    n = np.asarray(a, dtype=np.float64)
    sp = _scipy()
    value = (-1.0) ** (n + 1) * sp.gamma(n + 1) * sp.zeta(n + 1, x)
    value = np.where(n == 0, sp.psi(x), value)
    return np.where((n >= 0) & (n == np.floor(n)), value, np.nan).astype(x.dtype)


polygamma: Op = on_host(
    "Polygamma",
    ("a", "x"),
    in_float32(_np_polygamma),
    lambda g, y, a, x: (None, g * polygamma(a + 1, x)),
    tuple(
        Sample((np.array(a, dt), floats(0.5, 3, shape, dtype=dt)), grad=a != 2.5 and (1,))
        for a, shape, dt in (
            (1, (3, 4), "float64"),
            ([0, 1, 2], (5, 3), "float32"),
            (2.5, (2,), "float32"),
            (3, (0,), "float32"),
        )
    ),
    "The a-th derivative of digamma; NaN unless a is a whole number >= 0.",
)
zeta: Op = on_host(
    "Zeta",
    ("x", "q"),
    _special("zeta"),
    lambda g, y, x, q: (None, neg(g * (x * zeta(x + 1, q)))),
    _pairs((1.5, 4), (0.5, 3)),
    "The Hurwitz zeta function.",
)


def _gamma_density(a: Any, x: Any) -> Any:
    return lookup("Exp")(lookup("Xlogy")(a - 1, x) - x - lgamma(a))


igamma: Op = on_host(
    "Igamma",
    ("a", "x"),
    _special("gammainc"),
    lambda g, y, a, x: (None, g * _gamma_density(a, x)),
    _pairs((0.5, 4), (0.3, 4)),
    "The lower regularised incomplete gamma function.",
)
igammac: Op = on_host(
    "Igammac",
    ("a", "x"),
    _special("gammaincc"),
    lambda g, y, a, x: (None, neg(g * _gamma_density(a, x))),
    _pairs((0.5, 4), (0.3, 4)),
    "The upper regularised incomplete gamma function.",
)


def _beta_density(a: Any, b: Any, x: Any) -> Any:
    log_beta = lgamma(a) + lgamma(b) - lgamma(a + b)
    log1p = lookup("Log1p")(neg(x))
    return lookup("Exp")((b - 1) * log1p + lookup("Xlogy")(a - 1, x) - log_beta)


betainc: Op = on_host(
    "Betainc",
    ("a", "b", "x"),
    _special("betainc"),
    lambda g, y, a, b, x: (None, None, g * _beta_density(a, b, x)),
    _pairs((0.5, 4), (0.1, 0.9), 2),
    "The regularised incomplete beta function.",
)
