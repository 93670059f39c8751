"""One record per operation.  Importing this package makes the registry complete."""

from staticgraph.ops import arithmetic, constant, like

__all__ = ["arithmetic", "constant", "like"]
