"""The ratios of a run as a picture."""

from __future__ import annotations

import io
from pathlib import Path

from benchmarks.peers import FLOOR, OURS, PEERS
from benchmarks.results import Results, put
from benchmarks.verdict import ratio


def draw(results: Results, path: Path) -> None:
    """For each work, how many times longer than ours each implementation takes, on a log scale."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    variants = [
        (key, rows)
        for key, rows in results.variants().items()
        if any(ratio(rows, p) for p in PEERS if p != OURS)
    ]
    figure, axes = plt.subplots(figsize=(8, 1.2 + 0.34 * max(1, len(variants))))
    markers = dict(zip([p for p in PEERS if p != OURS], "|osD^v", strict=False))
    for peer, marker in markers.items():
        points = [(r, k) for k, (_, rows) in enumerate(variants) if (r := ratio(rows, peer))]
        if points:
            label = "floor" if peer == FLOOR else PEERS[peer].label
            color = "black" if peer == FLOOR else None
            axes.plot(
                *zip(*points, strict=True),
                marker,
                label=label,
                color=color,
                markersize=7,
                alpha=0.8,
            )
    axes.axvline(1.0, color="gray", linewidth=1)
    axes.set_xscale("log")
    axes.set_yticks(range(len(variants)), [f"{work} {variant}" for (work, variant), _ in variants])
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    axes.set_xlabel("time relative to staticgraph (right of the line: staticgraph is faster)")
    if variants:
        axes.legend(
            loc="upper center",
            bbox_to_anchor=(0.4, -0.5 / (1.2 + 0.34 * len(variants)) - 0.03),
            ncols=6,
            frameon=False,
        )
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110, bbox_inches="tight")
    plt.close(figure)
    put(path, picture.getvalue())
