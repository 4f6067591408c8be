"""The chart shows where the score stands against both thresholds, in any width."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamsv.cli.chart import Grid, Mark, Point, Thresholds, chart, gauge

THRESHOLDS = Thresholds(3.0, -3.0)
LLRS = st.floats(-1e6, 1e6)
TIMES = st.floats(0, 60)


def plain(points, marks=(), width=60, rows=8, span_s=(0.0, 10.0)):
    lines = chart(points, list(marks), THRESHOLDS, span_s, width, rows)
    return [line.plain for line in lines]


@given(
    points=st.lists(st.builds(Point, TIMES, LLRS), max_size=30),
    marks=st.lists(st.builds(Mark, TIMES, st.just("a voice"), st.just("bold")), max_size=4),
    width=st.integers(30, 120),
    rows=st.integers(3, 12),
)
def test_no_line_is_wider_than_asked_and_no_chart_higher(points, marks, width, rows):
    lines = plain(points, marks, width, rows, (0.0, 60.0))
    assert all(len(line) <= width for line in lines)
    assert rows + 1 <= len(lines) <= rows + 1 + len(marks)


@given(low=st.floats(-20, 20), high=st.floats(-20, 20))
def test_a_higher_score_is_never_drawn_lower(low, high):
    low, high = sorted((low, high))
    heights = []
    for llr in (low, high):
        column = [line[-1] for line in plain([Point(9.9, llr), Point(0.0, 20), Point(1, -20)])[:8]]
        grown = sum(glyph in "▂▃▄▅▆▇█" for glyph in column)
        heights.append(grown if llr >= 0 else -sum(glyph in "▀█" for glyph in column))
    assert heights[0] <= heights[1]


@given(
    llrs=st.lists(st.floats(-40, 40), min_size=1, max_size=5),
    rows=st.integers(3, 12),
)
def test_bars_grow_from_zero_up_for_the_speaker_and_down_against(llrs, rows):
    for llr in llrs:
        points = [Point(0.0, each) for each in llrs] + [Point(9.9, llr)]
        lines = plain(points, rows=rows)[:rows]
        grid = Grid.around(THRESHOLDS, [llrs[-1], llr], rows)
        assert 0 <= grid.below <= rows
        above, below = lines[: rows - grid.below], lines[rows - grid.below :]
        empty_side = below if llr >= 0 else above
        assert all(line[-1] in " ▁─▔" for line in empty_side)


@given(
    accept=st.floats(0.5, 20),
    reject=st.floats(-20, -0.5),
    llr=st.floats(-40, 40),
    rows=st.integers(3, 12),
)
def test_a_threshold_is_drawn_within_a_quarter_of_a_row(accept, reject, llr, rows):
    grid = Grid.around(Thresholds(accept, reject), [llr], rows)
    for threshold in (accept, reject):
        drawn = (grid.half_rows(threshold) / 2 - grid.below) * grid.unit
        assert abs(drawn - threshold) <= grid.unit / 4 + 1e-9


def test_zero_and_both_thresholds_have_a_line_and_a_label():
    lines = plain([Point(1.0, 4.0)])
    labels = [line[:13].strip() for line in lines[:8] if line[:13].strip()]
    assert labels == ["accept +3", "0", "reject -3"]
    assert all(line[-1] in "▁─" for line in lines[:8] if line[:13].strip())


def test_a_stranger_is_no_tall_block_above_the_line():
    lines = plain([Point(0.0, -2.0), Point(9.9, -5.0)])
    zero = next(i for i, line in enumerate(lines) if line.split()[:1] == ["0"])
    assert not any(glyph in "".join(lines[: zero + 1]) for glyph in "▂▃▄▅▆▇█▀")
    assert "█" in "".join(lines[zero + 1 : 8])


def test_accept_stands_above_reject_whatever_the_scores():
    for llr in (-1e4, 0.0, 1e4):
        lines = plain([Point(1.0, llr)])
        accept = next(i for i, line in enumerate(lines) if "accept +3" in line)
        reject = next(i for i, line in enumerate(lines) if "reject -3" in line)
        assert accept < reject


def test_silence_draws_the_last_score_on_and_the_future_is_empty():
    above_zero = next(i for i, line in enumerate(plain([])) if line.split()[:1] == ["0"])
    line = plain([Point(2.0, 6.0), Point(5.0, 6.0)], width=63)[above_zero]
    assert line[13:].rstrip() == "▁" * 10 + "█" * 16 + "▁" * 24


def test_marks_that_would_overlap_get_lines_of_their_own():
    marks = [Mark(5.0, "one", ""), Mark(5.2, "two", ""), Mark(9.9, "at the edge", "")]
    lines = plain([], marks)
    assert "▲ one" in lines[8]
    assert "▲ two" in lines[9]
    assert lines[9].endswith("at the edge ▲")


@given(llr=LLRS, width=st.integers(8, 80))
def test_a_gauge_is_as_wide_as_asked_with_both_thresholds_on_it(llr, width):
    bar = gauge(llr, THRESHOLDS, width).plain
    assert len(bar) == width
    assert sum(glyph in "┿┼" for glyph in bar) == 2


def test_the_color_says_on_which_side_of_the_thresholds_a_score_is():
    assert [THRESHOLDS.style_of(llr) for llr in (-3.0, 0.0, 3.0)] == ["red", "yellow", "green"]
