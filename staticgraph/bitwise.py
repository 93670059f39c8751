"""`tf.bitwise`: operations on the bits of integers."""

from staticgraph.api import bitwise as _bitwise
from staticgraph.api.bitwise import *

__all__ = list(_bitwise.__all__)
