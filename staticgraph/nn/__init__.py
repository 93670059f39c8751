"""`tf.nn`: what neural networks are made of."""

from staticgraph.api import activations, conv, losses, normalization, pooling
from staticgraph.api.activations import *
from staticgraph.api.conv import *
from staticgraph.api.embedding import embedding_lookup
from staticgraph.api.linalg import l2_loss, l2_normalize, xw_plus_b
from staticgraph.api.losses import *
from staticgraph.api.normalization import *
from staticgraph.api.pooling import *
from staticgraph.api.random import dropout
from staticgraph.api.reduction import zero_fraction
from staticgraph.api.sorting import in_top_k, top_k

__all__ = [
    *activations.__all__, *conv.__all__, *losses.__all__, *normalization.__all__, *pooling.__all__,
    "dropout", "embedding_lookup",
    "in_top_k", "l2_loss", "l2_normalize", "top_k", "xw_plus_b", "zero_fraction",
]  # fmt: skip
