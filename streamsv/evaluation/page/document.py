"""The page: what was measured, in words for somebody who does not know the field."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from typing import Any

from streamsv.evaluation.heard import HeardSet
from streamsv.evaluation.page.figures import plots_of
from streamsv.evaluation.page.plot import Plot
from streamsv.evaluation.page.svg import svg
from streamsv.evaluation.page.words import in_short
from streamsv.evaluation.tables import (
    Report,
    Table,
    calibration_table,
    cost_table,
    decision_table,
    each_set,
    error_table,
    sex_table,
)

_EER = """
<p>Two things can go wrong: a <b>stranger is let in</b>, or the <b>right person is refused</b>. A
stricter threshold makes one rarer and the other more frequent. The <b>equal error rate</b> is where
both are equally frequent: at 5 %, one stranger in twenty would pass and one true speaker in twenty
would be refused. <b>0 % is perfect, 50 % is a coin toss.</b> It says how well voices are told
apart; it is not what you see in use, where the threshold is set to let in far fewer strangers.</p>
<p>Silence is not counted: only seconds in which somebody speaks. The more speech, the fewer errors.
The band around our line, and the brackets in the table, are where the figure would lie in 95 of 100
cases had other people of the same kind been recorded. Where brackets overlap widely, the difference
may be chance.</p>
"""

_RIVALS = """
<p>Each of the others was given exactly the same samples of speech and the same comparisons, in the
same run. They do not work while somebody speaks: at each point they go over everything heard so far
from its beginning.</p>
"""

_VERDICTS = """
<p>While a call goes on, the program says <b>accept</b>, <b>reject</b>, or, if the evidence is not
enough when the call ends, <b>undecided</b>. A <b>false accept</b> is a stranger let in: the promise
is made about that rate, over the whole call. A <b>false reject</b> is the right person turned away.
Undecided is not an error: it is the honest answer, and means that one should ask in another way.
</p>
"""

_DECIDED = (
    "Calls by true speakers / by strangers; FA are false accepts. Undecided: true speakers / "
    "strangers. Accepts are those of true speakers, rejects those of strangers: half had their "
    "verdict after so many seconds of speech, in brackets when nine in ten had it."
)

_EVIDENCE = """
<p>Each score is stated as <b>odds</b>: 100:1 means that what was heard is a hundred times more
likely from the enrolled person than from somebody else, 1:100 the reverse, and <b>even</b> that
nothing has been learned. The two colors should move apart as speech goes on: where they overlap,
voices are confused. The lines are medians, the bands hold the middle 80 % of calls.</p>
"""

_CALIBRATION = """
<p>Are the odds worth what they say? If they are, the lines on the left follow the dotted diagonal:
what was stated as 10:1 turned out to be worth 10:1 on these recordings. A line <b>below</b> the
diagonal says that the odds claimed too much for the enrolled person, <b>above</b> it too little.
Ends are rough: they rest on few calls. On the right is the price of the stated odds in bits:
<b>0 is perfect, 1 is as good as ignoring the voice.</b> The distance between the two lines is what
better calibration could gain, and <code>streamsv calibrate</code> makes it smaller on recordings
like yours.</p>
"""

_SPECIALISTS = """
<p>DET curves (axes scaled by the normal quantile), detection costs at a target prior of 0.01 with
costs of 1, of the best threshold (min) and of the Bayes threshold of the LLR (act), and false
rejects (FRR) at fixed false-accept rates (FAR); – where there are too few impostor trials.</p>
"""


def write_page(report: Report, heard: HeardSet) -> str:
    """The whole page as HTML; it loads nothing from anywhere.

    ``report`` is `EvaluationReport.to_dict` of what was ``heard``.
    """
    plots = {plot.key: plot for plot in plots_of(report, heard)}
    reports = each_set(report)
    names = [str(each["set"]) for each in report["sets"]] or [str(report["set"])]
    title = f"How well voices are told apart: {', '.join(names)}"
    body = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="soft">{escape(_subtitle(report))}</p>',
        _short(report),
    ]
    if plots:
        body += _errors(report, reports, plots)
        body += _section("The verdicts", _VERDICTS, _shown(plots, "decisions"))
        body.append(_table(decision_table(reports), _DECIDED))
        scores = [key for key in plots if key.startswith("scores_")]
        body += _section("The evidence", _EVIDENCE, _shown(plots, "evidence", *scores))
        both = _shown(plots, "reliability", "calibration")
        body += _section("Do the odds keep their word?", _CALIBRATION, both)
        caption = "Cllr / the least possible, in bits, by seconds of speech."
        body.append(_table(calibration_table(reports), caption))
        body += _section("For specialists", _SPECIALISTS, _shown(plots, "det", "det_rivals"))
        body.append(_table(cost_table(reports)))
    body += ["<h2>What was measured, and how</h2>", _facts(report), _settings(report)]
    style = resources.files("streamsv.evaluation.page").joinpath("style.css")
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title>",
            f"<style>\n{style.read_text(encoding='utf-8')}</style>\n</head>\n<body>\n<main>",
            *body,
            "</main>\n</body>\n</html>\n",
        ]
    )


def _errors(report: Report, reports: Sequence[Report], plots: Mapping[str, Plot]) -> list[str]:
    caption = "Point at a dot for its figure." + (
        " Sets are pooled here; the table has each." if report["sets"] else ""
    )
    return [
        "<h2>Error against seconds of speech</h2>",
        _EER,
        _RIVALS if report["rivals"] else "",
        _figure(plots["error"], caption, is_wide=True),
        _table(
            error_table(reports),
            "Equal error rate in percent, with its 95 % interval. Trials are comparisons with the "
            "same person / with strangers.",
        ),
        *_by_sex(reports),
    ]


def _by_sex(reports: Sequence[Report]) -> list[str]:
    table = sex_table(reports)
    caption = (
        "The same where both voices are of one sex, as the sets name it: these are the harder "
        "comparisons, since a man is rarely taken for a woman."
    )
    return ["<h3>By sex</h3>", _table(table, caption)] if table.rows else []


def _short(report: Report) -> str:
    items = "\n".join(f"<li>{escape(sentence)}</li>" for sentence in in_short(report))
    return f'<div class="short"><b>In short</b>\n<ul>{items}</ul></div>'


def _section(heading: str, words: str, figures: str) -> list[str]:
    return [f"<h2>{escape(heading)}</h2>", words, figures]


def _shown(plots: Mapping[str, Plot], *keys: str) -> str:
    figures = [_figure(plots[key]) for key in keys if key in plots]
    return f'<div class="plots">{"".join(figures)}</div>'


def _figure(plot: Plot, caption: str = "", is_wide: bool = False) -> str:
    legend = "".join(
        f'<li><i class="s{series % 6}{" dashed" if is_dashed else ""}"></i>{escape(name)}</li>'
        for name, series, is_dashed in plot.legend
    )
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    kind = ' class="wide"' if is_wide else ""
    return (
        f"<figure{kind}><h3>{escape(plot.title)}</h3>"
        f'<ul class="legend">{legend}</ul>\n{svg(plot)}{below}</figure>'
    )


def _table(table: Table, caption: str = "") -> str:
    def cell(text: str) -> str:
        value, bracket, limits = text.partition(" [")
        below = f"<small>{escape('[' + limits)}</small>" if bracket else ""
        return f"<td>{escape(value)}{below}</td>"

    head = "".join(f"<th>{escape(name)}</th>" for name in table.columns)
    rows = "\n".join(f"<tr>{''.join(map(cell, row))}</tr>" for row in table.rows)
    above = f'<p class="soft">{escape(caption)}</p>' if caption else ""
    return (
        f'{above}<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _subtitle(report: Report) -> str:
    day = (report["measured_at"] or "")[:10].replace("-", "\N{NON-BREAKING HYPHEN}")
    when = f", {day}" if day else ""
    return (
        f"{report['speakers']} speakers, {report['trials']} comparisons, streamed through "
        f"streamsv {report['streamsv_version']} as calls are{when}"
    )


def _facts(report: Report) -> str:
    through = "8 kHz mu-law, as a telephone" if report["channel"] else "nothing: as recorded"
    facts: dict[str, Any] = {
        "Model": f"{report['model']['name']}, fingerprint {report['model']['fingerprint']}",
        "Code": f"streamsv {report['streamsv_version']}, commit {report['commit'] or 'not known'}",
        "Date": report["measured_at"] or "not stated",
        "Error rates are of": report["score"],
        "Sent through": through,
        "Speakers, comparisons": f"{report['speakers']}, {report['trials']}",
        "Enrollments": (
            f"{report['enrollments']}; {report['enrollments_refused']} would have been refused "
            f"and were forced, {report['enrollments_too_short']} had too little speech"
        ),
        "Intervals": (
            f"95 %, speakers resampled {report['resamples']} times, seed {report['seed']}"
        ),
    }
    for rival in report["rivals"]:
        facts[f"Beside it: {rival['name']}"] = rival["version"]
    for each in report["sets"]:
        facts[f"Set {each['set']}"] = f"{each['speakers']} speakers, {each['trials']} comparisons"
    rows = "\n".join(f"<dt>{escape(k)}</dt><dd>{escape(str(v))}</dd>" for k, v in facts.items())
    left_out = [
        f"{row['left_out']} after {row['net_speech_s']:g} s"
        for row in report["results"]
        if row["net_speech_s"] is not None and row["left_out"]
    ]
    note = (
        "<p>A recording with less speech than a point asks for is left out there: "
        f"{escape(', '.join(left_out))}. So points are not of quite the same comparisons.</p>"
        if left_out
        else ""
    )
    return f"<dl>{rows}</dl>{note}"


def _settings(report: Report) -> str:
    text = json.dumps(report["config"], indent=2)
    return f"<details><summary>The engine's settings</summary><pre>{escape(text)}</pre></details>"
