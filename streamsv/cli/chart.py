"""A running LLR drawn with block characters, against the two thresholds that decide."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence

from rich.text import Text

_EIGHTHS = " ▁▂▃▄▅▆▇█"
_HANGING_EIGHTHS = " ▔▔▀▀▀▀██"
"""The same from above, as near as the characters come that every font has."""

_LABEL_WIDTH = 13


@dataclasses.dataclass(frozen=True, slots=True)
class Scale:
    """The LLRs at the two ends of a bar."""

    lowest: float
    highest: float

    def share(self, llr: float) -> float:
        """How much of a bar is filled, 0 to 1."""
        share = (llr - self.lowest) / (self.highest - self.lowest)
        return min(1.0, max(0.0, share))


@dataclasses.dataclass(frozen=True, slots=True)
class Thresholds:
    """The LLRs (natural log) that decide."""

    accept_llr: float
    reject_llr: float

    def scale(self, llrs: Iterable[float] = ()) -> Scale:
        """A scale with room beyond both thresholds, and for all of ``llrs``."""
        margin = (self.accept_llr - self.reject_llr) / 2
        known = (self.reject_llr - margin, self.accept_llr + margin, *llrs)
        return Scale(min(known), max(known))

    def style_of(self, llr: float) -> str:
        """Green from acceptance on, red from rejection down, yellow between."""
        if llr >= self.accept_llr:
            return "green"
        return "red" if llr <= self.reject_llr else "yellow"


@dataclasses.dataclass(frozen=True, slots=True)
class Grid:
    """Rows of ``unit`` LLR each, ``below`` of them under 0, which lies between two rows."""

    unit: float
    below: int

    @classmethod
    def around(cls, thresholds: Thresholds, llrs: Iterable[float], rows: int) -> Grid:
        """The finest grid of ``rows`` that shows 0, both thresholds and ``llrs``; up to a third
        coarser if lines of half a row can then be drawn nearer to the thresholds.
        """
        scale = thresholds.scale((0.0, *llrs))
        sides = (scale.highest, -scale.lowest)
        units = (side / count for side in sides if side > 0 for count in range(1, rows + 1))
        fits = (unit for unit in units if sum(_rows(side, unit) for side in sides) <= rows)
        finest = min(fits)
        ends = (thresholds.accept_llr, thresholds.reject_llr)

        def error(unit: float) -> float:
            return sum(abs(2 * end / unit - round(2 * end / unit)) * unit for end in ends)

        unit = min((finest * (1 + step / 24) for step in range(9)), key=error)
        return cls(unit, _rows(-scale.lowest, unit))

    def half_rows(self, llr: float) -> int:
        """The height of ``llr`` over the bottom, in half rows."""
        return round(2 * llr / self.unit) + 2 * self.below

    def glyph(self, llr: float, row: int) -> str:
        """What a bar from 0 to ``llr`` fills of ``row``, counted from 0 at the bottom.

        A bar is never shorter than an eighth: there was a score.
        """
        eighths = max(1, round(8 * abs(llr) / self.unit))
        rows_from_zero = row - self.below if llr >= 0 else self.below - 1 - row
        if rows_from_zero < 0:
            return " "
        characters = _EIGHTHS if llr >= 0 else _HANGING_EIGHTHS
        return characters[min(8, max(0, eighths - 8 * rows_from_zero))]


def _rows(side: float, unit: float) -> int:
    """Rows of ``unit`` that ``side`` takes, but for rounding errors."""
    return math.ceil(round(max(0.0, side) / unit, 6))


@dataclasses.dataclass(frozen=True, slots=True)
class Point:
    """An LLR at a media time."""

    at_s: float
    llr: float


@dataclasses.dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened at a media time, said under the chart."""

    at_s: float
    label: str
    style: str


def gauge(llr: float, thresholds: Thresholds, width: int) -> Text:
    """A bar for one LLR, with a notch at each threshold."""
    scale = thresholds.scale()
    filled = round(scale.share(llr) * width)
    ends = (thresholds.reject_llr, thresholds.accept_llr)
    notches = {min(width - 1, round(scale.share(end) * width)) for end in ends}
    bar = Text()
    for column in range(width):
        is_filled = column < filled
        glyph = ("┿" if is_filled else "┼") if column in notches else ("━" if is_filled else "─")
        bar.append(glyph, thresholds.style_of(llr) if is_filled else "dim")
    return bar


