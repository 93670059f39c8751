"""Write the page on static and dynamic graphs: ``python docs/make_comparison.py [RESULTS]``.

RESULTS is a ``results.json`` of ``python -m staticgraph compare --out DIR``; it is kept as
``docs/comparison.json``, and its plots are drawn into ``docs/images``.  Without it the page is
written anew from the results that are kept.
"""

from __future__ import annotations

import re
import sys
import textwrap
import tomllib
from itertools import groupby
from pathlib import Path
from typing import Any

from staticgraph.compare import plots, report
from staticgraph.compare.result import Comparison, FormResult
from staticgraph.compare.table import COLUMNS, count, row, seconds, size, step_number, summary

FOLDER = Path(__file__).parent
PAGE, RESULTS, CLAIMS = (
    FOLDER / name for name in ("static-vs-dynamic.md", "comparison.json", "claims.toml")
)

INTRODUCTION = """\
# Static and dynamic graphs

The documents that this package grew out of teach by contrast: the same programs in numpy, on a
tape, and as a graph of TensorFlow. Along the way they say a good deal about static and dynamic
graphs. This page takes every such sentence and puts beside it what the package shows or measures.
Its numbers come from

    python -m staticgraph compare --out DIR
    python docs/make_comparison.py DIR/results.json

which runs each program in up to five forms, from the same numbers: by hand in numpy,
define-by-run (`staticgraph.dynamic`), as a static graph, unrolled where it has a loop, and the
define-by-run program with PyTorch in the place of `staticgraph.dynamic`. The
[examples](../examples/README.md) hold the programs. Each claim is given in few words, mostly its
own, with its places.

The documents: *Learning PyTorch with Examples* (the tutorial), its earlier form
*pytorch-examples*, a notebook that tells the same at greater length, a page of PyTorch's
documentation with its cheat sheet (and, below it, the tutorial once more), and a Chinese
translation of the section on control flow.
"""

NOT_SAID = """\
## What the documents leave out

- **Waiting.** A graph is compiled before it does anything. Whoever changes the program after each
  look at it pays that each time; the tables say how much, and the cache of machine code takes
  most of it away.
- **Finding mistakes.** A dynamic program stops at the line that is wrong, with the values at
  hand. A static one finds shapes and types that do not fit before it runs, at the line that
  builds the operation, and has no values to show.
- **Shapes that never come back.** A graph with open sizes is compiled once and bound to each new
  size. Where every step has sizes of its own, binding is paid every time.
- **What a tape cannot know.** It has to keep whatever a gradient might need, and to allocate what
  it computes. Both are gone in a graph, which knows the end before it begins.
"""

# At the end of which section a picture stands; that of the times stands before all of them.
PICTURES = {
    "Derivatives": "memory", "Optimising the graph": "dispatches", "Control flow": "loops",
}  # fmt: skip


