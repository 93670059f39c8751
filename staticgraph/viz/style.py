"""How pictures look: one palette, one font, one table of node kinds.

The palette is Okabe and Ito's, which stays distinct for colour-blind readers.  Colour is never
the only sign: the kinds differ in outline too, so a picture printed in grey can still be read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal[
    "placeholder", "variable", "constant", "operation", "random", "gradient", "update", "kernel",
    "library", "host", "result",
]  # fmt: skip
EdgeKind = Literal["data", "gradient", "update", "control"]

FONT: Final = "Helvetica,Arial,DejaVu Sans,sans-serif"
INK: Final = "#1F2933"
MUTED: Final = "#667684"


@dataclass(frozen=True, slots=True)
class NodeStyle:
    """The outline of a kind of node.

    Args:
      word: what the legend calls it.
      tint: a fill for clusters of this kind, lighter than that of nodes.
    """

    shape: str
    fill: str
    line: str
    word: str
    tint: str = "#F7F9FA"
    style: str = "filled"


NODES: Final[dict[Kind, NodeStyle]] = {
    "placeholder": NodeStyle("ellipse", "#D6EAF8", "#0072B2", "placeholder (fed)"),
    "variable": NodeStyle("cylinder", "#CDEDE2", "#00805E", "variable"),
    "constant": NodeStyle("note", "#F1F1EE", "#8A8A80", "constant"),
    "operation": NodeStyle("box", "#FFFFFF", "#52616D", "operation", style="filled,rounded"),
    "random": NodeStyle("box", "#FFF3B8", "#9A7D00", "random draw", "#FFFBEA", "filled,rounded"),
    "gradient": NodeStyle("box", "#FCE0CC", "#C65200", "gradient", "#FFF6EF", "filled,rounded"),
    "update": NodeStyle("box", "#F3DCEA", "#A8437F", "update of a variable", "#FCF3F8",
                        "filled,rounded,bold"),
    "kernel": NodeStyle("box", "#DDF0FA", "#3A8FC0", "fused kernel", "#EFF8FD", "filled,rounded"),
    "library": NodeStyle("box", "#E2DDF4", "#5B48A2", "library call", "#F4F2FB", "filled"),
    "host": NodeStyle("octagon", "#E4E7EA", "#4C5964", "call on the host", "#F4F5F6"),
    "result": NodeStyle("ellipse", "#FFFFFF", "#0072B2", "result", style="filled,dashed"),
}  # fmt: skip

FORMS: Final[dict[str, tuple[str, str]]] = {  # kernels by form: cluster fill and outline
    "flat": ("#E9F5FC", "#3A8FC0"),
    "row": ("#FFF6DC", "#C98A00"),
    "column": ("#E6F5EF", "#00805E"),
    "tile": ("#F4F2FB", "#5B48A2"),
}

EDGES: Final[dict[EdgeKind, tuple[str, str, str]]] = {  # colour, line, word of the legend
    "data": ("#7B8894", "solid", "tensor"),
    "gradient": ("#C65200", "solid", "gradient"),
    "update": ("#A8437F", "solid", "write"),
    "control": ("#7B8894", "dashed", "runs before"),
}

SCOPE_FILL: Final = "#F5F7F9"
SCOPE_LINE: Final = "#B8C4CE"
FOLDED_FILL: Final = "#E3E9EE"

__all__ = [
    "EDGES", "FOLDED_FILL", "FONT", "FORMS", "INK", "MUTED", "NODES", "SCOPE_FILL", "SCOPE_LINE",
    "EdgeKind", "Kind", "NodeStyle",
]  # fmt: skip
