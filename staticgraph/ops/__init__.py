"""One record per operation.  Importing this package makes the registry complete."""

from staticgraph.ops import (
    effects,
)

__all__ = [
    "effects",
]
