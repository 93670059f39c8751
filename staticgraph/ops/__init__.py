"""One record per operation.  Importing this package makes the registry complete."""

from staticgraph.ops import (
    activation,
    arithmetic,
    cast,
    comparison,
    constant,
    cumulative,
    gather,
    like,
    logical,
    matmul,
    reduce,
    scatter,
    select,
    special,
    transcendental,
)

__all__ = [
    "activation",
    "arithmetic",
    "cast",
    "comparison",
    "constant",
    "cumulative",
    "gather",
    "like",
    "logical",
    "matmul",
    "reduce",
    "scatter",
    "select",
    "special",
    "transcendental",
]
