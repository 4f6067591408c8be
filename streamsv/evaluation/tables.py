"""The tables of an evaluation, from the JSON of its report: for the page, and as Markdown.

They take what `EvaluationReport.to_dict` gives, so a table can be made again from a file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Report = Mapping[str, Any]

NOT_KNOWN = "–"


@dataclass(frozen=True, slots=True)
class Table:
    """``columns`` and ``rows`` of text, all of one length."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        """As GitHub shows it."""
        lines = [self.columns, tuple("---" for _ in self.columns), *self.rows]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def each_set(report: Report) -> list[Report]:
    """The reports of the single sets, and that of all together after them if there are several."""
    parts = report.get("sets", [])  # older files have neither sets nor rivals
    return [*parts, report] if parts else [report]


def set_name(report: Report) -> str:
    """The set's name, and what it was sent through."""
    return str(report["set"]) + (f" by {report['channel']}" if report["channel"] else "")


def error_table(reports: Sequence[Report]) -> Table:
    """The equal error rate in percent with its interval, by set, encoder and seconds of speech."""
    has_rivals = any(report.get("rivals") for report in reports)
    rows = []
    for report in reports:
        whole = report["results"][-1]
        trials = f"{whole['targets']} / {whole['impostors']}"
        for name, results in encoders(report):
            first = (set_name(report), trials) if name == "streamsv" else ("", "")
            of = (*first, name) if has_rivals else first
            rows.append((*of, *map(_rate, results)))
    names = ("set", "trials", "encoder") if has_rivals else ("set", "trials")
    return Table((*names, *_points(reports)), tuple(rows))


def _rate(row: Mapping[str, Any]) -> str:
    interval = row["eer_ci"]
    shown = percent(row["eer"])
    return f"{shown} [{percent(interval[0])}, {percent(interval[1])}]" if interval else shown


def calibration_table(reports: Sequence[Report]) -> Table:
    """Cllr / minimum Cllr in bits, by set and seconds of speech."""

    def cell(row: Mapping[str, Any]) -> str:
        return f"{number(row['cllr'])} / {number(row['min_cllr'])}"

    rows = [(set_name(r), *(cell(row) for row in r["results"])) for r in reports]
    return Table(("set", *_points(reports)), tuple(rows))


def cost_table(reports: Sequence[Report]) -> Table:
    """Detection costs, and the false rejects at two false-accept rates, of every set and point."""
    columns = (
        *("set", "speech", "min DCF", "act DCF"),
        *("FRR % at FAR 1 %", "FRR % at FAR 0.1 %"),
    )
    rows = [
        (
            set_name(report) if place == 0 else "",
            point_name(row["net_speech_s"]),
            number(row["min_dcf"]),
            number(row["act_dcf"]),
            percent(row["frr_at_far_1_percent"]),
            percent(row["frr_at_far_0_1_percent"]),
        )
        for report in reports
        for place, row in enumerate(report["results"])
    ]
    return Table(columns, tuple(rows))


def decision_table(reports: Sequence[Report]) -> Table:
    """How whole calls ended, by set: errors in percent, and seconds of speech to a verdict."""
    columns = (
        *("set", "calls", "promised FA %", "false accepts %", "false rejects %"),
        *("undecided %", "accept after", "reject after"),
    )
    return Table(columns, tuple(_decisions(report) for report in reports))


def _decisions(report: Report) -> tuple[str, ...]:
    calls = report["calls"]
    promised = ", ".join(percent(rate) for rate in calls["promised_error_rates"]) or "none"

    def share(name: str) -> str:
        interval = calls[f"{name}_ci"]
        limits = f" [{percent(interval[0])}, {percent(interval[1])}]" if interval else ""
        return percent(calls[name]) + limits

    def seconds(name: str) -> str:
        if calls[name] is None:
            return NOT_KNOWN
        return f"{calls[name]:.1f} s [90 %: {calls[f'{name}_p90']:.1f} s]"

    return (
        set_name(report),
        f"{calls['targets']} / {calls['impostors']}",
        promised,
        share("false_accepts"),
        share("false_rejects"),
        f"{percent(calls['undecided_targets'])} / {percent(calls['undecided_impostors'])}",
        seconds("accept_s"),
        seconds("reject_s"),
    )


