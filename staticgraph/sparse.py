"""`tf.sparse`: tensors of which only some entries are stored."""

from staticgraph.api.sparse import SparseTensor, from_dense
from staticgraph.api.sparse import sparse_placeholder as placeholder
from staticgraph.api.sparse import sparse_tensor_to_dense as to_dense

__all__ = ["SparseTensor", "from_dense", "placeholder", "to_dense"]
