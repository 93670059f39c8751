"""The report: Markdown, and one HTML file that holds its plots."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from pathlib import Path

from staticgraph.compare import plots
from staticgraph.compare.pairs import GROUPS
from staticgraph.compare.result import Comparison, PairResult
from staticgraph.compare.table import COLUMNS, loops, row, seconds, step_number, verdict

TITLE = "Static and dynamic graphs"

_CSS = """
body{font:16px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#222}
h1,h2{line-height:1.2}table{border-collapse:collapse;margin:.5rem 0 1.5rem;font-size:.9rem}
th,td{padding:.2rem .6rem;text-align:right;border-bottom:1px solid #ddd;white-space:nowrap}
th:first-child,td:first-child{text-align:left}tr.static td{background:#e8f4f6}
tr.wrong td{background:#fbe3e6}figure{margin:1rem 0}figure svg{max-width:100%;height:auto}
figcaption{color:#666}p.key{color:#444;font-size:.9rem}
"""


def summary(comparison: Comparison) -> list[str]:
    """The findings, a sentence each."""
    out = [verdict(comparison)[0].upper() + verdict(comparison)[1:] + "."]
    pairs = comparison.pairs
    faster = [p.of("dynamic").step_s / p.of("static").step_s for p in pairs]
    ahead = sum(f > 1 for f in faster)
    out.append(
        f"The static form has the shorter step in {ahead} of {len(pairs)} programs: "
        f"{_times(min(faster))} to {_times(max(faster))}, in the middle {_times(_middle(faster))} "
        "as fast as define-by-run."
    )
    even = [p.break_even() for p in pairs]
    paid = sorted(e for e in even if e is not None)
    if paid:
        out.append(
            f"With nothing cached, compiling pays from step {step_number(paid[0])} in the best "
            f"case, from {step_number(paid[len(paid) // 2])} in the middle, from "
            f"{step_number(paid[-1])} in the worst"
            + (f"; in {len(even) - len(paid)} it never does." if len(paid) < len(even) else ".")
        )
    if comparison.has_torch:
        with_torch = [p for p in pairs if p.form("torch")]
        won = sum(p.of("torch").step_s > p.of("static").step_s for p in with_torch)
        out.append(
            f"PyTorch's step is longer than the static one in {won} of {len(with_torch)} programs."
        )
    return out


def _times(factor: float) -> str:
    return f"{factor:.1f} times" if factor < 10 else f"{factor:.0f} times"


def _middle(values: Iterable[float]) -> float:
    ordered = sorted(values)
    return ordered[len(ordered) // 2]


def where(comparison: Comparison) -> str:
    """The machine in a line."""
    parts = [f"{k} {v}" for k, v in comparison.machine.items()]
    hurry = "; measured in a hurry, so the times are rough" if comparison.quick else ""
    return (
        f"{', '.join(parts)}; importing the package takes {seconds(comparison.import_s)} once a "
        f"process, and is in no other number{hurry}."
    )


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
    if pictures:
        out += [f"![{plots.CAPTIONS[n]}]({n}.svg)\n\n{plots.CAPTIONS[n]}\n" for n in plots.PICTURES]
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
    paths = plots.draw(comparison, folder)
    drawn = {name: kinds["svg"].read_text(encoding="utf-8") for name, kinds in paths.items()}
    files = {
        "report.md": markdown(comparison), "report.html": page(comparison, drawn),
        "results.json": comparison.to_json(),
    }  # fmt: skip
    for name, content in files.items():
        (folder / name).write_text(content, encoding="utf-8")
    return [folder / n for n in files] + [p for kinds in paths.values() for p in kinds.values()]


__all__ = ["markdown", "markdown_table", "page", "summary", "where", "write"]