def sex_table(reports: Sequence[Report]) -> Table:
    """The equal error rate in percent where both sides are of one sex, by set and sex."""
    rows = []
    for report in reports:
        for each in report.get("by_sex", []):  # older files have none
            whole = each["results"][-1]
            counts = f"{whole['targets']} / {whole['impostors']}"
            cells = [_rate(row) for row in each["results"]]
            rows.append((set_name(report), each["sex"], str(each["speakers"]), counts, *cells))
    columns = ("set", "sex", "speakers", "trials", *(_points(reports) if reports else ()))
    return Table(columns, tuple(rows))


def unseen_evidence_table(left_out: Mapping[str, Any]) -> Table:
    """Cllr / minimum Cllr on sets that were left out: `streamsv.evaluation.unseen.Unseen`'s JSON.

    A column of equal error rate, of Cllr and of what calibration loses for each amount of speech.
    """
    rows: dict[tuple[str, str], dict[float | None, Mapping[str, Any]]] = {}
    for each in left_out["evidence"]:
        rows.setdefault((each["set"], each["channel"]), {})[each["net_speech_s"]] = each
    points = sorted({point for row in rows.values() for point in row if point is not None})
    shown = [*points, None]

    def cells(row: Mapping[float | None, Mapping[str, Any]]) -> Iterator[str]:
        for point in shown:
            of = row.get(point)
            if of is None:
                yield NOT_KNOWN
            else:
                loss = of["cllr"] - of["min_cllr"]
                yield f"{number(of['cllr'])} / {number(of['min_cllr'])} (+{number(loss)})"

    columns = ("set left out", "channel", *(point_name(point) for point in shown))
    return Table(columns, tuple((*key, *cells(row)) for key, row in rows.items()))


def unseen_calls_table(left_out: Mapping[str, Any]) -> Table:
    """Whole calls of sets that were left out, of the same JSON."""
    columns = (
        *("set left out", "channel", "promised %", "strangers accepted %", "strangers"),
        *("true accepted %", "true rejected %", "accepted after"),
    )
    rows = [
        (
            each["set"],
            each["channel"],
            f"{100 * each['promised_far']:g}",
            f"{percent(each['far'])} [{percent(each['far_ci'][0])}, {percent(each['far_ci'][1])}]",
            str(each["impostor_speakers"]),
            percent(each["accepted"]),
            percent(each["rejected"]),
            NOT_KNOWN if each["accept_s"] is None else f"{each['accept_s']:.1f} s",
        )
        for each in left_out["calls"]
    ]
    return Table(columns, tuple(rows))


def patience_table(long_calls: Sequence[Mapping[str, Any]]) -> Table:
    """Strangers accepted in percent, by the length of their call.

    Of the JSON of `streamsv.evaluation.patience.Patience`.
    """
    lengths = list(long_calls[0]["far_by_s"]) if long_calls else []
    rows = []
    for each in long_calls:
        first = (each["channel"], f"{100 * each['promised_far']:g}", str(each["speakers"]))
        rows.append((*first, "by the rule", *(percent(each["far_by_s"][n]) for n in lengths)))
        on = (percent(each["listening_on_by_s"][n]) for n in lengths)
        rows.append(("", "", "", "if it listened on", *on))
    columns = ("channel", "promised %", "strangers", "accepted", *(f"{n} s" for n in lengths))
    return Table(columns, tuple(rows))


TABLES: Mapping[str, Callable[[Sequence[Report]], Table]] = {
    "error": error_table,
    "calibration": calibration_table,
    "cost": cost_table,
    "decisions": decision_table,
    "sex": sex_table,
}


def encoders(report: Report) -> list[tuple[str, Sequence[Mapping[str, Any]]]]:
    """The name and the results of ours and of every rival."""
    return [("streamsv", report["results"])] + [
        (rival["name"], rival["results"]) for rival in report.get("rivals", [])
    ]


def point_name(net_speech_s: float | None) -> str:
    """``3 s``, or ``whole``."""
    return "whole" if net_speech_s is None else f"{net_speech_s:g} s"


def percent(rate: float | None) -> str:
    """One digit after the point, without the sign."""
    return NOT_KNOWN if rate is None else f"{100 * rate:.1f}"


def number(value: float | None) -> str:
    """Two digits after the point."""
    return NOT_KNOWN if value is None else f"{value:.2f}"


def _points(reports: Sequence[Report]) -> tuple[str, ...]:
    return tuple(point_name(row["net_speech_s"]) for row in reports[0]["results"])
