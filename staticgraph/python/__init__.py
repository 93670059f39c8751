"""Where TensorFlow 1 programs import from ``tensorflow.python``."""

from staticgraph.python import client

__all__ = ["client"]
