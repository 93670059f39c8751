"""Static graphs in the shape of TensorFlow 1: ``import staticgraph as tf``.

>>> import staticgraph as tf
>>> x = tf.placeholder(tf.float32, [2])
>>> with tf.Session() as sess:
...     sess.run(x * 2.0, {x: [1.0, 2.0]})
array([2., 4.], dtype=float32)
"""

import builtins as _builtins
import importlib as _importlib
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from staticgraph.ir.collector import without_collection as _without_collection

with _without_collection():  # nothing of what a package makes is garbage
    from staticgraph import errors, ops
    from staticgraph.api import activations as _activations
    from staticgraph.api import array as _array
    from staticgraph.api import assertions as _assertions
    from staticgraph.api import behavior as _behavior
    from staticgraph.api import casting as _casting
    from staticgraph.api import clip as _clip
    from staticgraph.api import collections as _collections
    from staticgraph.api import comparison as _comparison
    from staticgraph.api import contraction as _contraction
    from staticgraph.api import control_flow as _control_flow
    from staticgraph.api import custom_gradient as _custom_gradient
    from staticgraph.api import division as _division
    from staticgraph.api import effects as _effects
    from staticgraph.api import framework as _framework
    from staticgraph.api import functional as _functional
    from staticgraph.api import gather as _gather
    from staticgraph.api import gradients as _gradients
    from staticgraph.api import indexed_slices as _indexed_slices
    from staticgraph.api import initializers as _initializers
    from staticgraph.api import math as _math
    from staticgraph.api import math_functions as _math_functions
    from staticgraph.api import math_special as _math_special
    from staticgraph.api import reduction as _reduction
    from staticgraph.api import repeats as _repeats
    from staticgraph.api import shapes as _shapes
    from staticgraph.api import slicing as _slicing
    from staticgraph.api import sparse as _sparse
    from staticgraph.api import state as _state
    from staticgraph.api import static_values as _static_values
    from staticgraph.api import template as _template
    from staticgraph.api import variable_scope as _variable_scope
    from staticgraph.api import variables as _variables
    from staticgraph.api.array import *
    from staticgraph.api.assertions import *
    from staticgraph.api.behavior import *
    from staticgraph.api.casting import *
    from staticgraph.api.clip import *
    from staticgraph.api.collections import *
    from staticgraph.api.comparison import *
    from staticgraph.api.contraction import *
    from staticgraph.api.control_flow import *
    from staticgraph.api.custom_gradient import *
    from staticgraph.api.division import *
    from staticgraph.api.effects import *
    from staticgraph.api.framework import *
    from staticgraph.api.functional import *
    from staticgraph.api.gather import *
    from staticgraph.api.gradients import *
    from staticgraph.api.indexed_slices import *
    from staticgraph.api.initializers import *
    from staticgraph.api.linalg import (
        cholesky,
        cholesky_solve,
        cross,
        matmul,
        matrix_determinant,
        matrix_inverse,
        matrix_solve,
        matrix_solve_ls,
        matrix_transpose,
        matrix_triangular_solve,
        norm,
        qr,
        self_adjoint_eig,
        self_adjoint_eigvals,
        svd,
    )
    from staticgraph.api.math import *
    from staticgraph.api.math_functions import *
    from staticgraph.api.math_special import *
    from staticgraph.api.random import (
        get_seed,
        multinomial,
        random_crop,
        random_gamma,
        random_normal,
        random_poisson,
        random_shuffle,
        random_uniform,
        set_random_seed,
        truncated_normal,
    )
    from staticgraph.api.reduction import *
    from staticgraph.api.repeats import *
    from staticgraph.api.sequence import reverse_sequence
    from staticgraph.api.shapes import *
    from staticgraph.api.slicing import *
    from staticgraph.api.sorting import (
        argsort,
        bincount,
        confusion_matrix,
        histogram_fixed_width,
        searchsorted,
        sort,
    )
    from staticgraph.api.sparse import *
    from staticgraph.api.state import *
    from staticgraph.api.static_values import *
    from staticgraph.api.template import *
    from staticgraph.api.tensor_array import TensorArray
    from staticgraph.api.variable_scope import *
    from staticgraph.api.variables import *
    from staticgraph.bridge import function, trace
    from staticgraph.errors import OpError
    from staticgraph.ir.dtypes import (
        DType,
        as_dtype,
        bfloat16,
        complex64,
        complex128,
        float16,
        float32,
        float64,
        int8,
        int16,
        int32,
        int64,
        string,
        uint8,
        uint16,
        uint32,
        uint64,
    )
    from staticgraph.ir.dtypes import bool_ as bool
    from staticgraph.ir.tensor_shape import Dimension, TensorShape
    from staticgraph.runtime.compile import stages
    from staticgraph.runtime.config import (
        ConfigProto,
        GPUOptions,
        GraphOptions,
        OptimizerOptions,
        RunMetadata,
        RunOptions,
    )
    from staticgraph.runtime.session import InteractiveSession, Session

    from staticgraph import (  # isort: skip  (these read the names above)
        bitwise,
        dtypes,
        initializers,
        linalg,
        math,
        nest,
        random,
        sparse,
        version,
    )
    from staticgraph.version import COMPILER_VERSION, GIT_VERSION, VERSION

