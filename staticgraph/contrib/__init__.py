"""`tf.contrib`: what programs use of the library's former annex."""

from staticgraph.contrib import framework, layers

__all__ = ["framework", "layers"]
