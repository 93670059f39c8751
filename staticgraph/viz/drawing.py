"""`Drawing`: a picture that can be looked at and saved, and `draw`, which makes one of a graph."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any, Final, Literal

from staticgraph.errors import GraphError
from staticgraph.ir.files import write_atomically
from staticgraph.ir.graph import Graph, get_default_graph
from staticgraph.viz.dot import dot_text
from staticgraph.viz.graphs import picture_of_graph
from staticgraph.viz.html import page
from staticgraph.viz.layout import render, with_titles
from staticgraph.viz.picture import Picture

FORMATS: Final = ("png", "svg", "dot", "html")
_DIRECTIONS: Final = ("TB", "LR", "BT", "RL")


class Drawing:
    """A picture as DOT text, rendered when it is asked for; notebooks show it.

    Attributes: `dot` (the text), `picture` (the nodes, edges and groups in it).
    """

    def __init__(
        self, picture: Picture, *, shapes: bool = True, rankdir: str = "TB",
        inside: Callable[[str], Drawing] | None = None,
    ) -> None:  # fmt: skip
        if rankdir not in _DIRECTIONS:
            raise GraphError(f"rankdir must be one of {', '.join(_DIRECTIONS)}, got {rankdir!r}")
        self.picture, self._inside = picture, inside
        self.dot: str = dot_text(picture, shapes=shapes, rankdir=rankdir)

    @cached_property
    def _svg(self) -> str:
        return with_titles(render(self.dot, "svg").decode())

    @cached_property
    def _png(self) -> bytes:
        return render(self.dot, "png")

    def svg(self) -> str:
        """The picture as SVG text; hovering over a node tells name, type, attributes and line."""
        return self._svg

    def png(self) -> bytes:
        """The picture as the bytes of a PNG file."""
        return self._png

    def html(self) -> str:
        """A page in which a click on a folded scope shows what is in it."""

        def inner(scope: str) -> tuple[str, list[str]]:
            assert self._inside is not None
            drawing = self._inside(scope)
            return drawing.svg(), drawing.folded

        return page(self.picture.title, self.svg(), self.folded if self._inside else (), inner)

    @property
    def folded(self) -> list[str]:
        """The name scopes that are folded into one node each."""
        return [i.opens for i in self.picture.items if i.opens]

    def save(self, path: str | PathLike[str], format: str | None = None) -> Path:
        """Write the picture; `format` is the suffix of `path` where it is not given.

        Raises:
          GraphError: a format that is not one of `FORMATS`.
        """
        target = Path(path)
        kind = format_of(target, format)
        if kind == "png":
            write_atomically(target, self.png())
        else:
            text = self.dot if kind == "dot" else self.svg() if kind == "svg" else self.html()
            write_atomically(target, text.encode())
        return target

    def _repr_svg_(self) -> str:
        return self.svg()

    def _repr_png_(self) -> bytes:
        return self.png()

    def __repr__(self) -> str:
        p = self.picture
        return f"<Drawing of {p.operations} operations: {len(p.items)} nodes, {len(p.links)} edges>"


def format_of(path: Path, format: str | None = None) -> str:
    """The format for a path.

    Raises:
      GraphError: it is not one of `FORMATS`.
    """
    kind = (format or path.suffix.lstrip(".")).lower()
    kind = {"gv": "dot"}.get(kind, kind)
    if kind not in FORMATS:
        given = f"the format {format!r}" if format else f"the suffix of {path.name!r}"
        raise GraphError(f"{given} is none of {', '.join(FORMATS)}")
    return kind


def draw_picture(
    picture: Picture, path: str | PathLike[str] | None = None, *, format: str | None = None,
    shapes: bool = True, rankdir: str = "TB", inside: Callable[[str], Drawing] | None = None,
) -> Drawing:  # fmt: skip
    """Make a `Drawing` of a picture and save it where a path is given."""
    if path is not None:
        format_of(Path(path), format)  # refuse before any work
    drawing = Drawing(picture, shapes=shapes, rankdir=rankdir, inside=inside)
    if path is not None:
        drawing.save(path, format)
    return drawing


def draw(
    graph: Graph | None = None, path: str | PathLike[str] | None = None, *, fetches: Any = None,
    scope: str | None = None, depth: int | Literal["auto"] | None = "auto",
    format: str | None = None, shapes: bool = True, rankdir: str = "TB",
    title: str | None = None, initializers: bool = False,
) -> Drawing:  # fmt: skip
    """Draw a graph; nothing is run.

    Args:
      graph: the graph, by default the default graph.
      path: where to save the picture; the suffix chooses png, svg, dot or html (a page
        in which folded scopes open on a click).
      fetches: tensors, operations or names: only what they need is drawn.
      scope: only this name scope and what it takes from outside.
      depth: name scopes nested deeper are folded into one node; "auto" folds until about sixty
        nodes remain; None folds nothing.
      format: one of `FORMATS`, where the suffix does not say it.
      shapes: label edges with dtype and sizes.
      rankdir: direction of flow: TB, LR, BT or RL.
      initializers: draw the first assignments of variables, which are folded away otherwise.

    Raises:
      NameNotFoundError: a fetch or scope that is not in the graph.
      RunError: there is no Graphviz, or it took too long.
    """
    graph = graph if graph is not None else get_default_graph()
    picture = picture_of_graph(
        graph, fetches=fetches, scope=scope, depth=depth, initializers=initializers, title=title
    )

    def inside(name: str) -> Drawing:
        inner = picture_of_graph(
            graph, fetches=fetches, scope=name, initializers=initializers, title=name
        )
        return Drawing(inner, shapes=shapes, rankdir=rankdir)

    return draw_picture(picture, path, format=format, shapes=shapes, rankdir=rankdir, inside=inside)


def to_dot(graph: Graph | None = None, **options: Any) -> str:
    """The DOT text of a graph; the options are those of `draw`."""
    return draw(graph, **options).dot


__all__ = ["FORMATS", "Drawing", "draw", "draw_picture", "format_of", "to_dot"]
