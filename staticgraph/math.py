"""`tf.math`: functions of numbers, elementwise and reducing."""

from staticgraph.api import comparison, division, math_functions, math_special, reduction
from staticgraph.api import math as _math
from staticgraph.api.activations import softplus, softsign
from staticgraph.api.assertions import is_non_decreasing, is_strictly_increasing
from staticgraph.api.comparison import *
from staticgraph.api.division import *
from staticgraph.api.division import div_no_nan as divide_no_nan
from staticgraph.api.division import reciprocal_no_nan
from staticgraph.api.gather import (
    segment_max,
    segment_mean,
    segment_min,
    segment_prod,
    segment_sum,
    unsorted_segment_max,
    unsorted_segment_mean,
    unsorted_segment_min,
    unsorted_segment_prod,
    unsorted_segment_sqrt_n,
    unsorted_segment_sum,
)
from staticgraph.api.linalg import l2_normalize
from staticgraph.api.losses import log_softmax, softmax
from staticgraph.api.math import *
from staticgraph.api.math_functions import *
from staticgraph.api.math_special import *
from staticgraph.api.reduction import *
from staticgraph.api.shapes import invert_permutation
from staticgraph.api.sorting import bincount, confusion_matrix, in_top_k, top_k

__all__ = [
    *_math.__all__, *comparison.__all__, *division.__all__, *math_functions.__all__,
    *math_special.__all__, *reduction.__all__, "bincount", "confusion_matrix", "divide_no_nan",
    "in_top_k", "invert_permutation", "is_non_decreasing", "is_strictly_increasing", "l2_normalize",
    "log_softmax", "reciprocal_no_nan", "segment_max", "segment_mean", "segment_min",
    "segment_prod", "segment_sum", "softmax", "softplus", "softsign", "top_k",
    "unsorted_segment_max", "unsorted_segment_mean", "unsorted_segment_min",
    "unsorted_segment_prod", "unsorted_segment_sqrt_n", "unsorted_segment_sum",
]  # fmt: skip
