"""`tf.contrib.util`: what is known of a tensor when the graph is built."""

from staticgraph.api.static_values import get_static_value as constant_value

__all__ = ["constant_value"]
