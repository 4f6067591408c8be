"""Which plots a report has, made of its metrics and of the scores themselves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from streamsv.evaluation.heard import HeardEncoder, HeardSet
from streamsv.evaluation.measures import Trials
from streamsv.evaluation.page.plot import Axis, Band, Bars, Line, Plot, points, round_ticks
from streamsv.evaluation.tables import Report, encoders, percent, point_name
from streamsv.events import Verdict
from streamsv.scoring.metrics import det_curve, pav

Floats = npt.NDArray[np.float64]
Row = Mapping[str, Any]

SAME, OTHER = 0, 1
"""The colors of true speakers and of strangers."""

_DET_RATES = (0.001, 0.01, 0.05, 0.1, 0.2, 0.4)
_DET_LEAST, _DET_MOST = 0.0005, 0.6
_LLR_SHOWN = math.log(1000)


def plots_of(report: Report, heard: HeardSet) -> list[Plot]:
    """The plots that there is data for, in the order of the page."""
    chosen = chosen_points(heard)
    if not chosen:
        return []
    plots = [error_plot(report)]
    if len(heard.calls.verdicts):
        plots.append(decision_plot(heard))
    plots.append(evidence_plot(heard))
    plots += [histogram(heard, point) for point in chosen]
    plots += [reliability_plot(heard, chosen), calibration_plot(report)]
    lines = [(point_name(point), heard.ours, point) for point in chosen]
    plots.append(_det("det", "Errors at every threshold, by seconds of speech", lines))
    if heard.rivals:
        at = _nearest(chosen, 3.0)
        rivals = [(each.name, each, at) for each in heard.encoders]
        title = f"Errors at every threshold, after {point_name(at)}, beside others"
        plots.append(_det("det_rivals", title, rivals))
    return plots


def chosen_points(heard: HeardSet) -> list[float | None]:
    """Up to three points to show scores at: the earliest, about 3 s, and the latest with data."""
    usable = [point for point in heard.points if _has_both(heard.ours.trials[point])]
    timed = [point for point in usable if point is not None]
    if not timed:
        return usable[:1]
    return list(dict.fromkeys([timed[0], _nearest(timed, 3.0), timed[-1]]))


def error_plot(report: Report) -> Plot:
    """The equal error rate against seconds of speech: the center of the report."""
    rows = [row for row in report["results"] if row["eer"] is not None]
    places, axis = _seconds_axis(rows)
    lines, highest = [], 1.0
    for series, (name, results) in enumerate(encoders(report)):
        found = [row for row in results if row["eer"] is not None]
        rates = [100 * row["eer"] for row in found]
        highest = max(highest, *rates)
        xs = [places[row["net_speech_s"]] for row in found]
        tips = tuple(f"{name}, {point_name(r['net_speech_s'])}: {_rate(r)}" for r in found)
        lines.append(Line(name, series, points(xs, rates), series > 0, tips))
    xs = [places[row["net_speech_s"]] for row in rows]
    limits = [row["eer_ci"] for row in rows]
    highest = max(highest, *(100 * high for _, high in limits))
    band = Band(
        0,
        points(xs, [100 * low for low, _ in limits]),
        points(xs, [100 * high for _, high in limits]),
    )
    top, ticks = round_ticks(min(highest, 100.0), " %")
    return Plot(
        "error",
        "Error against seconds of speech",
        axis,
        Axis("equal error rate", 0.0, top, ticks),
        tuple(lines),
        (band,),
    )


def decision_plot(heard: HeardSet) -> Plot:
    """How many calls had a verdict after so many seconds of speech."""
    calls = heard.calls
    last = float(max(1.0, calls.net_speech_s.max()))
    groups = (
        ("true speakers accepted", SAME, calls.is_target, Verdict.ACCEPT, False),
        ("strangers rejected", 2, ~calls.is_target, Verdict.REJECT, False),
        ("strangers accepted (false)", OTHER, ~calls.is_target, Verdict.ACCEPT, False),
        ("true speakers rejected (false)", 3, calls.is_target, Verdict.REJECT, True),
    )
    lines = []
    for name, series, among, verdict, is_dashed in groups:
        if not among.any():
            continue
        times = np.sort(calls.net_speech_s[calls.ended(verdict) & among])
        shares = 100 * np.arange(len(times) + 1) / among.sum()
        xs = np.concatenate([[0.0], np.repeat(times, 2), [last]])
        lines.append(Line(name, series, points(xs, np.repeat(shares, 2)), is_dashed))
    top, ticks = round_ticks(last)
    _, percents = round_ticks(100.0, " %")
    return Plot(
        "decisions",
        "Verdicts as the call goes on",
        Axis("seconds of speech", 0.0, top, ticks),
        Axis("share of calls", 0.0, 100.0, percents),
        tuple(lines),
    )


def evidence_plot(heard: HeardSet) -> Plot:
    """The LLR of true speakers and strangers against seconds of speech: median, and 10 to 90 %."""
    usable = [point for point in heard.points if _has_both(heard.ours.trials[point])]
    places, axis = _seconds_axis([{"net_speech_s": point} for point in usable])
    xs = [places[point] for point in usable]
    lines, bands = [], []
    for name, series, side in (("true speakers", SAME, 0), ("strangers", OTHER, 1)):
        spread = [
            np.quantile(_llr_sides(heard.ours, point)[side], (0.1, 0.5, 0.9)) for point in usable
        ]
        low, middle, high = np.array(spread).T
        tips = tuple(f"{name}: median {value:.1f}" for value in middle)
        lines.append(Line(name, series, points(xs, middle), tips=tips))
        bands.append(Band(series, points(xs, low), points(xs, high)))
    reach = max(1.0, *(abs(y) for band in bands for _, y in (*band.low, *band.high)))
    odds = _odds_axis("evidence (odds)", reach * 1.05)
    zero = points([axis.low, axis.high], [0.0, 0.0])
    title = "Evidence against seconds of speech"
    return Plot("evidence", title, axis, odds, tuple(lines), tuple(bands), guides=(zero,))


def histogram(heard: HeardSet, point: float | None) -> Plot:
    """How the LLR is spread over true speakers and strangers at one point."""
    sides = _llr_sides(heard.ours, point)
    low, high = np.quantile(np.concatenate(sides), (0.001, 0.999))
    reach = float(np.ceil(max(1.0, abs(low), abs(high))))
    edges = np.linspace(-reach, reach, 31)
    bars, tallest = [], 1.0
    for name, series, llrs in (
        ("strangers", OTHER, sides[1]),
        ("true speakers", SAME, sides[0]),
    ):
        counted = np.histogram(np.clip(llrs, -reach, reach), edges)[0]
        heights = 100 * counted / len(llrs)
        tallest = max(tallest, float(heights.max()))
        bars.append(Bars(name, series, tuple(edges.tolist()), tuple(heights.tolist())))
    top, ticks = round_ticks(tallest, " %")
    name = point_name(point)
    return Plot(
        f"scores_{name.replace(' ', '_').replace('.', '_')}",
        f"Scores after {name}",
        _odds_axis("evidence (odds)", reach),
        Axis("share of calls", 0.0, top, ticks),
        bars=tuple(bars),
        guides=(points([0.0, 0.0], [0.0, top]),),
    )


def reliability_plot(heard: HeardSet, chosen: Sequence[float | None]) -> Plot:
    """What stated odds turned out to be worth: the LLR of PAV against the LLR that was stated."""
    lines = []
    for series, point in enumerate(chosen):
        stated = np.concatenate(_llr_sides(heard.ours, point))
        worth = np.concatenate(pav(*_llr_sides(heard.ours, point)))
        order = np.argsort(stated, kind="stable")
        shown = np.clip(worth[order], -_LLR_SHOWN, _LLR_SHOWN)
        xs = np.clip(stated[order], -_LLR_SHOWN, _LLR_SHOWN)
        kept = np.flatnonzero(np.diff(shown, prepend=np.nan, append=np.nan)[:-1] != 0)
        kept = np.unique(np.concatenate([kept, kept[1:] - 1, [len(xs) - 1]]))
        lines.append(Line(point_name(point), series, points(xs[kept], shown[kept])))
    return Plot(
        "reliability",
        "What the stated odds were worth",
        _odds_axis("odds that were stated", _LLR_SHOWN),
        _odds_axis("odds that they were worth", _LLR_SHOWN),
        tuple(lines),
        guides=(points([-_LLR_SHOWN, _LLR_SHOWN], [-_LLR_SHOWN, _LLR_SHOWN]),),
    )


def calibration_plot(report: Report) -> Plot:
    """Cllr and minimum Cllr against seconds of speech."""
    rows = [row for row in report["results"] if row["cllr"] is not None]
    places, axis = _seconds_axis(rows)
    xs = [places[row["net_speech_s"]] for row in rows]
    lines = []
    for name, series, key in (("as stated", 0, "cllr"), ("best possible", 2, "min_cllr")):
        values = [row[key] for row in rows]
        tips = tuple(f"{name}: {value:.2f} bits" for value in values)
        lines.append(Line(name, series, points(xs, values), series > 0, tips))
    top, ticks = round_ticks(max(1.0, *(row["cllr"] for row in rows)))
    title = "Cost of the evidence (Cllr) against seconds of speech"
    return Plot("calibration", title, axis, Axis("bits", 0.0, top, ticks), tuple(lines))


def _det(key: str, title: str, wanted: Sequence[tuple[str, HeardEncoder, float | None]]) -> Plot:
    normal = NormalDist()
    lines = []
    for series, (name, encoder, point) in enumerate(wanted):
        trials = encoder.trials[point]
        false_accept, miss, _ = det_curve(*trials.sides(trials.scores))
        shown = (false_accept < 1) & (miss < 1)
        pairs = zip(false_accept[shown], miss[shown], strict=True)
        places = [
            tuple(normal.inv_cdf(min(max(rate, _DET_LEAST), _DET_MOST)) for rate in pair)
            for pair in pairs
        ]
        if places:
            lines.append(Line(name, series, points(*zip(*dict.fromkeys(places), strict=True))))
    low, high = normal.inv_cdf(_DET_LEAST), normal.inv_cdf(_DET_MOST)
    ticks = tuple((normal.inv_cdf(rate), f"{100 * rate:g} %") for rate in _DET_RATES)
    return Plot(
        key,
        title,
        Axis("strangers accepted", low, high, ticks),
        Axis("true speakers refused", low, high, ticks),
        tuple(lines),
        guides=(points([low, high], [low, high]),),
    )


def _seconds_axis(rows: Sequence[Row]) -> tuple[dict[float | None, float], Axis]:
    """Where each point stands on a logarithmic axis, whole streams a little beyond the last."""
    timed = [row["net_speech_s"] for row in rows if row["net_speech_s"] is not None]
    places: dict[float | None, float] = {second: math.log10(second) for second in timed}
    last = max(places.values(), default=0.0)
    if any(row["net_speech_s"] is None for row in rows):
        places[None] = last + 0.25
    ticks = tuple((where, point_name(second)) for second, where in places.items())
    low, high = min(places.values()), max(places.values())
    return places, Axis("seconds of speech heard", low - 0.08, high + 0.1, ticks)


def _odds_axis(label: str, reach: float) -> Axis:
    """An axis of natural-log odds, marked by the odds themselves."""
    decades = int(reach / math.log(10))
    step = max(1, math.ceil(decades / 3))
    marks = [n for n in range(-decades, decades + 1) if n % step == 0]
    return Axis(label, -reach, reach, tuple((n * math.log(10), _odds(n)) for n in marks))


def _odds(decade: int) -> str:
    """Odds of ten to a power, as one says them.

    >>> [_odds(n) for n in (-2, 0, 1)]
    ['1:100', 'even', '10:1']
    """
    if decade == 0:
        return "even"
    size = 10 ** abs(decade)
    many = str(size) if size < 10_000 else f"10^{abs(decade)}"
    return f"{many}:1" if decade > 0 else f"1:{many}"


def _llr_sides(encoder: HeardEncoder, point: float | None) -> tuple[Floats, Floats]:
    trials = encoder.trials[point]
    return trials.sides(trials.scores if trials.llrs is None else trials.llrs)


def _has_both(trials: Trials) -> bool:
    return bool(trials.is_target.any() and not trials.is_target.all())


def _nearest(among: Sequence[float | None], wanted: float) -> float | None:
    return min(among, key=lambda point: math.inf if point is None else abs(point - wanted))


def _rate(row: Row) -> str:
    low, high = row["eer_ci"]
    return f"{percent(row['eer'])} % ({percent(low)} to {percent(high)} %)"
