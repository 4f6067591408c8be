"""What is to be drawn, whatever draws it: lines, bands and bars between two axes.

Coordinates are those of the paper: an axis of logarithms holds logarithms, and its ticks say what
they stand for. ``series`` numbers the colors from 0; one number is one thing in every plot.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Axis:
    """From ``low`` to ``high``, with ticks (where, what is written there)."""

    label: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]


@dataclass(frozen=True, slots=True)
class Line:
    """A line through ``points``; ``tips`` is what each point says when it is pointed at."""

    name: str
    series: int
    points: Points
    is_dashed: bool = False
    tips: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Band:
    """The area between two lines over the same x."""

    series: int
    low: Points
    high: Points


@dataclass(frozen=True, slots=True)
class Bars:
    """A histogram: ``edges`` (n + 1), ``heights`` (n)."""

    name: str
    series: int
    edges: tuple[float, ...]
    heights: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Plot:
    """One picture; ``key`` names its file, ``guides`` are thin lines from one point to another."""

    key: str
    title: str
    x: Axis
    y: Axis
    lines: tuple[Line, ...] = ()
    bands: tuple[Band, ...] = ()
    bars: tuple[Bars, ...] = ()
    guides: tuple[Points, ...] = ()

    @property
    def legend(self) -> tuple[tuple[str, int, bool], ...]:
        """Name, series and whether dashed, of everything that has a name."""
        named = [(bar.name, bar.series, False) for bar in self.bars]
        named += [(line.name, line.series, line.is_dashed) for line in self.lines]
        return tuple(named)


def points(xs: npt.ArrayLike, ys: npt.ArrayLike) -> Points:
    """Pairs of plain numbers."""
    pairs = zip(np.asarray(xs).tolist(), np.asarray(ys).tolist(), strict=True)
    return tuple((float(x), float(y)) for x, y in pairs)


def round_ticks(high: float, unit: str = "") -> tuple[float, tuple[tuple[float, str], ...]]:
    """A round number at or above ``high``, and about five round ticks from 0 up to it.

    >>> round_ticks(23.0, " %")[0]
    25.0
    """
    step = 10.0 ** np.floor(np.log10(max(high, 1e-9) / 4))
    step *= next(factor for factor in (1, 2, 2.5, 5, 10) if 5 * step * factor >= high)
    count = int(np.ceil(high / step - 1e-9))
    return float(step * count), tuple(
        (float(step * n), f"{step * n:g}{unit}") for n in range(count + 1)
    )
