"""`tf.nn`: what neural networks are made of."""

from staticgraph.api import activations, conv, ctc, losses, normalization, pooling
from staticgraph.api.activations import *
from staticgraph.api.conv import *
from staticgraph.api.ctc import *
from staticgraph.api.embedding import embedding_lookup
from staticgraph.api.linalg import l2_loss, l2_normalize, xw_plus_b
from staticgraph.api.losses import *
from staticgraph.api.normalization import *
from staticgraph.api.pooling import *
from staticgraph.api.random import dropout
from staticgraph.api.reduction import zero_fraction
from staticgraph.api.shapes import depth_to_space, space_to_batch, space_to_depth
from staticgraph.api.sorting import in_top_k, top_k
from staticgraph.nn import rnn_cell
from staticgraph.nn.raw import raw_rnn
from staticgraph.nn.recurrence import bidirectional_dynamic_rnn, dynamic_rnn
from staticgraph.nn.unrolled import (
    static_bidirectional_rnn,
    static_rnn,
    static_state_saving_rnn,
)

__all__ = [
    *activations.__all__, *conv.__all__, *ctc.__all__, *losses.__all__, *normalization.__all__,
    *pooling.__all__, "bidirectional_dynamic_rnn", "depth_to_space", "dropout", "dynamic_rnn",
    "embedding_lookup", "in_top_k", "l2_loss", "l2_normalize", "raw_rnn", "rnn_cell",
    "space_to_batch", "space_to_depth", "static_bidirectional_rnn", "static_rnn",
    "static_state_saving_rnn", "top_k", "xw_plus_b", "zero_fraction",
]  # fmt: skip
