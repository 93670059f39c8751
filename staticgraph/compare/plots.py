"""The pictures: when compiling has paid, times of steps, what is dispatched, memory, loops.

All are as wide as a slide.  Forms differ by marker or line style as well as by colour, and the
colours are those that Okabe and Ito chose for readers who tell few apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from staticgraph.compare.pairs import GROUPS
from staticgraph.compare.result import Comparison, FormResult, PairResult
from staticgraph.compare.table import count, seconds, size, step_number
from staticgraph.errors import UnimplementedError


@dataclass(frozen=True, slots=True)
class Look:
    """How a form looks: in words, as a marker, as a line."""

    label: str
    color: str
    marker: str
    line: Any
    filled: bool = True


LOOKS = {
    "numpy": Look("numpy, by hand", "#767676", "o", "-."),
    "dynamic": Look("define-by-run", "#d55e00", "s", "-"),
    "torch": Look("PyTorch", "#e69f00", "^", "--"),
    "static": Look("static graph", "#0072b2", "D", "-"),
    "unrolled": Look("static, a graph for each length", "#0072b2", "D", (0, (6, 1)), filled=False),
}
IN_LOOPS = {
    "dynamic": "a loop in Python", "torch": "a loop in Python, PyTorch",
    "static": "one loop in the graph", "unrolled": "a graph for each length",
}  # fmt: skip
SHOWN = ("polynomial_autograd", "two_layer_optim", "elman_rnn")
FORMATS = ("svg", "png")
_WIDE, _ROW = 13.3, 0.235  # inches: a slide, and a row of text


def pyplot() -> Any:
    """matplotlib, drawing into files.

    Raises:
      UnimplementedError: it is not installed.
    """
    try:
        import matplotlib

        matplotlib.use("Agg", force=False)
        import matplotlib.pyplot as plt
    except ImportError:
        raise UnimplementedError(
            "the plots of a comparison need matplotlib, which is not installed",
            hint="pip install 'staticgraph[compare]'",
        ) from None
    return plt


_STYLE: Mapping[str, Any] = {
    "font.size": 13, "axes.titlesize": 14, "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "axes.axisbelow": True, "grid.alpha": 0.3, "legend.frameon": False,
    "svg.hashsalt": "staticgraph", "svg.fonttype": "path", "figure.dpi": 100,
    "figure.facecolor": "white", "savefig.facecolor": "white",  # also where slides are dark
}  # fmt: skip


# ---------------------------------------------------------------- lines
def draw_break_even(plt: Any, comparison: Comparison) -> Any:
    """Seconds since the start over steps: where the lines cross, compiling has paid."""
    pairs = [p for p in comparison.pairs if p.name in SHOWN] or list(comparison.pairs[:3])
    figure, grid = plt.subplots(
        1, len(pairs), figsize=(max(_WIDE * len(pairs) / 3, 7), 5.6), squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for axes, pair in zip(grid[0], pairs, strict=True):
        _curves(axes, pair)
    grid[0][0].set_ylabel("time since the start, compiling included")
    handles = _legend(grid[0])
    figure.legend(*handles, loc="outside lower center", ncols=3 if len(pairs) > 1 else 2)
    return figure


def _curves(axes: Any, pair: PairResult) -> None:
    even = pair.break_even("static", "dynamic")
    last = max(10.0 * (even or 1000), 100.0)
    steps = np.geomspace(1, last, 200)
    for f in pair.forms:
        look = LOOKS[f.form]
        width = 3.2 if f.form == "static" else 2.2
        axes.plot(
            steps, f.spent + steps * f.step_s, color=look.color, ls=look.line, lw=width,
            label=look.label,
        )  # fmt: skip
    static = pair.of("static")
    axes.plot(
        steps, static.spent_cached + steps * static.step_s, color=LOOKS["static"].color, lw=2.2,
        ls=":", label="static graph, machine code on disk",
    )  # fmt: skip
    if even is not None:
        axes.plot([even], [static.spent + even * static.step_s], "o", color="black", ms=9)
    pays = "compiling never pays" if even is None else f"pays from step {step_number(even)}"
    axes.set(xscale="log", yscale="log", xlabel="steps", title=f"{pair.name}\n{pays}")
    axes.yaxis.set_major_formatter(lambda value, _: _short(seconds(value)))
    axes.xaxis.set_major_formatter(lambda value, _: _short(count(value)))


def _legend(grid: Sequence[Any]) -> tuple[list[Any], list[str]]:
    found: dict[str, Any] = {}
    for axes in grid:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    return list(found.values()), list(found)


# ---------------------------------------------------------------- rows of dots
Value = Callable[[FormResult], float | None]
Told = Callable[[float], str]


@dataclass(frozen=True, slots=True)
class Panel:
    """A scale: what stands below it, what is shown, how its ticks are written, and whether what
    define-by-run takes of the graph's is told beside it."""

    label: str
    value: Value
    told: Told
    ratio: bool = True


