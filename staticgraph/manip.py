"""`tf.manip`: operations on the order of elements, by the names they had for a while."""

from staticgraph.api.gather import gather_nd, scatter_nd
from staticgraph.api.shapes import batch_to_space_nd, reshape, space_to_batch_nd
from staticgraph.api.slicing import reverse, roll, tile

__all__ = [
    "batch_to_space_nd", "gather_nd", "reshape", "reverse", "roll", "scatter_nd",
    "space_to_batch_nd", "tile",
]  # fmt: skip
