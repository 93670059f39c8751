"""`docs/performance.md`, and the table of speeds in the README, made from files of results."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from benchmarks.case import Work, load
from benchmarks.peers import OURS
from benchmarks.results import Results, Row, put
from benchmarks.table import duration, markdown, size
from benchmarks.verdict import judge, ratio, row_of

INTRODUCTION = """\
# Performance

Made by `python -m benchmarks report` from {sources}; do not edit.

Every number comes from a run in which each implementation has a process of its own and the
processes take turns, round by round. A time is the median over rounds, with the quartiles as
differences from it. **Ratio** is an implementation's time over staticgraph's: above 1, staticgraph
is faster. **Of copy** and **of GEMM** relate the bytes that have to be moved and the operations
that have to be done to what a copy that moves about as many bytes, and a large product of
matrices, reached on the same machine in the same run (the best of them, where there are several
runs). **First** is what
building, compiling and the first step take, with empty caches. **Memory** is how much the process
grew from before building to its peak.
"""

# what the README shows: a variant of a work, and what it is called there
SHOWN = {
    ("scalar", "Session.run"): "`Session.run` of a·b + 1",
    ("cubic_fit", "2000"): "cubic fit of 2000 points, a step",
    ("cubic_loop", "2000"): "the same, the loop inside the graph",
    ("two_layer", "1000-100-10"): "network of two layers, a step",
    ("convnet", "batch 128"): "convolutional network for MNIST, a step",
    ("elman_rnn", "100x32x64"): "Elman network over 100 steps, a step",
    ("char_lstm", "50x50x128"): "character LSTM, a step",
    ("newton", "1000 with gradient"): "Newton's method until it converges, with gradient",
    ("chain", "10M"): "tanh, exp and a division of 10 million numbers",
    ("adam", "10M"): "Adam, 10 million parameters",
}
COLUMNS = {
    "PyTorch": ("torch", "torch_layer"), "JAX": ("jax",), "TensorFlow 1": ("tf1",),
    "PyTensor": ("pytensor",),
}  # fmt: skip
MARKS = "<!-- speeds: made by `python -m benchmarks report` -->", "<!-- end of speeds -->"


def summary(results: Results) -> str:
    """The README's table: how many times longer than ours each peer takes."""
    head = ["", "staticgraph", *COLUMNS]
    lines = [" | ".join(head), " | ".join(["---", *["---:"] * (len(head) - 1)])]
    variants = results.variants()
    for key, title in SHOWN.items():
        rows = variants.get(key, [])
        ours = row_of(rows, OURS)
        if ours is None or "median_s" not in ours:
            continue
        cells = [title, duration(ours["median_s"])]
        for peers in COLUMNS.values():
            # the better way to write it, where a peer has two
            seen = [r for peer in peers if (r := ratio(rows, peer)) is not None]
            cells.append(f"{_three(min(seen))}×" if seen else "")
        lines.append(" | ".join(cells))
    return "\n".join(f"| {line} |" for line in lines)


