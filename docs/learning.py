"""The picture of what training brought, in docs/results.md: docs/images/learning.png.

    python docs/learning.py [docs/results/learning.jsonl [docs/images/learning.png]]

A line for each kind of last layer, so that like stands beside like; needs matplotlib.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

DOCS = Path(__file__).resolve().parent
POINTS = ((1, "1 s"), (3, "3 s"), (None, "whole"))
LAYERS = {"as trained": "#8a8a8a", "whitened": "#3b6fb6", "tells voices apart": "#c8553d"}


def draw(rows: list[dict[str, Any]], target: Path) -> None:
    """Pooled error in % against hours heard, one plot for each amount of speech."""
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    for axes, (seconds, name) in zip(figure.subplots(1, len(POINTS)), POINTS, strict=True):
        for layer, color in LAYERS.items():
            points = sorted(
                (row["hours_heard"], row["pooled"][row["seconds"].index(seconds)])
                for row in rows
                if row["last_layer"] == layer and not row["checkpoint"].startswith("mean")
            )
            axes.plot(*zip(*points, strict=True), "o-", color=color, label=layer)
            means = [
                (row["hours_heard"], row["pooled"][row["seconds"].index(seconds)])
                for row in rows
                if row["last_layer"] == layer and row["checkpoint"].startswith("mean")
            ]
            for hours, rate in means:
                axes.plot(hours, rate, "x", color=color)
        axes.set_title(f"{name}")
        axes.set_xlabel("hours heard")
        axes.set_ylim(0, 17)
        axes.grid(color="#e4e4e4", linewidth=0.6)
    figure.axes[0].set_ylabel("pooled equal error rate, %")
    figure.axes[0].legend(frameon=False, fontsize="small", title="last layer; x: mean of runs")
    figure.savefig(target, dpi=110)


def main(arguments: list[str]) -> int:
    """Read the rows, draw them."""
    source = DOCS / "results" / "learning.jsonl"
    target = DOCS / "images" / "learning.png"
    source, target = [Path(each) for each in arguments] + [source, target][len(arguments) :]
    rows = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()]
    draw(rows, target)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
