"""Initializers: functions of shape and dtype that build a variable's first value."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from staticgraph.api import array, random
from staticgraph.api.shapes import reshape, transpose
from staticgraph.errors import DtypeError, ShapeError, UsageError
from staticgraph.ir import dtypes, loc
from staticgraph.ir.build import constant as build_constant
from staticgraph.ir.dtypes import DType
from staticgraph.ir.op import lookup
from staticgraph.ir.tensor_shape import TensorShape


class Initializer:
    """The base of initializers.

    An initializer is called with a shape, a dtype (its own by default) and the partition, which
    is accepted and ignored, since variables are never split.
    """

    def __init__(self, dtype: Any = dtypes.float32) -> None:
        self.dtype: DType = dtypes.as_dtype(dtype).base

    def __call__(self, shape: Any, dtype: Any = None, partition_info: Any = None) -> Any:
        """Build the value."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal initializer."""
        config = {k: v for k, v in vars(self).items() if not k.startswith("_")}
        return {**config, "dtype": self.dtype.name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Initializer:
        """An initializer from what `get_config` gave."""
        return cls(**config)

    def _dtype(self, dtype: Any) -> DType:
        return self.dtype if dtype is None else dtypes.as_dtype(dtype).base


def _floating(dtype: Any, what: str) -> DType:
    out = dtypes.as_dtype(dtype).base
    if not out.is_floating:
        raise DtypeError(f"{what} needs a floating dtype, got {out.name}", loc=loc.caller())
    return out


class Zeros(Initializer):
    """Zeros (False for bool)."""

    def __call__(self, shape: Any, dtype: Any = None, partition_info: Any = None) -> Any:
        """Build the value."""
        return array.zeros(shape, self._dtype(dtype))


class Ones(Initializer):
    """Ones."""

    def __call__(self, shape: Any, dtype: Any = None, partition_info: Any = None) -> Any:
        """Build the value."""
        return array.ones(shape, self._dtype(dtype))


class Constant(Initializer):
    """A value, or the values of a list or array in C order; the last one is repeated.

    Args:
      value: a number, a list, or an array.
      verify_shape: refuse a value whose own shape is not the variable's.
    """

    def __init__(
        self, value: Any = 0, dtype: Any = dtypes.float32, verify_shape: bool = False
    ) -> None:
        if not (np.isscalar(value) or isinstance(value, (list, tuple, np.ndarray))):
            raise UsageError(
                f"constant_initializer takes a number, a list or an array, got {value!r}",
                loc=loc.caller(),
            )
        super().__init__(dtype)
        self.value = value
        self._verify_shape = verify_shape

    def __call__(
        self,
        shape: Any,
        dtype: Any = None,
        partition_info: Any = None,
        verify_shape: bool | None = None,
    ) -> Any:
        """Build the value."""
        verify = self._verify_shape if verify_shape is None else verify_shape
        if verify and TensorShape(np.shape(self.value)) != TensorShape(shape):
            raise ShapeError(
                f"constant_initializer: the value has shape {TensorShape(np.shape(self.value))}, "
                f"the variable {TensorShape(shape)}",
                loc=loc.caller(),
            )
        return build_constant(self.value, self._dtype(dtype), shape)


class RandomUniform(Initializer):
    """Evenly random numbers in [minval, maxval)."""

    def __init__(
        self,
        minval: Any = 0,
        maxval: Any = None,
        seed: int | None = None,
        dtype: Any = dtypes.float32,
    ) -> None:
        super().__init__(dtype)
        self.minval, self.maxval, self.seed = minval, maxval, seed

    def __call__(self, shape: Any, dtype: Any = None, partition_info: Any = None) -> Any:
        """Build the value."""
        return random.random_uniform(
            shape, self.minval, self.maxval, self._dtype(dtype), seed=self.seed
        )


class RandomNormal(Initializer):
    """Normally distributed numbers."""

    def __init__(
        self,
        mean: float = 0.0,
        stddev: float = 1.0,
        seed: int | None = None,
        dtype: Any = dtypes.float32,
    ) -> None:
        super().__init__(_floating(dtype, "random_normal_initializer"))
        self.mean, self.stddev, self.seed = mean, stddev, seed

    def __call__(self, shape: Any, dtype: Any = None, partition_info: Any = None) -> Any:
        """Build the value."""
        return random.random_normal(
            shape, self.mean, self.stddev, self._dtype(dtype), seed=self.seed
        )


class TruncatedNormal(Initializer):
    """Normally distributed numbers, drawn again where they are beyond two standard deviations."""

    def __init__(
        self,
        mean: float = 0.0,
        stddev: float = 1.0,
        seed: int | None = None,
        dtype: Any = dtypes.float32,
    ) -> None:
        super().__init__(_floating(dtype, "truncated_normal_initializer"))
        self.mean, self.stddev, self.seed = mean, stddev, seed

    def __call__(self, shape: Any, dtype: Any = None, partition_info: Any = None) -> Any:
        """Build the value."""
        return random.truncated_normal(
            shape, self.mean, self.stddev, self._dtype(dtype), seed=self.seed
        )


class UniformUnitScaling(Initializer):
    """Evenly random numbers that keep the scale of activations: ``sqrt(3 / n) * factor``.

    ``n`` is the product of all sizes but the last.
    """

    def __init__(
        self, factor: float = 1.0, seed: int | None = None, dtype: Any = dtypes.float32
    ) -> None:
        super().__init__(_floating(dtype, "uniform_unit_scaling_initializer"))
        self.factor, self.seed = factor, seed

    def __call__(self, shape: Any, dtype: Any = None, partition_info: Any = None) -> Any:
        """Build the value."""
        sizes = _sizes(shape)
        n = max(float(np.prod(sizes[:-1], dtype=float)), 1.0)
        limit = math.sqrt(3 / n) * self.factor
        return random.random_uniform(shape, -limit, limit, self._dtype(dtype), seed=self.seed)


class VarianceScaling(Initializer):
    """Random numbers whose variance is ``scale / n``.

    Args:
      scale: positive.
      mode: "fan_in", "fan_out" or "fan_avg": what n counts.
      distribution: "truncated_normal" (also "normal"), "untruncated_normal" or "uniform".
    """

    def __init__(
        self, scale: float = 1.0, mode: str = "fan_in", distribution: str = "truncated_normal",
        seed: int | None = None, dtype: Any = dtypes.float32,
    ) -> None:  # fmt: skip
        if scale <= 0:
            raise ShapeError(f"scale must be positive, got {scale}", loc=loc.caller())
        if mode not in ("fan_in", "fan_out", "fan_avg"):
            raise ShapeError(
                f"mode must be fan_in, fan_out or fan_avg, got {mode!r}", loc=loc.caller()
            )
        distribution = distribution.lower()
        if distribution not in ("normal", "uniform", "truncated_normal", "untruncated_normal"):
            raise ShapeError(f"{distribution!r} is not a distribution known here", loc=loc.caller())
        super().__init__(_floating(dtype, "variance_scaling_initializer"))
        self.scale, self.mode, self.distribution, self.seed = scale, mode, distribution, seed

    def __call__(self, shape: Any, dtype: Any = None, partition_info: Any = None) -> Any:
        """Build the value."""
        kind = self._dtype(dtype)
        fan_in, fan_out = fans(_sizes(shape))
        n = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        variance = self.scale / max(1.0, n)
        if self.distribution in ("normal", "truncated_normal"):
            # the standard deviation of a normal distribution cut off at two of its own
            stddev = math.sqrt(variance) / 0.87962566103423978
            return random.truncated_normal(shape, 0.0, stddev, kind, seed=self.seed)
        if self.distribution == "untruncated_normal":
            return random.random_normal(shape, 0.0, math.sqrt(variance), kind, seed=self.seed)
        limit = math.sqrt(3.0 * variance)
        return random.random_uniform(shape, -limit, limit, kind, seed=self.seed)


class _Scaled(VarianceScaling):
    """`VarianceScaling` with everything fixed but seed and dtype."""

    _arguments: tuple[float, str, str]

    def __init__(self, seed: int | None = None, dtype: Any = dtypes.float32) -> None:
        super().__init__(*self._arguments, seed=seed, dtype=dtype)

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal initializer."""
        return {"seed": self.seed, "dtype": self.dtype.name}


class GlorotUniform(_Scaled):
    """Glorot's (Xavier's) uniform: variance ``2 / (fan_in + fan_out)``."""

    _arguments = (1.0, "fan_avg", "uniform")


class GlorotNormal(_Scaled):
    """Glorot's (Xavier's) normal: variance ``2 / (fan_in + fan_out)``."""

    _arguments = (1.0, "fan_avg", "truncated_normal")


class HeNormal(_Scaled):
    """He's normal: variance ``2 / fan_in``."""

    _arguments = (2.0, "fan_in", "truncated_normal")


