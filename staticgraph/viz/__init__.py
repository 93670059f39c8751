"""Pictures of graphs: PNG, SVG and DOT text.

>>> import staticgraph as tf
>>> from staticgraph import viz
>>> x = tf.placeholder(tf.float32, (None, 4), name="x")
>>> viz.draw().dot.startswith("digraph")
True

Nothing has to run before it is drawn.  Rendering needs no system package: without a ``dot``
program on the path the Graphviz inside the ``pygraphviz`` wheel is used.
"""

from staticgraph.viz.drawing import FORMATS, Drawing, draw, draw_picture, format_of, to_dot
from staticgraph.viz.graphs import ends, writes
from staticgraph.viz.picture import Picture, beside
from staticgraph.viz.stages import Stages, before_after, draw_function, draw_fused

__all__ = [
    "FORMATS", "Drawing", "Picture", "Stages", "before_after", "beside", "draw", "draw_function",
    "draw_fused", "draw_picture", "ends", "format_of", "to_dot",
    "writes",
]  # fmt: skip
