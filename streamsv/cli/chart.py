"""A running LLR drawn with block characters, against the two thresholds that decide."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from rich.text import Text

_EIGHTHS = " ▁▂▃▄▅▆▇█"
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

    ``span_s`` is the media time of the left and of the right edge. Where there was no speech, the
    last score is drawn on, dimmed.
    """
    columns = max(10, width - _LABEL_WIDTH)
    bars = _bars(points, span_s, columns)
    scale = thresholds.scale(llr for bar in bars if bar for llr in bar[:1])
    accept_row = max(1, _row_of(thresholds.accept_llr, scale, rows))
    reject_row = min(accept_row - 1, _row_of(thresholds.reject_llr, scale, rows))
    labels = {
        accept_row: f"accept {thresholds.accept_llr:+.3g}",
        reject_row: f"reject {thresholds.reject_llr:+.3g}",
    }
    lines = [
        _row(row, rows, bars, thresholds, scale, labels.get(row)) for row in reversed(range(rows))
    ]
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


def _row_of(llr: float, scale: Scale, rows: int) -> int:
    """The row, from 0 at the bottom, at whose lower edge a threshold is drawn."""
    return min(rows - 1, round(scale.share(llr) * rows))


def _row(
    row: int,
    rows: int,
    bars: Sequence[tuple[float, bool] | None],
    thresholds: Thresholds,
    scale: Scale,
    label: str | None,
) -> Text:
    line = Text(f"{label or '':>{_LABEL_WIDTH - 1}.{_LABEL_WIDTH - 1}} ", "dim")
    empty = (" ", "") if label is None else ("▁", "dim")
    for bar in bars:
        if bar is None:
            line.append(*empty)
            continue
        llr, is_heard = bar
        eighths = max(1, round(scale.share(llr) * rows * 8)) - 8 * row
        if eighths <= 0:
            line.append(*empty)
        else:
            style = thresholds.style_of(llr) if is_heard else f"dim {thresholds.style_of(llr)}"
            line.append(_EIGHTHS[min(8, eighths)], style)
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