class HeUniform(_Scaled):
    """He's uniform: variance ``2 / fan_in``."""

    _arguments = (2.0, "fan_in", "uniform")


class LecunNormal(_Scaled):
    """LeCun's normal: variance ``1 / fan_in``."""

    _arguments = (1.0, "fan_in", "truncated_normal")


class LecunUniform(_Scaled):
    """LeCun's uniform: variance ``1 / fan_in``."""

    _arguments = (1.0, "fan_in", "uniform")


class Orthogonal(Initializer):
    """A random matrix with orthonormal rows or columns, times `gain`.

    A shape of more than two axes is a matrix whose rows are all axes but the last.
    """

    def __init__(
        self, gain: float = 1.0, seed: int | None = None, dtype: Any = dtypes.float32
    ) -> None:
        super().__init__(_floating(dtype, "orthogonal_initializer"))
        self.gain, self.seed = gain, seed

    def __call__(self, shape: Any, dtype: Any = None, partition_info: Any = None) -> Any:
        """Build the value."""
        sizes = _sizes(shape)
        if len(sizes) < 2:
            raise ShapeError(
                f"orthogonal_initializer needs at least two axes, got shape {tuple(sizes)}",
                loc=loc.caller(),
            )
        rows, columns = int(np.prod(sizes[:-1])), sizes[-1]
        flat = (max(columns, rows), min(columns, rows))
        a = random.random_normal(flat, dtype=self._dtype(dtype), seed=self.seed)
        q = _orthonormal(a, flat[1])
        if rows < columns:
            q = transpose(q)
        return self.gain * reshape(q, sizes)


