"""The report: Markdown, and one HTML file that holds its plots."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

from staticgraph.compare import plots
from staticgraph.compare.pairs import GROUPS
from staticgraph.compare.result import Comparison, PairResult
from staticgraph.compare.table import COLUMNS, loops, row, seconds, summary

TITLE = "Static and dynamic graphs"

_CSS = """
:root{color-scheme:light}
body{font:16px/1.5 system-ui,sans-serif;max-width:75rem;margin:2rem auto;padding:0 1rem;color:#222;
background:#fff}
h1,h2{line-height:1.2}table{border-collapse:collapse;margin:.5rem 0 1.5rem;font-size:.9rem}
th,td{padding:.2rem .6rem;text-align:right;border-bottom:1px solid #ddd;white-space:nowrap}
th:first-child,td:first-child{text-align:left}tr.static td{background:#e8f4f6}
tr.wrong td{background:#fbe3e6}figure{margin:1rem 0}figure svg{max-width:100%;height:auto}
figcaption{color:#666}p.key{color:#444;font-size:.9rem}
"""


def where(comparison: Comparison) -> str:
    """The machine in a line."""
    parts = [f"{k} {v}" for k, v in comparison.machine.items()]
    hurry = "; measured in a hurry, so the times are rough" if comparison.quick else ""
    importing = (
        f"; importing the package takes {seconds(comparison.import_s)} once a process, and is in "
        "no other number"
    )
    return f"{', '.join(parts)}{importing if comparison.import_s else ''}{hurry}."


def _grouped(comparison: Comparison) -> list[tuple[str, list[PairResult]]]:
    found = [(g, [p for p in comparison.pairs if p.group == g]) for g in GROUPS]
    return [(g, pairs) for g, pairs in found if pairs]


# ---------------------------------------------------------------- Markdown
def markdown_table(rows: Sequence[Sequence[str]], titles: Sequence[str]) -> str:
    """A table; the first column is aligned to the left."""
    lines = [
        "| " + " | ".join(titles) + " |",
        "|---|" + "---:|" * (len(titles) - 1),
        *("| " + " | ".join(r) + " |" for r in rows),
    ]
    return "\n".join(lines)


def markdown(comparison: Comparison, pictures: bool = True) -> str:
    """The report as Markdown, with links to the plots beside it."""
    out = [f"# {TITLE}\n", *(f"- {s}" for s in summary(comparison)), ""]
    for n in plots.pictures_of(comparison) if pictures else ():
        out.append(f"![{plots.CAPTIONS[n]}]({n}.svg)\n\n{plots.CAPTIONS[n]}\n")
    titles = [c.title for c in COLUMNS]
    for group, pairs in _grouped(comparison):
        out.append(f"## {group.capitalize()}\n")
        for p in pairs:
            out.append(f"### `{p.name}`: {p.title}\n\n{p.place}\n")
            out.append(markdown_table([row(p, f) for f in p.forms], titles) + "\n")
            out += [f"- {form}: {what}" for form, what in loops(p)]
            if p.loop:
                out.append("")
    out.append("## What the columns mean\n")
    out += [f"- *{c.title}*: {c.meaning}" for c in COLUMNS]
    out += ["", f"Measured on: {where(comparison)}", ""]
    return "\n".join(out)


# ---------------------------------------------------------------- HTML
def page(comparison: Comparison, drawn: dict[str, str]) -> str:
    """The report as one HTML file.

    Args:
      drawn: the plots by name, as SVG.
    """
    esc = html.escape
    body = [f"<h1>{TITLE}</h1>", "<ul>"]
    body += [f"<li>{esc(s)}</li>" for s in summary(comparison)] + ["</ul>"]
    for name, svg in drawn.items():
        inline = svg[svg.index("<svg") :]
        caption = esc(plots.CAPTIONS[name])
        inline = inline.replace("<svg", f'<svg role="img" aria-label="{caption}"', 1)
        body.append(f"<figure>{inline}<figcaption>{caption}</figcaption></figure>")
    head = "".join(f'<th title="{esc(c.meaning)}">{esc(c.title)}</th>' for c in COLUMNS)
    for group, pairs in _grouped(comparison):
        body.append(f"<h2>{esc(group.capitalize())}</h2>")
        for p in pairs:
            body.append(f"<h3><code>{esc(p.name)}</code>: {esc(p.title)}</h3><p>{esc(p.place)}</p>")
            body.append(f"<table><tr>{head}</tr>")
            for f in p.forms:
                kind = "static" if f.form == "static" else ""
                kind = kind if f.difference <= p.tolerance else "wrong"
                cells = "".join(f"<td>{esc(c)}</td>" for c in row(p, f))
                body.append(f'<tr class="{kind}">{cells}</tr>')
            body.append("</table>")
            body += [f"<p>{esc(form)}: {esc(what)}</p>" for form, what in loops(p)]
    body.append("<h2>What the columns mean</h2>")
    body += [f'<p class="key"><b>{esc(c.title)}</b>: {esc(c.meaning)}</p>' for c in COLUMNS]
    body.append(f"<p>Measured on: {esc(where(comparison))}</p>")
    style = f"<style>{_CSS}</style>"
    head_part = f'<meta charset="utf-8"><title>{TITLE}</title>{style}'
    return (
        f"<!doctype html><html lang=en><head>{head_part}</head><body>{''.join(body)}</body></html>"
    )


def write(comparison: Comparison, folder: Path) -> list[Path]:
    """Write ``report.md``, ``report.html``, ``results.json`` and the plots into a folder.

    Raises:
      UnimplementedError: matplotlib is not installed; nothing is written.
    """
    plots.pyplot()
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / n for n in ("results.json", "report.md", "report.html")]
    written[0].write_text(comparison.to_json(), encoding="utf-8")  # they took long: first of all
    paths = plots.draw(comparison, folder)
    drawn = {name: kinds["svg"].read_text(encoding="utf-8") for name, kinds in paths.items()}
    for path, content in zip(
        written[1:], (markdown(comparison), page(comparison, drawn)), strict=True
    ):
        path.write_text(content, encoding="utf-8")
    return written + [p for kinds in paths.values() for p in kinds.values()]


__all__ = ["markdown", "markdown_table", "page", "where", "write"]