def chart(
    points: Iterable[Point],
    marks: Sequence[Mark],
    thresholds: Thresholds,
    span_s: tuple[float, float],
    width: int,
    rows: int,
) -> list[Text]:
    """The LLR over media time, ``rows`` high, and lines for marks and time.

    Bars grow from 0, up for the claimed speaker and down against; lines show 0 and the thresholds.

    ``span_s`` is the media time of the left and of the right edge. Where there was no speech, the
    last score is drawn on, dimmed.
    """
    columns = max(10, width - _LABEL_WIDTH)
    bars = _bars(points, span_s, columns)
    grid = Grid.around(thresholds, (bar[0] for bar in bars if bar), rows)
    levels = _levels(grid, thresholds, rows)
    lines = [_row(row, bars, thresholds, grid, levels.get(row)) for row in reversed(range(rows))]
    return [*lines, *_mark_lines(marks, span_s, columns), _time_line(span_s, columns)]


def _bars(
    points: Iterable[Point], span_s: tuple[float, float], columns: int
) -> list[tuple[float, bool] | None]:
    """For each column the LLR and whether it was heard there, or ``None`` before and after."""
    heard: dict[int, float] = {}
    for point in points:
        column = _column(point.at_s, span_s, columns)
        if column >= 0:
            heard[column] = point.llr
    bars: list[tuple[float, bool] | None] = []
    latest: float | None = None
    for column in range(columns):
        latest = heard.get(column, latest)
        is_past = bool(heard) and column <= max(heard)
        bars.append((latest, column in heard) if latest is not None and is_past else None)
    return bars


def _levels(grid: Grid, thresholds: Thresholds, rows: int) -> dict[int, tuple[str, str]]:
    """The rows that a line goes through, each with its label and the line's character."""

    def line(half_rows: int, lowest: int, highest: int) -> tuple[int, str]:
        if half_rows >= 2 * (highest + 1):
            return highest, "▔"
        row = max(lowest, half_rows // 2)
        return row, "─" if half_rows % 2 else "▁"

    accept, accept_glyph = line(grid.half_rows(thresholds.accept_llr), 1, rows - 1)
    reject, reject_glyph = line(grid.half_rows(thresholds.reject_llr), 0, accept - 1)
    zero, zero_glyph = line(grid.half_rows(0.0), 0, rows - 1)
    return {
        zero: ("0", zero_glyph),
        accept: (f"accept {thresholds.accept_llr:+.3g}", accept_glyph),
        reject: (f"reject {thresholds.reject_llr:+.3g}", reject_glyph),
    }


def _row(
    row: int,
    bars: Sequence[tuple[float, bool] | None],
    thresholds: Thresholds,
    grid: Grid,
    level: tuple[str, str] | None,
) -> Text:
    label, empty = level or ("", " ")
    line = Text.assemble((f"{label:>{_LABEL_WIDTH - 1}.{_LABEL_WIDTH - 1}} ", "dim"))
    for bar in bars:
        glyph = " " if bar is None else grid.glyph(bar[0], row)
        if bar is None or glyph == " ":
            line.append(empty, "dim")
        else:
            llr, is_heard = bar
            color = thresholds.style_of(llr)
            line.append(glyph, color if is_heard else f"dim {color}")
    return line


def _mark_lines(marks: Sequence[Mark], span_s: tuple[float, float], columns: int) -> list[Text]:
    """An arrow under each mark's column, its label on the side that has room; as many lines as
    that takes.
    """
    lines: list[Text] = []
    for mark in sorted(marks, key=lambda mark: mark.at_s):
        column = _column(mark.at_s, span_s, columns)
        if column < 0:
            continue
        label = f"▲ {mark.label}"
        start = _LABEL_WIDTH + column
        if column + len(label) > columns:
            label = f"{mark.label} ▲"
            start = max(0, start + 1 - len(label))
        end = start + len(label)
        if not lines or lines[-1].plain[max(0, start - 1) : end + 1].strip():
            lines.append(Text(" " * (_LABEL_WIDTH + columns)))
        lines[-1] = lines[-1][:start] + Text(label, mark.style) + lines[-1][end:]
    return lines


def _time_line(span_s: tuple[float, float], columns: int) -> Text:
    left, right = f"{span_s[0]:.0f} s", f"{span_s[1]:.0f} s"
    return Text(" " * _LABEL_WIDTH + left + right.rjust(columns - len(left)), "dim")


def _column(at_s: float, span_s: tuple[float, float], columns: int) -> int:
    share = (at_s - span_s[0]) / (span_s[1] - span_s[0])
    return min(int(share * columns), columns - 1) if share >= 0 else -1
