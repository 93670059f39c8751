"""`tf.losses`: losses of a batch as scalars, collected in the graph."""

from staticgraph.api import loss_functions
from staticgraph.api.loss_functions import *

__all__ = list(loss_functions.__all__)
