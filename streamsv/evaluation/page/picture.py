"""The plots as PNG, drawn by matplotlib, which the extra ``report`` brings."""

from __future__ import annotations

import importlib
import io
from pathlib import Path
from typing import Any

from streamsv.errors import ConfigError
from streamsv.evaluation.heard import HeardSet
from streamsv.evaluation.page.figures import plots_of
from streamsv.evaluation.page.plot import Plot
from streamsv.evaluation.tables import Report

COLORS = ("#1b6ca8", "#c8501e", "#3a8a3f", "#8a4fa3", "#8c6d1f", "#5b6770")
"""As the light style of the page has them."""


def check_renderer() -> None:
    """Raise `ConfigError`, with the command, unless matplotlib is installed."""
    _matplotlib("figure")


def write_plots(report: Report, heard: HeardSet, folder: Path) -> list[Path]:
    """Write every plot of the report into ``folder``, which exists; returns the files.

    Raises `ConfigError` without matplotlib and for a file that cannot be written.
    """
    files = []
    for plot in plots_of(report, heard):
        file = folder / f"{plot.key}.png"
        try:
            file.write_bytes(_png(plot))
        except OSError as error:
            raise ConfigError(f"{file} cannot be written: {error.strerror}.", str(file)) from error
        files.append(file)
    return files


def _png(plot: Plot) -> bytes:
    figure = _matplotlib("figure").Figure(figsize=(6.4, 4.4), dpi=150, layout="constrained")
    axes = figure.subplots()
    for guide in plot.guides:
        axes.plot(*zip(*guide, strict=True), color="#999999", linewidth=1, linestyle=":")
    for band in plot.bands:
        xs = [x for x, _ in band.low]
        low, high = [y for _, y in band.low], [y for _, y in band.high]
        axes.fill_between(xs, low, high, color=_color(band.series), alpha=0.15, linewidth=0)
    for bars in plot.bars:
        color = _color(bars.series)
        axes.stairs(bars.heights, bars.edges, fill=True, color=color, alpha=0.4, label=bars.name)
    for line in plot.lines:
        axes.plot(
            *zip(*line.points, strict=True),
            color=_color(line.series),
            linestyle="--" if line.is_dashed else "-",
            marker="o" if line.tips else None,
            markersize=4,
            label=line.name,
        )
    for axis, set_limits, set_ticks, set_label in (
        (plot.x, axes.set_xlim, axes.set_xticks, axes.set_xlabel),
        (plot.y, axes.set_ylim, axes.set_yticks, axes.set_ylabel),
    ):
        set_limits(axis.low, axis.high)
        set_ticks([where for where, _ in axis.ticks], [text for _, text in axis.ticks])
        set_label(axis.label)
    axes.set_title(plot.title)
    axes.grid(color="#e4e4e4", linewidth=0.6)
    axes.set_axisbelow(True)
    if plot.legend:
        axes.legend(frameon=False, fontsize="small")
    image = io.BytesIO()
    figure.savefig(image, format="png")
    return image.getvalue()


def _color(series: int) -> str:
    return COLORS[series % len(COLORS)]


def _matplotlib(module: str) -> Any:
    try:
        return importlib.import_module(f"matplotlib.{module}")
    except ImportError as error:
        raise ConfigError(
            "Plots as PNG need matplotlib: pip install 'streamsv[report]'. The page of --report "
            "needs nothing and holds the same plots.",
            "matplotlib",
        ) from error
