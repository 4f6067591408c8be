"""The result in a few sentences, for somebody who will read nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from streamsv.evaluation.tables import Report, percent, point_name

FEW_SPEAKERS = 20
"""Below that many, a rate says little about other people."""


def in_short(report: Report) -> list[str]:
    """Three to six sentences: the error, the rivals, the verdicts, the odds, and the doubts."""
    measured = [row for row in report["results"] if row["eer"] is not None]
    if not measured:
        return ["There are no comparisons of both kinds, so nothing could be measured."]
    timed = [row for row in measured if row["net_speech_s"] is not None] or measured
    middle = min(timed, key=lambda row: abs((row["net_speech_s"] or 0.0) - 3.0))
    return [
        _error(middle, measured[-1]),
        *_rivals(report, middle),
        *_verdicts(report["calls"]),
        _odds(middle),
        *_doubts(report),
    ]


def _error(middle: Mapping[str, Any], last: Mapping[str, Any]) -> str:
    after = _after(middle["net_speech_s"])
    sentence = f"{after[0].upper()}{after[1:]}, {_how_many(middle['eer'])} is confused"
    if last is not middle:
        sentence += f"; {_after(last['net_speech_s'])}, {_how_many(last['eer'])}"
    return f"{sentence} (equal error rate)."


def _rivals(report: Report, middle: Mapping[str, Any]) -> list[str]:
    found = []
    for rival in report["rivals"]:
        row = next(r for r in rival["results"] if r["net_speech_s"] == middle["net_speech_s"])
        if row["eer"] is None:
            continue
        low, high = row["eer_ci"]
        word = "fewer" if row["eer"] < middle["eer"] else "more"
        is_clear = not low <= middle["eer"] <= high
        how = "makes as many errors" if row["eer"] == middle["eer"] else f"makes {word} errors"
        doubt = "" if is_clear else ", a difference that may be chance"
        found.append(
            f"On the same speech, {rival['name']} {how} there: {percent(row['eer'])} % against "
            f"{percent(middle['eer'])} %{doubt}."
        )
    return found


def _verdicts(calls: Mapping[str, Any]) -> list[str]:
    if calls["false_accepts"] is None or calls["false_rejects"] is None:
        return []
    promised = calls["promised_error_rates"]
    promise = f" ({' and '.join(f'{percent(p)} %' for p in promised)} promised)" if promised else ""
    high = calls["false_accepts_ci"][1] if calls["false_accepts_ci"] else None
    limit = f", with other people perhaps up to {percent(high)} %" if high is not None else ""
    share = f"{percent(calls['false_accepts'])} % were" if calls["false_accepts"] else "none was"
    sentences = [
        f"Of whole calls by strangers, {share} falsely accepted{promise}{limit}.",
        f"Of true speakers, {percent(calls['false_rejects'])} % were rejected and "
        f"{percent(calls['undecided_targets'])} % left undecided"
        + (
            f"; half of the accepted were accepted within {calls['accept_s']:.1f} s of speech."
            if calls["accept_s"] is not None
            else "."
        ),
    ]
    if promised and calls["false_accepts"] > 2 * max(promised):
        sentences.append(
            "That is more than twice what was promised: calibrate on recordings like these before "
            "relying on the verdicts."
        )
    return sentences


def _odds(row: Mapping[str, Any]) -> str:
    after = _after(row["net_speech_s"])
    if row["calibration_loss"] <= 0.1:
        return f"The stated odds can be taken at their word {after}."
    return (
        f"The stated odds are off {after}: calibration loses {row['calibration_loss']:.2f} bits "
        "(0.1 is little). Calibrate on recordings like these."
    )


def _doubts(report: Report) -> Sequence[str]:
    if report["speakers"] >= FEW_SPEAKERS:
        return ()
    return (f"Only {report['speakers']} speakers were heard; other people may give other figures.",)


def _after(net_speech_s: float | None) -> str:
    if net_speech_s is None:
        return "over whole recordings"
    return f"after {point_name(net_speech_s).replace(' s', '')} seconds of speech"


def _how_many(rate: float) -> str:
    """A rate as people say it.

    >>> _how_many(0.048), _how_many(0.0)
    ('about 1 voice in 21', 'not one voice')
    """
    if rate <= 0:
        return "not one voice"
    if rate > 0.4:
        return "nearly every second voice"
    return f"about 1 voice in {round(1 / rate)}"