def _three(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def document(results: Results, names: Sequence[str], folder: str, picture: str) -> str:
    """The document as Markdown.

    Args:
      names: the names of the files of results.
      folder: where they are, as seen from the document.
      picture: where the plot is, as seen from the document.
    """
    sources = " and ".join(f"[`{name}`]({folder}/{name})" for name in names)
    works = _works(results)
    parts = [
        INTRODUCTION.format(sources=sources),
        _machine(results),
        f"![times relative to staticgraph]({picture})",
        "## Targets\n\n" + _targets(results, works),
    ]
    for name, work in works.items():
        parts.append(f"## {work.title}\n" + _body(work))
        for (of, variant), rows in results.variants().items():
            if of == name:
                parts.append(f"**{variant}**, a {work.unit}:\n\n" + _table(results, rows))
                parts += filter(None, [_facts(rows)])
        if name == "graph_size":
            parts += filter(None, [_slopes(results)])
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _works(results: Results) -> dict[str, Work]:
    names = dict.fromkeys(row["work"] for row in results.rows)
    package = results.run.get("package", "benchmarks.works")
    return {name: load(name, package) for name in names}


def _body(work: Work) -> str:
    lines = (work.module.__doc__ or "").strip().splitlines()[1:]
    text = "\n".join(lines).strip()
    floor = f"The floor: {work.floor[0].lower()}{work.floor[1:]}." if work.floor else ""
    return "\n" + "\n\n".join(filter(None, [text, floor]))


def _machine(results: Results) -> str:
    run, top = results.run, results.ceilings
    machine = run["machine"]
    versions = {f"{k} {v}" for seen in run["versions"].values() for k, v in seen.items()}
    lines = [
        f"- {run['date']}, {machine['cpu']}, {machine['cores']} cores, "
        f"{machine['memory_bytes'] / 2**30:.0f} GiB, {machine['system']}",
        f"- {', '.join(sorted(versions))}",
        f"- copy {top['copy'] / 1e9:.1f} GB/s, GEMM {top['gemm'] / 1e9:.0f} GFLOP/s",
    ]
    if run.get("load") is not None:
        lines.append(f"- load before the run: {run['load']:.2f}")
    if run.get("quick"):
        lines.append("- **a quick run with small sizes: not to be quoted**")
    lines += [f"- not run: {text}" for text in run.get("skipped", [])]
    return "\n".join(lines)


def _targets(results: Results, works: dict[str, Work]) -> str:
    lines = ["| work | target | seen | |", "|---|---|---:|---|"]
    for (name, variant), rows in results.variants().items():
        for target in works[name].targets:
            if target.variants and variant not in target.variants:
                continue
            v = judge(target, rows, results.ceilings["copies"])
            mark = {True: "met", False: "**missed**", None: ""}[v.met]
            lines.append(f"| {name} {variant} | {v.text} | {v.seen} | {mark} |")
    return "\n".join(lines)


def _table(results: Results, rows: Sequence[Row]) -> str:
    return markdown(rows, results.ceilings["copies"], results.ceilings["gemm"])


def _facts(rows: Sequence[Row]) -> str:
    lines = [
        f"- {row['peer']}: " + ", ".join(f"{k} {_number(k, v)}" for k, v in row["facts"].items())
        for row in rows
        if row.get("facts")
    ]
    return "\n".join(lines)


def _number(name: str, value: object) -> str:
    if name.endswith("_bytes") and isinstance(value, int | float):
        return size(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return (
            duration(value)
            if name.endswith("_s")
            else f"{value:,.6g}"
            if isinstance(value, float)
            else f"{value:,}"
        )
    return str(value)


def slope(points: Sequence[tuple[float, float]]) -> float:
    """The power of the size that a time grows with: 1 is linear.

    >>> round(slope([(10, 1.0), (100, 10.0), (1000, 100.0)]), 3)
    1.0
    """
    xs, ys = [math.log(x) for x, _ in points], [math.log(y) for _, y in points]
    mx, my = sum(xs) / len(xs), sum(ys) / len(ys)
    spread = sum((x - mx) ** 2 for x in xs)
    return sum((x - mx) * (y - my) for x, y in zip(xs, ys, strict=True)) / spread


def _slopes(results: Results) -> str:
    seen: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for row in results.rows:
        facts = row.get("facts", {})
        if row["work"] != "graph_size" or not facts.get("operations"):
            continue
        for stage in ("build_s", "differentiate_s", "compile_s"):
            if facts.get(stage, 0) > 0:
                seen.setdefault((row["peer"], stage), []).append(
                    (facts["operations"], facts[stage])
                )
    lines = [
        f"| {peer} | {stage[:-2]} | {slope(points):.2f} "
        f"| {duration(points[-1][1] / points[-1][0])} |"
        for (peer, stage), points in seen.items()
        if len(points) > 1
    ]
    head = [
        "| | stage | grows with the power | an operation, at the largest |",
        "|---|---|---:|---:|",
    ]
    return "\n".join(head + lines) if lines else ""


def write(results: Results, sources: Sequence[Path], root: Path) -> Path:
    """Write the document and its plot into ``docs/`` under `root`, and the README's table."""
    from benchmarks.plot import draw

    docs = root / "docs"
    draw(results, docs / "images" / "performance.png")
    path = docs / "performance.md"
    names = [s.name for s in sources]
    text = document(results, names, "../benchmarks/results", "images/performance.png")
    put(path, text.encode())
    readme = root / "README.md"
    if readme.exists():
        before, start, rest = readme.read_text(encoding="utf-8").partition(MARKS[0])
        _, end, after = rest.partition(MARKS[1])
        if start and end:
            parts = [before + start, summary(results), end + after]
            put(readme, "\n\n".join(parts).encode())
    return path
