"""One record per operation.  Importing this package makes the registry complete."""

from staticgraph.ops import (
    activation, arithmetic, bias, cast, comparison, constant, cumulative, decomposition, diagonal,
    effects, fill, gather, identity, index, join, like, linalg, logical, losses, masking,
    matmul, padding, random, reduce, scatter, scatter_points, segment, select, shape, slicing,
    softmax, sorting, space, special, state, transcendental,
)  # fmt: skip

__all__ = [
    "activation", "arithmetic", "bias", "cast", "comparison", "constant", "cumulative", "decomposition",
    "diagonal", "effects", "fill", "gather", "identity", "index", "join", "like", "linalg",
    "logical", "losses", "masking", "matmul", "padding", "random", "reduce", "scatter",
    "scatter_points", "segment", "select", "shape", "slicing", "softmax", "sorting", "space",
    "special", "state", "transcendental",
]  # fmt: skip
