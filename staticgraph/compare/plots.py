"""The three pictures: when compiling has paid, times of steps, what is dispatched."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from staticgraph.compare.result import Comparison, PairResult
from staticgraph.compare.table import count, seconds
from staticgraph.errors import UnimplementedError

COLORS = {
    "numpy": "#8a8a8a", "dynamic": "#d1495b", "torch": "#edae49", "static": "#00798c",
    "unrolled": "#7fb8c2",
}  # fmt: skip
NAMES = {
    "numpy": "numpy, by hand", "dynamic": "define-by-run", "torch": "PyTorch",
    "static": "static graph", "unrolled": "static, a graph per length",
}  # fmt: skip
SHOWN = ("polynomial_autograd", "two_layer_optim", "elman_rnn")
FORMATS = ("svg", "png")


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
}  # fmt: skip


# ---------------------------------------------------------------- the pictures
def draw_break_even(plt: Any, comparison: Comparison) -> Any:
    """Seconds since the start over steps: where the lines cross, compiling has paid."""
    pairs = [p for p in comparison.pairs if p.name in SHOWN] or list(comparison.pairs[:3])
    figure, grid = plt.subplots(
        1, len(pairs), figsize=(5.2 * len(pairs), 4.6), squeeze=False, layout="constrained"
    )
    for axes, pair in zip(grid[0], pairs, strict=True):
        _curves(axes, pair)
    grid[0][0].set_ylabel("seconds, compiling included")
    handles = _legend(figure, grid[0])
    figure.legend(*handles, loc="outside lower center", ncols=min(6, 2 * len(pairs)))
    return figure


def _curves(axes: Any, pair: PairResult) -> None:
    even = pair.break_even("static", "dynamic")
    last = max(10.0 * (even or 1000), 100.0)
    steps = np.geomspace(1, last, 200)
    for f in pair.forms:
        axes.plot(
            steps, f.spent + steps * f.step_s, color=COLORS.get(f.form), lw=2.5, label=NAMES[f.form]
        )
    static = pair.of("static")
    axes.plot(
        steps, static.spent_cached + steps * static.step_s, color=COLORS["static"], lw=2, ls=":",
        label="static graph, cached",
    )  # fmt: skip
    if even is not None:
        at = static.spent + even * static.step_s
        axes.plot([even], [at], "o", color="black", ms=7)
        axes.annotate(
            f"pays from\nstep {even:,}", (even, at), xytext=(-12, 14), textcoords="offset points",
            ha="right", bbox={"boxstyle": "round", "fc": "white", "ec": "none", "alpha": 0.8},
        )  # fmt: skip
    axes.set(xscale="log", yscale="log", xlabel="steps", title=pair.name)


def _legend(figure: Any, grid: Sequence[Any]) -> tuple[list[Any], list[str]]:
    found: dict[str, Any] = {}
    for axes in grid:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    return list(found.values()), list(found)


def draw_times(plt: Any, comparison: Comparison) -> Any:
    """Bars: the time of a step of each form of each program."""
    return _bars(plt, comparison, "time of a step, seconds", lambda f: f.step_s, seconds)


def draw_dispatches(plt: Any, comparison: Comparison) -> Any:
    """Bars: operations dispatched, and kernels that the graph launches instead."""

    def of(f: Any) -> float | None:
        return (f.kernels if f.static else f.ops) or None

    label = "operations dispatched a step; of static graphs, kernels launched"
    return _bars(plt, comparison, label, of, count)


def _bars(
    plt: Any, comparison: Comparison, label: str, value: Callable[[Any], Any],
    told: Callable[[float], str],
) -> Any:  # fmt: skip
    from matplotlib.ticker import NullFormatter

    forms = [n for n in NAMES if any(p.form(n) for p in comparison.pairs) and n != "unrolled"]
    pairs = list(reversed(comparison.pairs))
    height = 0.8 / len(forms)
    figure, axes = plt.subplots(figsize=(10, 1.4 + 0.62 * max(len(pairs), 2)), layout="constrained")
    least, most = math.inf, 0.0
    for k, name in enumerate(forms):
        at, bars = [], []
        for i, pair in enumerate(pairs):
            found = pair.form(name)
            shown = None if found is None else value(found)
            if shown is not None:
                at.append(i + 0.4 - (k + 0.5) * height)
                bars.append(shown)
        drawn = axes.barh(at, bars, height, color=COLORS[name], label=NAMES[name])
        axes.bar_label(drawn, [told(b) for b in bars], padding=4, fontsize=9)
        least, most = min([least, *bars]), max([most, *bars])
    axes.set_yticks(range(len(pairs)), [p.name for p in pairs])
    start = 10 ** math.floor(math.log10(0.99 * least))  # bars of a length that can be compared
    axes.set(xscale="log", xlabel=label, ylim=(-0.6, len(pairs) - 0.4), xlim=(start, 4 * most))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(axis="y", visible=False)
    figure.legend(loc="outside upper center", ncols=len(forms))
    return figure


PICTURES: Mapping[str, Callable[[Any, Comparison], Any]] = {
    "break_even": draw_break_even, "times": draw_times, "dispatches": draw_dispatches,
}  # fmt: skip
CAPTIONS = {
    "break_even": "Time since the start over steps. Compiling is paid where the lines cross; "
    "dotted: with the machine code on disk.",
    "times": "Time of a step, median of alternating rounds.",
    "dispatches": "What is dispatched a step: operations one by one, or kernels that one call "
    "launches.",
}


def draw(comparison: Comparison, folder: Path, prefix: str = "") -> dict[str, dict[str, Path]]:
    """Write every picture in every format; returns the paths by picture and format.

    Raises:
      UnimplementedError: matplotlib is not installed.
    """
    plt = pyplot()
    out: dict[str, dict[str, Path]] = {}
    with plt.rc_context(dict(_STYLE)):
        for name, picture in PICTURES.items():
            figure = picture(plt, comparison)
            out[name] = {}
            for kind in FORMATS:
                path = out[name][kind] = folder / f"{prefix}{name}.{kind}"
                # a date would make a file new that has not changed
                more = {"metadata": {"Date": None}} if kind == "svg" else {"dpi": 160}
                figure.savefig(path, **more)
            plt.close(figure)
    return out


__all__ = ["CAPTIONS", "FORMATS", "PICTURES", "draw", "pyplot"]
