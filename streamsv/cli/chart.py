"""A running LLR drawn with block characters, against the two thresholds that decide."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from rich.text import Text

_EIGHTHS = " ▁▂▃▄▅▆▇█"
_LABEL_WIDTH = 12


@dataclasses.dataclass(frozen=True, slots=True)
class Thresholds:
    """The LLRs (natural log) that decide."""

    accept_llr: float
    reject_llr: float

    def height_of(self, llr: float) -> float:
        """Where ``llr`` is drawn, 0 to 1: rejection at a quarter, acceptance at three quarters."""
        between = (llr - self.reject_llr) / (self.accept_llr - self.reject_llr)
        return min(1.0, max(0.0, 0.25 + 0.5 * between))

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
    filled = round(thresholds.height_of(llr) * width)
    notches = {width // 4, width - width // 4}
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
    """The LLR over media time, ``rows`` (a multiple of 4) high, and lines for marks and time.

    ``span_s`` is the media time of the left and of the right edge. Where there was no speech, the
    last score is drawn on, dimmed.
    """
    columns = max(10, width - _LABEL_WIDTH)
    bars = _bars(points, span_s, columns)
    labels = {
        3 * rows // 4: f"accept {thresholds.accept_llr:+.1f}",
        rows // 4: f"reject {thresholds.reject_llr:+.1f}",
    }
    lines = [_row(row, rows, bars, thresholds, labels) for row in reversed(range(rows))]
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


def _row(
    row: int,
    rows: int,
    bars: Sequence[tuple[float, bool] | None],
    thresholds: Thresholds,
    labels: dict[int, str],
) -> Text:
    label = labels.get(row, "")
    line = Text(f"{label:>{_LABEL_WIDTH - 1}.{_LABEL_WIDTH - 1}} ", "dim")
    empty = ("▁", "dim") if row in labels else (" ", "")
    for bar in bars:
        if bar is None:
            line.append(*empty)
            continue
        llr, is_heard = bar
        eighths = max(1, round(thresholds.height_of(llr) * rows * 8)) - 8 * row
        if eighths <= 0:
            line.append(*empty)
        else:
            style = thresholds.style_of(llr) if is_heard else f"dim {thresholds.style_of(llr)}"
            line.append(_EIGHTHS[min(8, eighths)], style)
    return line


def _mark_lines(marks: Sequence[Mark], span_s: tuple[float, float], columns: int) -> list[Text]:
    """One line with an arrow under each mark's column, its label on the side that has room."""
    line = Text(" " * (_LABEL_WIDTH + columns))
    for mark in marks:
        column = _column(mark.at_s, span_s, columns)
        if not 0 <= column < columns:
            continue
        label = f"▲ {mark.label}"
        start = column
        if column + len(label) > columns:
            label = f"{mark.label} ▲"
            start = max(0, column + 1 - len(label))
        at = _LABEL_WIDTH + start
        line = line[:at] + Text(label, mark.style) + line[at + len(label) :]
    line.rstrip()
    return [line] if line.plain else []


def _time_line(span_s: tuple[float, float], columns: int) -> Text:
    left, right = f"{span_s[0]:.0f} s", f"{span_s[1]:.0f} s"
    return Text(" " * _LABEL_WIDTH + left + right.rjust(columns - len(left)), "dim")


def _column(at_s: float, span_s: tuple[float, float], columns: int) -> int:
    share = (at_s - span_s[0]) / (span_s[1] - span_s[0])
    return min(int(share * columns), columns - 1) if share >= 0 else -1
