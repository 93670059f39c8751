"""A page in which folded scopes can be opened: one picture for each, all in one file.

Nothing is laid out in the browser and nothing is loaded from elsewhere.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable

PICTURES = 60  # in one page; what is folded deeper stays folded

_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ margin: 0; font: 14px Helvetica, Arial, sans-serif; color: #1F2933 }}
nav {{ position: sticky; top: 0; padding: 8px 14px; background: #F5F7F9;
      border-bottom: 1px solid #B8C4CE }}
nav a {{ color: #0072B2; text-decoration: none }}
nav span {{ color: #667684; float: right }}
section {{ display: none; overflow: auto }}
section:target, section.first {{ display: block }}
body:has(section:target) section.first:not(:target) {{ display: none }}
g.opens {{ cursor: pointer }}
g.opens:hover polygon {{ stroke-width: 2.5 }}
</style></head><body>
{sections}
<script>
document.addEventListener("click", function (event) {{
  const node = event.target.closest("g.opens");
  if (node) location.hash = node.id.slice(5);
}});
</script></body></html>
"""


def page(
    title: str,
    top: str,
    folded: Iterable[str],
    inside: Callable[[str], tuple[str, Iterable[str]]],
) -> str:
    """Write the page.

    Args:
      top: the SVG text of the whole.
      folded: the scopes folded in it.
      inside: gives a scope's SVG text and the scopes folded in that.
    """
    pictures = {"": top}
    queue = list(folded)
    for scope in queue:  # grows while it is walked: outer scopes come first
        if scope in pictures or len(pictures) >= PICTURES:
            continue
        svg, deeper = inside(scope)
        pictures[scope] = svg
        queue += deeper
    sections = "\n".join(_section(s, svg, title, pictures) for s, svg in pictures.items())
    return _PAGE.format(title=html.escape(title or "graph"), sections=sections)


_FOLDED = re.compile(r'<g id="(open:[^"]+)" class="node"')


def _section(scope: str, svg: str, title: str, pictures: dict[str, str]) -> str:
    parts = scope.split("/") if scope else []
    path = ["/".join(parts[: k + 1]) for k in range(len(parts))]
    crumbs = [f'<a href="#top">{html.escape(title or "graph")}</a>']
    for prefix, part in zip(path, parts, strict=True):
        name = html.escape(part)
        known = prefix in pictures and prefix != scope
        crumbs.append(f'<a href="#{html.escape(prefix)}">{name}</a>' if known else name)

    def opening(node: re.Match[str]) -> str:
        known = html.unescape(node[1]).removeprefix("open:") in pictures
        return f'<g id="{node[1]}" class="node opens"' if known else node[0]

    svg = _FOLDED.sub(opening, svg)
    hint = "<span>click a folded scope to open it, hover for details</span>"
    first = ' class="first"' if not scope else ""
    key = html.escape(scope or "top")
    return f'<section id="{key}"{first}><nav>{hint}{" / ".join(crumbs)}</nav>\n{svg}</section>'


__all__ = ["PICTURES", "page"]
