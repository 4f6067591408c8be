"""The page: it loads nothing, shows every plot, and says in words what came out."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamsv.engine import Engine
from streamsv.evaluation.heard import HeardEncoder, HeardSet
from streamsv.evaluation.measures import Calls, Trials
from streamsv.evaluation.page import write_page, write_plots
from streamsv.evaluation.page.figures import plots_of
from streamsv.evaluation.page.plot import round_ticks
from streamsv.evaluation.page.svg import svg
from streamsv.evaluation.page.words import in_short
from streamsv.evaluation.report import measure

POINTS = (1.0, 3.0, None)


def made_up(name: str = "calls & <people>", promised: float = 0.02) -> HeardSet:
    """Scores of 12 people that grow apart with speech, from ours and from a rival."""
    draw = np.random.default_rng(5)
    people = [f"p{n}" for n in range(12)]
    pairs = [(a, b) for a in people for b in people] + [(a, a) for a in people]
    is_target = np.array([a == b for a, b in pairs])
    speakers = tuple(a for a, _ in pairs), tuple(b for _, b in pairs)

    def trials(apart: float, has_llrs: bool) -> Trials:
        llrs = draw.normal(0, 2, len(pairs)) + np.where(is_target, apart, -apart)
        return Trials(llrs / 20, llrs if has_llrs else None, is_target, *speakers)

    ours = {point: trials(2.0 + place, True) for place, point in enumerate(POINTS)}
    theirs = {point: trials(1.5, False) for point in POINTS}
    verdicts = tuple("accept" if target else "reject" for target in is_target)
    seconds = draw.uniform(1, 9, len(pairs)).round(1)
    sizes = dict.fromkeys(
        ("speakers", "trials", "enrollments", "enrollments_refused", "enrollments_too_short"), 12
    )
    return HeardSet(
        name,
        POINTS,
        HeardEncoder("streamsv", "abc", ours),
        (HeardEncoder("rival", "1", theirs),),
        Calls(verdicts, seconds, np.full(len(pairs), promised), is_target, *speakers),
        dict.fromkeys(POINTS, 0),
        {**sizes, "trials": len(pairs)},
    )


@pytest.fixture(scope="module")
def heard() -> HeardSet:
    return made_up()


@pytest.fixture(scope="module")
def report(engine: Engine, heard: HeardSet) -> dict[str, Any]:
    return measure(engine, [heard], resamples=50, measured_at="2026-01-02T03:04:05").to_dict()


class Loads(HTMLParser):
    """Collects whatever a page would load or run, and its tags."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        given: Mapping[str, str | None] = dict(attrs)
        self.loaded += [str(given[name]) for name in ("src", "href", "data") if name in given]
        self.loaded += [tag] if tag in ("script", "link", "iframe", "img") else []


def test_the_page_loads_nothing_and_shows_every_plot(
    report: dict[str, Any], heard: HeardSet
) -> None:
    page = write_page(report, heard)
    parser = Loads()
    parser.feed(page)
    assert parser.loaded == []
    assert "url(" not in page
    assert "@import" not in page
    assert parser.tags.count("svg") == len(plots_of(report, heard)) == 9
    assert page.index("Error against seconds of speech") < page.index("The verdicts")


def test_the_page_holds_the_facts_and_escapes_names(
    engine: Engine, report: dict[str, Any], heard: HeardSet
) -> None:
    page = write_page(report, heard)
    assert "calls &amp; &lt;people&gt;" in page
    assert "<people>" not in page
    for fact in (engine.fingerprint, "2026-01-02T03:04:05", "resampled 50 times", "hangover_ms"):
        assert fact in page
    assert "prefers-color-scheme: dark" in page
    assert 'name="viewport"' in page


def test_every_plot_is_well_formed_and_stays_on_its_paper(
    report: dict[str, Any], heard: HeardSet
) -> None:
    for plot in plots_of(report, heard):
        drawing = ElementTree.fromstring(svg(plot))
        assert drawing.attrib["viewBox"] == "0 0 480 320"
        for shape in drawing.iter("polyline"):
            numbers = [float(n) for n in shape.attrib["points"].replace(",", " ").split()]
            assert all(0 <= n <= 480 for n in numbers)
        assert plot.legend
        for axis in (plot.x, plot.y):
            assert all(axis.low <= where <= axis.high for where, _ in axis.ticks)


def test_the_error_plot_has_a_line_for_each_encoder_at_its_rates(
    report: dict[str, Any], heard: HeardSet
) -> None:
    error = plots_of(report, heard)[0]
    ours, rival = error.lines
    assert (ours.name, rival.name) == ("streamsv", "rival")
    assert [y for _, y in ours.points] == [100 * row["eer"] for row in report["results"]]
    assert [y for _, y in rival.points] == [
        100 * row["eer"] for row in report["rivals"][0]["results"]
    ]
    assert [text for _, text in error.x.ticks] == ["1 s", "3 s", "whole"]


def test_a_set_without_comparisons_of_both_kinds_still_makes_a_page(engine: Engine) -> None:
    full = made_up()
    nobody = Trials(np.zeros(0), np.zeros(0), np.zeros(0, np.bool_), (), ())
    calls = Calls((), np.zeros(0), np.zeros(0), np.zeros(0, np.bool_), (), ())
    empty = replace(
        full,
        ours=replace(full.ours, trials=dict.fromkeys(POINTS, nobody)),
        rivals=(),
        calls=calls,
    )
    page = write_page(measure(engine, [empty], resamples=5).to_dict(), empty)
    assert "nothing could be measured" in page
    assert "<svg" not in page


def test_the_short_form_says_the_error_the_rival_the_verdicts_and_the_doubts(
    report: dict[str, Any],
) -> None:
    said = " ".join(in_short(report))
    assert "After 3 seconds of speech, about 1 voice in" in said
    assert "rival makes more errors there" in said
    assert "Of whole calls by strangers, none was falsely accepted (2.0 % promised)" in said
    assert "Only 12 speakers were heard" in said
    assert "twice what was promised" not in said


def test_a_broken_promise_is_said(report: dict[str, Any]) -> None:
    calls = {**report["calls"], "false_accepts": 0.05}
    said = " ".join(in_short({**report, "calls": calls}))
    assert "more than twice what was promised" in said


def test_the_plots_are_written_as_png(
    report: dict[str, Any], heard: HeardSet, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    files = write_plots(report, heard, tmp_path)
    assert [file.stem for file in files] == [plot.key for plot in plots_of(report, heard)]
    assert len({file.name for file in files}) == len(files)
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files)


@pytest.mark.parametrize("high", [0.3, 1, 7, 23, 50, 99.9, 100])
def test_ticks_are_round_few_and_reach_the_top(high: float) -> None:
    top, ticks = round_ticks(high)
    assert top >= high
    assert ticks[0][0] == 0
    assert ticks[-1][0] == pytest.approx(top)
    assert 3 <= len(ticks) <= 7