class Numbers:
    """The numbers of a comparison as they stand in a sentence: ``{step elman_rnn dynamic}``."""

    def __init__(self, comparison: Comparison) -> None:
        self.comparison = comparison

    def put_into(self, text: str) -> str:
        """The text with its numbers."""

        def number(match: re.Match[str]) -> str:
            name, *arguments = match[1].split()
            return str(getattr(self, name)(*arguments))

        return re.sub(r"\{([^}]+)\}", number, text)

    def form(self, pair: str, form: str) -> FormResult:
        """A form of a pair."""
        return self.comparison.pair(pair).of(form)

    def step(self, pair: str, form: str = "static") -> str:
        """Time of a step."""
        return seconds(self.form(pair, form).step_s)

    def build(self, pair: str) -> str:
        """Time of building."""
        return seconds(self.form(pair, "static").build_s)

    def spent(self, pair: str, form: str = "static") -> str:
        """Time of building and compiling, nothing cached."""
        return seconds(self.form(pair, form).spent)

    def cached(self, pair: str, form: str = "static") -> str:
        """The same with machine code on disk."""
        return seconds(self.form(pair, form).spent_cached)

    def pays(self, pair: str, cached: bool = False) -> str:
        """Where the graph is ahead of define-by-run."""
        found = self.comparison.pair(pair).break_even(cached=cached)
        return "never" if found is None else f"from step {step_number(found)}"

    def pays_cached(self, pair: str) -> str:
        """The same with machine code on disk."""
        return self.pays(pair, True)

    def ops(self, pair: str, form: str = "dynamic") -> str:
        """Operations of a step."""
        return count(self.form(pair, form).ops)

    def more_ops(self, pair: str, other: str) -> str:
        """By how much that is more than in another pair."""
        return count(self.form(pair, "dynamic").ops - self.form(other, "dynamic").ops)

    def kernels(self, pair: str, form: str = "static") -> str:
        """Kernels of a step."""
        return count(self.form(pair, form).kernels)

    def allocated(self, pair: str, form: str) -> str:
        """Bytes allocated a step."""
        return size(self.form(pair, form).allocated)

    def working(self, pair: str, form: str) -> str:
        """Bytes needed at a time."""
        return size(self.form(pair, form).working)

    def compiled(self, pair: str, form: str = "static") -> str:
        """How often something was compiled."""
        n = self.form(pair, form).executables
        return "once" if n == 1 else f"{n} times"

    def plans(self, pair: str) -> str:
        """Bindings to sizes."""
        return count(self.form(pair, "static").plans)

    def factor(self, pair: str, slow: str, fast: str) -> str:
        """How many times as long a step of one form takes as that of another."""
        ratio = self.form(pair, slow).step_s / self.form(pair, fast).step_s
        return f"{ratio:.1f}" if ratio < 10 else f"{ratio:.0f}"

    def torch(self, pair: str) -> str:
        """PyTorch's step in brackets, where it was measured."""
        found = self.comparison.pair(pair).form("torch")
        return f" (PyTorch: {seconds(found.step_s)})" if found else ""

    def difference(self, pair: str, form: str) -> str:
        """How far losses are apart."""
        return f"{self.form(pair, form).difference:.0e}"

    def steps(self, pair: str) -> str:
        """Over how many steps that is."""
        return count(self.comparison.pair(pair).steps)

    def range(self, which: str) -> str:
        """Least and largest break-even of all pairs, cold or cached."""
        all_of = (p.break_even(cached=which == "cached") for p in self.comparison.pairs)
        found = sorted(e for e in all_of if e is not None)
        return f"step {step_number(found[0])} to {step_number(found[-1])}" if found else "never"

    def never(self) -> str:
        """In how many pairs it never pays."""
        n = sum(p.break_even() is None for p in self.comparison.pairs)
        return f"and in {n} of them never" if n else "without an exception"


def claims() -> list[dict[str, Any]]:
    """The claims in the order of the page."""
    found: list[dict[str, Any]] = tomllib.loads(CLAIMS.read_text(encoding="utf-8"))["claim"]
    return found


def told(claim: dict[str, Any], numbers: Numbers) -> str:
    """A claim and what was found."""
    text = numbers.put_into(claim["text"]).strip()
    parts = [f"**{claim['quote']}** ({'; '.join(claim['places'])})", *text.split("\n\n")]
    return "\n\n".join(p if p.startswith("!") else filled(p) for p in parts) + "\n"


def filled(paragraph: str) -> str:
    """A paragraph in lines of one length."""
    return textwrap.fill(
        " ".join(paragraph.split()), 100, break_long_words=False, break_on_hyphens=False
    )


def overview(comparison: Comparison) -> str:
    """All pairs, a row for each form."""
    rows = [[f"`{p.name}` {f.form}", *row(p, f)[1:]] for p in comparison.pairs for f in p.forms]
    return report.markdown_table(rows, ["program", *(c.title for c in COLUMNS[1:])])


def page(comparison: Comparison) -> str:
    """The page's text."""
    numbers = Numbers(comparison)
    out = [INTRODUCTION, "## In short\n"]
    out += [f"- {sentence}" for sentence in summary(comparison)]
    out += ["", filled(f"Measured on: {report.where(comparison)}") + "\n"]
    out.append(f"![{plots.CAPTIONS['times']}](images/compare_times.svg)\n")
    for title, group in groupby(claims(), lambda claim: claim["section"]):
        out.append(f"## {title}\n")
        out += [told(claim, numbers) for claim in group]
        if title in PICTURES:
            name = PICTURES[title]
            out.append(f"![{plots.CAPTIONS[name]}](images/compare_{name}.svg)\n")
    out += [NOT_SAID, "## All numbers\n", overview(comparison), ""]
    out += [f"- *{c.title}*: {c.meaning}" for c in COLUMNS[1:]]
    return "\n".join(out) + "\n"


def main(results: Path | None = None) -> None:
    """Keep results, if there are new ones, and write page and pictures."""
    if results is not None:
        RESULTS.write_text(results.read_text(encoding="utf-8"), encoding="utf-8")
    comparison = Comparison.from_json(RESULTS.read_text(encoding="utf-8"))
    for kinds in plots.draw(comparison, FOLDER / "images", "compare_").values():
        kinds["png"].unlink()  # the page shows the other form
    PAGE.write_text(page(comparison), encoding="utf-8")
    print(PAGE)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
