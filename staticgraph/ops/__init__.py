"""One record per operation.  Importing this package makes the registry complete."""

from staticgraph.ops import (
    arithmetic, constant, cumulative, gather, like, matmul, reduce, scatter,
)

__all__ = [
    "arithmetic", "constant", "cumulative", "gather", "like", "matmul", "reduce", "scatter",
]  # fmt: skip
