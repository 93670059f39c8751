"""Pictures of what the compiler makes of a graph, alone or beside the graph itself."""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from typing import Any, Protocol

from staticgraph.ir.function import Function
from staticgraph.ir.graph import Graph
from staticgraph.viz.drawing import Drawing, draw_picture
from staticgraph.viz.functions import FusedLike, picture_of_function, picture_of_fused
from staticgraph.viz.graphs import picture_of_graph
from staticgraph.viz.picture import Picture, beside


class CompilationLike(Protocol):
    """What the compiler makes of fetches: the optimised function, and its kernels if any."""

    @property
    def function(self) -> Function: ...
    @property
    def fused(self) -> FusedLike | None: ...


Stages = Callable[[Graph, Any], CompilationLike]
"""Compiles what fetches need, up to fusion."""


def draw_function(
    function: Function, path: str | PathLike[str] | None = None, *, format: str | None = None,
    shapes: bool = True, rankdir: str = "TB", title: str | None = None,
) -> Drawing:  # fmt: skip
    """Draw a compiler function: parameters, operations, results and the state it writes."""
    picture = picture_of_function(function, title)
    return draw_picture(picture, path, format=format, shapes=shapes, rankdir=rankdir)


def draw_fused(
    function: Function, fused: FusedLike, path: str | PathLike[str] | None = None, *,
    format: str | None = None, shapes: bool = True, rankdir: str = "TB", title: str | None = None,
) -> Drawing:  # fmt: skip
    """Draw what fusion made of a function: a group for each kernel, a box for each other step."""
    picture = picture_of_fused(function, fused, title)
    return draw_picture(picture, path, format=format, shapes=shapes, rankdir=rankdir)


def compiled_picture(compiled: CompilationLike, title: str | None = None) -> Picture:
    """The picture of what a `Stages` callable gave: kernels, or else the function."""
    if compiled.fused is None:
        return picture_of_function(compiled.function, title)
    return picture_of_fused(compiled.function, compiled.fused, title)


def before_after(
    graph: Graph, fetches: Any, path: str | PathLike[str] | None = None, *, stages: Stages,
    format: str | None = None, shapes: bool = True, rankdir: str = "TB", title: str | None = None,
) -> Drawing:  # fmt: skip
    """Draw what the fetches need as the graph has it, beside what the compiler makes of it.

    Args:
      stages: compiles what the fetches need, for example `runtime.compile.function_stages`.
    """
    left = picture_of_graph(graph, fetches=fetches)
    right = compiled_picture(stages(graph, fetches))
    labels = (f"before: {left.operations} operations", f"after: {right.note.splitlines()[0]}")
    picture = beside(left, right, labels, title or "")
    return draw_picture(picture, path, format=format, shapes=shapes, rankdir=rankdir)


__all__ = [
    "CompilationLike",
    "Stages",
    "before_after",
    "compiled_picture",
    "draw_function",
    "draw_fused",
]
