"""The log of a run as a picture."""

from __future__ import annotations

import json
from pathlib import Path

_NOT_LOSSES = ("step", "audio_s_per_s", "left_s", "lr", "skipped")


def read_log(log: Path) -> dict[str, list[tuple[int, float]]]:
    """The curves of a ``log.jsonl``: for each name, (step, value).

    A line that a kill cut short is left out. A run that resumed logs some steps twice; the later
    line counts.
    """
    rows: dict[int, dict[str, float]] = {}
    for line in log.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        rows[row["step"]] = row
    curves: dict[str, list[tuple[int, float]]] = {}
    for step in sorted(rows):
        for name, value in rows[step].items():
            if name != "step":
                curves.setdefault(name, []).append((step, value))
    return curves


def plot_run(folder: Path) -> Path | None:
    """Draw ``losses.png`` from ``log.jsonl``; None without a log or without matplotlib."""
    log = folder / "log.jsonl"
    if not log.is_file():
        return None
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return None
    curves = read_log(log)
    losses = [name for name in curves if name not in _NOT_LOSSES]
    if not losses:
        return None
    figure = Figure(figsize=(7, 2.2 * (len(losses) + 1)), layout="constrained")
    axes = figure.subplots(len(losses) + 1, 1, sharex=True, squeeze=False)[:, 0]
    for axis, name in zip(axes, [*losses, "lr"], strict=True):
        steps, values = zip(*curves[name], strict=True)
        axis.plot(steps, values)
        axis.set_ylabel(name)
        axis.grid(alpha=0.3)
    axes[-1].set_xlabel("step")
    target = folder / "losses.png"
    figure.savefig(target)
    return target