if _TYPE_CHECKING:
    from staticgraph import (
        app,
        compat,
        contrib,
        debugging,
        flags,
        gfile,
        logging,
        losses,
        manip,
        nn,
        python,
        test,
        train,
    )

half = float16
double = float64

__version__ = VERSION


_LATER = frozenset(
    "app compat contrib debugging flags gfile logging losses manip nn python test train".split()
)
"""Imported when first asked for: many programs do without, and what they need takes time."""


def __getattr__(name: str) -> _Any:
    if name in _LATER:
        return _importlib.import_module(f"staticgraph.{name}")
    raise AttributeError(f"module 'staticgraph' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})


__all__ = [
    *_array.__all__, *_assertions.__all__, *_behavior.__all__, *_casting.__all__, *_clip.__all__,
    *_collections.__all__, *_comparison.__all__, *_contraction.__all__, *_control_flow.__all__,
    *_custom_gradient.__all__, *_division.__all__, *_effects.__all__, *_framework.__all__,
    *_functional.__all__, *_gather.__all__, *_gradients.__all__, *_indexed_slices.__all__,
    *_initializers.__all__, *_math.__all__, *_math_functions.__all__, *_math_special.__all__,
    *_reduction.__all__, *_repeats.__all__, *_shapes.__all__, *_slicing.__all__, *_sparse.__all__,
    *_state.__all__, *_static_values.__all__, *_template.__all__, *_variable_scope.__all__,
    *_variables.__all__, "COMPILER_VERSION", "ConfigProto", "DType", "Dimension", "GIT_VERSION",
    "GPUOptions", "GraphOptions", "InteractiveSession", "OpError", "OptimizerOptions",
    "RunMetadata", "RunOptions", "Session", "TensorArray", "TensorShape", "VERSION", "__version__",
    "app", "argsort", "as_dtype", "bfloat16", "bincount", "bitwise", "bool", "cholesky",
    "cholesky_solve", "compat", "complex128", "complex64", "confusion_matrix", "contrib", "cross",
    "debugging", "double", "dtypes", "errors", "flags", "float16", "float32", "float64", "function",
    "get_seed", "gfile", "half", "histogram_fixed_width", "initializers", "int16", "int32", "int64",
    "int8", "linalg", "logging", "losses", "manip", "math", "matmul", "matrix_determinant",
    "matrix_inverse", "matrix_solve", "matrix_solve_ls", "matrix_transpose",
    "matrix_triangular_solve", "multinomial", "nest", "nn", "norm", "qr", "random", "random_crop",
    "random_gamma", "random_normal", "random_poisson", "random_shuffle", "random_uniform",
    "reverse_sequence", "searchsorted", "self_adjoint_eig", "self_adjoint_eigvals",
    "set_random_seed", "sort", "sparse", "stages", "string", "svd", "test", "trace", "train",
    "truncated_normal", "uint16", "uint32", "uint64", "uint8", "version",
]  # fmt: skip