def _orthonormal(a: Any, columns: int) -> Any:
    """The factor Q of A = QR with R's diagonal made positive."""
    q, r = lookup("Qr")(a, full_matrices=False)
    signs = lookup("Sign")(lookup("MatrixDiagPart")(r))
    return q * reshape(signs, (1, columns))


class Identity(Initializer):
    """The identity matrix times `gain`; the shape must have two axes."""

    def __init__(self, gain: float = 1.0, dtype: Any = dtypes.float32) -> None:
        super().__init__(_floating(dtype, "identity_initializer"))
        self.gain = gain

    def __call__(self, shape: Any, dtype: Any = None, partition_info: Any = None) -> Any:
        """Build the value."""
        sizes = _sizes(shape)
        if len(sizes) != 2:
            raise ShapeError(
                f"identity_initializer needs two axes, got shape {tuple(sizes)}", loc=loc.caller()
            )
        eye = np.eye(sizes[0], sizes[1]) * self.gain
        return build_constant(eye, self._dtype(dtype), name="eye")


def fans(shape: Sequence[int]) -> tuple[float, float]:
    """How many inputs and outputs a weight of `shape` connects, a convolution's window included."""
    if not shape:
        return 1.0, 1.0
    if len(shape) == 1:
        return float(shape[0]), float(shape[0])
    window = float(np.prod(shape[:-2], dtype=float))
    return shape[-2] * window, shape[-1] * window


def _sizes(shape: Any) -> list[int]:
    sizes = TensorShape(shape)
    if not sizes.is_fully_defined():
        raise ShapeError(f"this initializer needs a known shape, got {sizes}", loc=loc.caller())
    return [int(d) for d in sizes]


zeros_initializer = Zeros
ones_initializer = Ones
constant_initializer = Constant
random_uniform_initializer = RandomUniform
random_normal_initializer = RandomNormal
truncated_normal_initializer = TruncatedNormal
uniform_unit_scaling_initializer = UniformUnitScaling
variance_scaling_initializer = VarianceScaling
glorot_uniform_initializer = GlorotUniform
glorot_normal_initializer = GlorotNormal
orthogonal_initializer = Orthogonal
identity_initializer = Identity


def he_normal(seed: int | None = None) -> HeNormal:
    """`HeNormal`."""
    return HeNormal(seed)


def he_uniform(seed: int | None = None) -> HeUniform:
    """`HeUniform`."""
    return HeUniform(seed)


def lecun_normal(seed: int | None = None) -> LecunNormal:
    """`LecunNormal`."""
    return LecunNormal(seed)


def lecun_uniform(seed: int | None = None) -> LecunUniform:
    """`LecunUniform`."""
    return LecunUniform(seed)


__all__ = [
    "constant_initializer", "glorot_normal_initializer", "glorot_uniform_initializer",
    "identity_initializer", "ones_initializer", "orthogonal_initializer",
    "random_normal_initializer", "random_uniform_initializer", "truncated_normal_initializer",
    "uniform_unit_scaling_initializer", "variance_scaling_initializer", "zeros_initializer",
]  # fmt: skip