def _dots(
    plt: Any, pairs: Sequence[PairResult], panels: Sequence[Panel], labels: Mapping[str, str]
) -> Any:
    """A row for each program, a dot for each form."""
    from matplotlib.ticker import LogLocator

    forms = [f for p in pairs for f in p.forms]
    panels = [p for p in panels if any(map(p.value, forms))]
    rows = _rows(pairs)
    figure, grid = plt.subplots(
        1, len(panels), figsize=(_WIDE, 1.7 + _ROW * (rows[-1] + 2)), squeeze=False, sharey=True,
        layout="constrained",
    )  # fmt: skip
    for axes, panel in zip(grid[0], panels, strict=True):
        axes.set_xscale("log")
        axes.autoscale(False, axis="x")  # the limits follow from what is shown
        least, most = np.inf, 0.0
        for y, pair in zip(rows, pairs, strict=True):
            found = {f.form: panel.value(f) for f in pair.forms if f.form in labels}
            shown = {name: v for name, v in found.items() if v}
            if not shown:
                continue
            least, most = min(least, *shown.values()), max(most, *shown.values())
            axes.plot(
                [min(shown.values()), max(shown.values())],
                [y, y],
                color="#c4c4c4",
                lw=1.5,
                zorder=1,
            )
            for name, v in shown.items():
                _dot(axes, v, y, name, labels[name])
            if panel.ratio:
                _ratio(axes, y, shown)
        if panel.ratio:
            _beside(axes, "define-by-run\n÷ static", 1, "axes fraction", va="top", fontsize=10)
        axes.set(xlabel=panel.label, xlim=(least / 2, most * 2))
        between = (1, 2, 5) if most < 50 * least else (1,)
        axes.xaxis.set_major_locator(LogLocator(subs=between, numticks=6))
        axes.xaxis.set_major_formatter(lambda value, _, told=panel.told: _short(told(value)))
        axes.minorticks_off()
        axes.grid(axis="y", visible=False)
    grid[0][0].set_yticks(rows, [p.name for p in pairs], fontsize=12)
    grid[0][0].set_ylim(rows[-1] + 0.8, -1.6)
    found_labels = dict(zip(*reversed(_legend(grid[0])), strict=True))
    names = [n for n in labels.values() if n in found_labels]
    figure.legend(
        [found_labels[n] for n in names], names, loc="outside upper center", ncols=len(names)
    )
    return figure


def _rows(pairs: Sequence[PairResult]) -> list[int]:
    """Where the rows are: those of a group together."""
    groups: list[str] = [g for g in GROUPS if any(p.group == g for p in pairs)]
    return [i + groups.index(p.group) for i, p in enumerate(pairs)]


def _dot(axes: Any, x: float, y: float, name: str, label: str) -> None:
    look = LOOKS[name]
    axes.plot(
        [x], [y], look.marker, color=look.color, ms=9 if look.filled else 14, label=label,
        ls="none", mfc=look.color if look.filled else "none", mew=1.8, zorder=3,
    )  # fmt: skip


def _ratio(axes: Any, y: float, shown: Mapping[str, float]) -> None:
    if not {"static", "dynamic"} <= shown.keys():
        return
    ratio = shown["dynamic"] / shown["static"]
    told = f"{ratio:,.0f}" if ratio >= 9.95 else f"{ratio:.1f}"
    _beside(axes, f"{told} ×", y, "data", va="center", fontsize=12)


