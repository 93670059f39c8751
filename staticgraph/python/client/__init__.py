"""``tensorflow.python.client``: the timeline of a traced run."""

from staticgraph.python.client import timeline

__all__ = ["timeline"]
