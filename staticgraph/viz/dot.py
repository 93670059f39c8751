"""From a `Picture` to DOT text.

Node and edge ids are short and stable; everything a reader sees is in labels and tooltips.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import Any, Literal

from staticgraph.viz.picture import Group, Item, Link, Picture
from staticgraph.viz.style import (
    EDGES,
    FOLDED_FILL,
    FONT,
    FORMS,
    INK,
    MUTED,
    NODES,
    SCOPE_FILL,
    SCOPE_LINE,
    EdgeKind,
    Kind,
)

TANGLED = 300  # edges, beyond which curves and labels cost minutes and nobody can follow them

RankDir = Literal["TB", "LR", "BT", "RL"]


def dot_text(
    picture: Picture, *, shapes: bool = True, rankdir: str = "TB", legend: bool = True
) -> str:
    """Write a picture in the DOT language.

    Args:
      shapes: label edges with dtype and sizes.
      rankdir: direction in which the data flows: TB, LR, BT or RL.
      legend: explain the colours that occur.
    """
    import graphviz  # type: ignore[import-untyped]  # only pictures need it

    tangled = len(picture.links) > TANGLED
    shapes = shapes and not tangled
    g = graphviz.Digraph(
        "G",
        graph_attr={
            "rankdir": rankdir, "fontname": FONT, "fontsize": "12", "fontcolor": INK,
            "bgcolor": "white", "nodesep": "0.28", "ranksep": "0.42", "pad": "0.3",
            "newrank": "true",
            "splines": "line" if tangled else "spline", "labelloc": "t", "labeljust": "l",
            "label": _heading(picture, legend), "tooltip": " ", "outputorder": "edgesfirst",
        },
        node_attr={
            "fontname": FONT, "fontsize": "11", "fontcolor": INK, "shape": "box",
            "margin": "0.13,0.06", "height": "0.3", "width": "0.5", "penwidth": "1.2",
        },
        edge_attr={
            "fontname": FONT, "fontsize": "8.5", "fontcolor": MUTED, "arrowsize": "0.65",
            "color": EDGES["data"][0], "tooltip": " ",
        },
    )  # fmt: skip
    if tangled:
        g.attr("graph", nslimit="4", nslimit1="4", mclimit="0.5")
    children: dict[str, list[Group]] = {}
    members: dict[str, list[Item]] = {}
    for group in picture.groups:
        children.setdefault(group.parent, []).append(group)
    for item in picture.items:
        members.setdefault(item.group, []).append(item)
    _level(g, "", children, members)
    kinds = {item.id: item.kind for item in picture.items}
    for link in picture.links:
        weight = "0" if link.writes else _weight(kinds[link.source], kinds[link.target])
        g.edge(link.source, link.target, **_edge(link, shapes), weight=weight)
    return str(g.source)


def _level(
    g: Any, key: str, children: dict[str, list[Group]], members: dict[str, list[Item]]
) -> None:
    for item in members.get(key, ()):
        g.node(item.id, **_node(item))
    for group in children.get(key, ()):
        with g.subgraph(name=f"cluster_{group.id}") as sub:
            sub.attr(**_cluster(group))
            _level(sub, group.id, children, members)


# ---------------------------------------------------------------- attributes
def _text(text: str, size: float | None = None, colour: str = "", bold: bool = False) -> str:
    out = html.escape(text, quote=False)
    if bold:
        out = f"<B>{out}</B>"
    if size or colour:
        points = f' POINT-SIZE="{size:g}"' if size else ""
        paint = f' COLOR="{colour}"' if colour else ""
        out = f"<FONT{points}{paint}>{out}</FONT>"
    return out


def shorten(text: str, limit: int = 34) -> str:
    """Cut the middle out of a long text."""
    return text if len(text) <= limit else f"{text[: limit // 2 - 1]}…{text[-limit // 2 :]}"


def _node(item: Item) -> dict[str, str]:
    look = NODES[item.kind]
    lines = [_text(shorten(item.title), bold=True)]
    if item.name:
        lines.append(_text(shorten(item.name), 9, MUTED))
    lines += [_text(shorten(d, 40), 9, INK) for d in item.details]
    for text, kind in item.stubs:
        lines.append(_text(shorten(text, 40), 9, NODES[kind].line))
    shape, style, fill = look.shape, look.style, look.fill
    if item.folded:
        shape, style = "folder", "filled"
        fill = FOLDED_FILL if item.kind == "operation" else look.fill
    if item.faded:
        style += ",dashed"
    out = {
        "label": _lines(lines), "shape": shape, "style": style, "fillcolor": fill,
        "color": look.line, "tooltip": _plain(item.tooltip or item.title),
    }  # fmt: skip
    return {**out, "id": f"open:{item.opens}"} if item.opens else out


def _lines(lines: Sequence[str]) -> str:
    if len(lines) == 1:
        return f"<{lines[0]}>"
    rows = "".join(f"<TR><TD>{line}</TD></TR>" for line in lines)
    return f'<<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="0" CELLPADDING="1">{rows}</TABLE>>'


def _cluster(group: Group) -> dict[str, str]:
    fill, line = {**FORMS, "half": ("white", SCOPE_LINE)}.get(group.form, ("", ""))
    if not fill:
        look = NODES[group.kind]
        plain = group.kind == "operation"
        fill, line = (SCOPE_FILL, SCOPE_LINE) if plain else (look.tint, look.line)
    return {
        "label": f"<{_text(shorten(group.label, 60), 10, INK, bold=True)}>",
        "labeljust": "l", "labelloc": "t", "style": "filled,rounded", "fillcolor": fill,
        "color": line, "penwidth": "1", "margin": "10",
        "tooltip": _plain(group.tooltip or group.label),
    }  # fmt: skip


def _edge(link: Link, shapes: bool) -> dict[str, str]:
    colour, style, _ = EDGES[link.kind]
    out = {"color": colour, "style": style}
    if link.kind == "control":
        out["arrowhead"] = "open"
    if link.writes:
        out["dir"] = "both"
        out["arrowtail"] = "normal"
        out["arrowhead"] = "dot"
    if shapes and link.label:
        out["label"] = f" {_plain(link.label)} "
        if link.kind != "data":
            out["fontcolor"] = colour
    if link.tooltip:
        out["tooltip"] = out["labeltooltip"] = _plain(link.tooltip)
    if link.size:
        width = 0.9 + 0.3 * math.log10(link.size / 1e3)
        out["penwidth"] = f"{min(max(width, 0.9), 2.6):.2g}"
    return out


def _weight(source: Kind, target: Kind) -> str:
    """How straight and short an edge should be: the forward flow is the spine of the picture."""
    if source in ("operation", "placeholder") and target in ("gradient", "update"):
        return "0"  # values kept for the gradients run along the side
    if source in ("variable", "constant"):
        return "1"
    return "6" if source == target == "operation" else "3"


def _plain(text: str) -> str:
    return text.replace("\\", "\\\\")


# ---------------------------------------------------------------- heading: title, legend, note
def _heading(picture: Picture, legend: bool) -> str:
    rows = []
    if picture.title:
        rows.append(f'<TR><TD ALIGN="LEFT">{_text(picture.title, 15, INK, bold=True)}</TD></TR>')
    for line in picture.note.splitlines():
        rows.append(f'<TR><TD ALIGN="LEFT">{_text(line, 10, MUTED)}</TD></TR>')
    if legend:
        rows.append(f'<TR><TD ALIGN="LEFT">{_legend(picture)}</TD></TR>')
    if not rows:
        return ""
    return f'<<{_BARE} CELLSPACING="2" CELLPADDING="1">{"".join(rows)}</TABLE>>'


_BARE = 'TABLE BORDER="0" CELLBORDER="0"'


def _legend(picture: Picture) -> str:
    cells = []
    kinds: set[Kind] = {i.kind for i in picture.items if not (i.folded and i.kind == "operation")}
    for kind, look in NODES.items():
        if kind in kinds:
            cells.append(_swatch(look.fill, look.line, look.word))
    if any(i.folded for i in picture.items):
        cells.append(_swatch(FOLDED_FILL, NODES["operation"].line, "folded scope"))
    for form, (fill, line) in FORMS.items():
        if any(g.form == form for g in picture.groups):
            cells.append(_swatch(fill, line, f"{form} kernel"))
    edges: set[EdgeKind] = {e.kind for e in picture.links}
    for edge, mark in (("update", "●▸"), ("control", "┄▸"), ("gradient", "━▸")):
        if edge in edges:
            colour, _, word = EDGES[edge]
            cells.append(f'<TD ALIGN="LEFT">{_text(mark, 10, colour)} {_text(word, 9, MUTED)}</TD>')
    return _rows(cells, 6)


def _swatch(fill: str, line: str, word: str) -> str:
    return (
        f'<TD BORDER="1" COLOR="{line}" BGCOLOR="{fill}" STYLE="ROUNDED" CELLPADDING="3">'
        f"{_text(word, 9, INK)}</TD>"
    )


def _rows(cells: Sequence[str], per_row: int) -> str:
    rows = [cells[k : k + per_row] for k in range(0, len(cells), per_row)]
    lines = "".join(f"<TR>{''.join(row)}</TR>" for row in rows)
    return f'<{_BARE} CELLSPACING="5" CELLPADDING="0">{lines}</TABLE>' if lines else " "


__all__ = ["RankDir", "dot_text", "shorten"]
