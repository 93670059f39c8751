"""One record per operation.  Importing this package makes the registry complete."""

from staticgraph.ops import arithmetic, constant, cumulative, like, matmul, reduce

__all__ = ["arithmetic", "constant", "cumulative", "like", "matmul", "reduce"]