def _beside(axes: Any, text: str, y: float, kind: str, **how: Any) -> None:
    axes.annotate(text, (1.012, y), xycoords=("axes fraction", kind), **how)


def _short(text: str) -> str:
    """A number without zeros behind the point.

    >>> _short("1.00 µs"), _short("10.0 kB"), _short("100 ms")
    ('1 µs', '10 kB', '100 ms')
    """
    number, space, unit = text.partition(" ")
    return (number.rstrip("0").rstrip(".") if "." in number else number) + space + unit


def _labels(comparison: Comparison) -> dict[str, str]:
    return {n: k.label for n, k in LOOKS.items() if any(p.form(n) for p in comparison.pairs)}


def draw_times(plt: Any, comparison: Comparison) -> Any:
    """The time of a step of each form of each program."""
    panel = Panel("time of a step", lambda f: f.step_s, seconds)
    return _dots(plt, comparison.pairs, [panel], _labels(comparison))


def draw_dispatches(plt: Any, comparison: Comparison) -> Any:
    """Operations dispatched, and kernels that the graph launches instead."""
    label = "operations dispatched a step; of static graphs, kernels launched"
    panel = Panel(label, lambda f: f.kernels if f.static else f.ops, count)
    return _dots(plt, comparison.pairs, [panel], _labels(comparison))


def draw_memory(plt: Any, comparison: Comparison) -> Any:
    """Bytes allocated in a step, and the most that are needed at a time."""
    panels = [
        Panel("allocated in a step", lambda f: f.allocated, size, ratio=False),
        Panel(
            "needed at a time; of static graphs, planned once", lambda f: f.working, size,
            ratio=False,
        ),
    ]  # fmt: skip
    return _dots(plt, comparison.pairs, panels, _labels(comparison))


def draw_loops(plt: Any, comparison: Comparison) -> Any:
    """Loops of Python, in the graph, and unrolled: steps, and what comes before the first one."""
    pairs = [p for p in comparison.pairs if p.loop]
    panels = [
        Panel("time of a step", lambda f: f.step_s, seconds),
        Panel(
            "building and compiling, nothing cached", lambda f: f.spent if f.static else None,
            seconds, ratio=False,
        ),
    ]  # fmt: skip
    labels = {n: k for n, k in IN_LOOPS.items() if any(p.form(n) for p in pairs)}
    return _dots(plt, pairs, panels, labels)


PICTURES: Mapping[str, Callable[[Any, Comparison], Any]] = {
    "break_even": draw_break_even, "times": draw_times, "dispatches": draw_dispatches,
    "memory": draw_memory, "loops": draw_loops,
}  # fmt: skip
CAPTIONS = {
    "break_even": "Time since the start over steps. Compiling is paid where the lines cross; "
    "dotted: with the machine code on disk.",
    "times": "Time of a step, median of alternating rounds.",
    "dispatches": "What is dispatched a step: operations one by one, or kernels that one call "
    "launches.",
    "memory": "Bytes that a step allocates, and the most that it needs at a time.",
    "loops": "Loops: run by Python, as a part of the graph, and unrolled into a graph for each "
    "length.",
}


def pictures_of(comparison: Comparison) -> list[str]:
    """Which pictures there are: that of loops only where something has one."""
    loops = any(p.loop for p in comparison.pairs)
    return [name for name in PICTURES if loops or name != "loops"]


def draw(comparison: Comparison, folder: Path, prefix: str = "") -> dict[str, dict[str, Path]]:
    """Write every picture in every format; returns the paths by picture and format.

    Raises:
      UnimplementedError: matplotlib is not installed.
    """
    plt = pyplot()
    out: dict[str, dict[str, Path]] = {}
    with plt.rc_context(dict(_STYLE)):
        for name in pictures_of(comparison):
            figure = PICTURES[name](plt, comparison)
            out[name] = {}
            for kind in FORMATS:
                path = out[name][kind] = folder / f"{prefix}{name}.{kind}"
                # a date would make a file new that has not changed
                more = {"metadata": {"Date": None}} if kind == "svg" else {"dpi": 144}
                figure.savefig(path, **more)
            plt.close(figure)
    return out


__all__ = ["CAPTIONS", "FORMATS", "PICTURES", "draw", "pictures_of", "pyplot"]
