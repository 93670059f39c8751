"""`tf.contrib`: what programs use of the library's former annex."""

from staticgraph.contrib import framework, layers, legacy_seq2seq, rnn, seq2seq
from staticgraph.contrib import static_values as util

__all__ = ["framework", "layers", "legacy_seq2seq", "rnn", "seq2seq", "util"]
