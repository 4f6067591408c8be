"""Fitting a model's calibration: evidence and stopping rules.

The trials of the sets at several amounts of speech, enrolled and heard, give the evidence
(`streamsv.evaluation.evidence`); their calls give the rules (`streamsv.evaluation.stopping`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from streamsv import __version__
from streamsv.evaluation.achieved import Achieved, achieved
from streamsv.evaluation.evidence import (
    ENROLLED_KNOTS_S,
    KNOTS_S,
    LEAST_SPEAKERS,
    TrialTable,
    fit_lines,
    llrs,
)
from streamsv.evaluation.material import Material
from streamsv.evaluation.stopping import (
    FOLDS,
    UNTIL_S,
    CallPaths,
    look_times,
    rule_of,
    spending_of,
)
from streamsv.scoring.calibration import Calibration, Line
from streamsv.scoring.metrics import cllr, eer, min_cllr
from streamsv.scoring.rules import StoppingRule

Floats = npt.NDArray[np.float64]

_METHOD = (
    "one logistic regression of the cosine for all channels, sets weighing the same, curves that "
    "saturate in the net speech heard and enrolled"
)


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """A calibration, and how it does on people that took no part in it, by channel and rate."""

    calibration: Calibration
    achieved: tuple[Achieved, ...]


def fit_material(
    fingerprint: str,
    material: Material,
    least_speakers: int = LEAST_SPEAKERS,
    spending: str = "pocock",
) -> Fitted:
    """Evidence and rules of cosines at hand, for each channel that occurs in them.

    Raises `EvaluationSetError` when a channel has fewer than ``least_speakers`` people or its
    targets do not score above its impostors; `ConfigError` for an unknown ``spending``.
    """
    spending_of(spending)
    lines = fit_evidence(material, least_speakers)
    rules, found = _fit_rules(material, lines, spending)
    counts = {channel: _described(material.trials, channel, lines) for channel in sorted(lines)}
    calibration = Calibration(
        fingerprint,
        KNOTS_S,
        lines,
        {
            "method": _METHOD,
            "streamsv_version": __version__,
            "sets": list(material.heard),
            "channels": counts,
            "spending": spending,
            "holds_for": _HOLDS_FOR,
            "out_of_fold": [each.to_dict() for each in found],
        },
        enrolled_knots_s=ENROLLED_KNOTS_S,
        rules=rules,
    )
    return Fitted(calibration, tuple(found))


def fit_evidence(material: Material, least_speakers: int = LEAST_SPEAKERS) -> dict[str, Line]:
    """The line of each channel. Raises `EvaluationSetError` as `fit_material` does."""
    return fit_lines(material.trials, least_speakers)


def fit_rules(
    material: Material, lines: Mapping[str, Line], spending: str
) -> dict[str, StoppingRule]:
    """The rule of each channel of ``lines`` whose calls support one."""
    return _fit_rules(material, lines, spending, is_judged=False)[0]


def _fit_rules(
    material: Material, lines: Mapping[str, Line], spending: str, is_judged: bool = True
) -> tuple[dict[str, StoppingRule], list[Achieved]]:
    folds = _folds(material)
    by_fold = [_lines_without(material.trials, fold, lines) for fold in folds]
    rules, found = {}, []
    for channel in sorted(lines):
        calls = material.calls.only(material.calls.channel == channel)
        if not len(calls.cosine):
            continue
        paths = paths_of(calls, lines)
        held, rest = [], []
        for fold, fold_lines in zip(folds, by_fold, strict=True):
            judged = paths_of(calls, fold_lines)
            tested = np.array([fold_of(name) == fold for name in judged.speaker])
            held.append(judged.only(tested))
            rest.append(judged.only(~tested))
        rule = rule_of(paths, held, rest, spending)
        if rule is not None:
            rules[channel] = rule
            found += [
                achieved(channel, boundary.target_far, held, rest, spending)
                for boundary in rule.boundaries
                if is_judged
            ]
    return rules, found


NO_LINE = Line((), ())

_HOLDS_FOR = (
    "one call of a stranger drawn like the impostor speakers of these sets, over the channel "
    "named, against the whole enrollments of these sets, looked at on the grid of look_s or less "
    "often, with this model and gate; calls are the test recordings of one speaker joined, up to "
    f"{UNTIL_S:g} s of net speech. Not for relatives, recordings or synthetic voices; several "
    "calls of one stranger each have that chance"
)


def fold_of(speaker: str) -> int:
    """The fold of a person, the same in every fit."""
    return hashlib.sha256(speaker.encode()).digest()[0] % FOLDS


def _folds(material: Material) -> list[int]:
    return sorted({fold_of(name) for name in set(material.calls.test_speaker.tolist())})


def _lines_without(trials: TrialTable, fold: int, otherwise: Mapping[str, Line]) -> dict[str, Line]:
    """The lines fitted without the people of a fold; ``otherwise`` where too few are left."""
    names = sorted({*trials.enroll_speaker.tolist(), *trials.test_speaker.tolist()})
    inside = np.array([name for name in names if fold_of(name) == fold])
    rows = ~(np.isin(trials.enroll_speaker, inside) | np.isin(trials.test_speaker, inside))
    rest = trials.only(np.asarray(rows, dtype=np.bool_))
    usable = [c for c in otherwise if min(rest.only(rest.channel == c).people()) > 0]
    rest = rest.only(np.asarray(np.isin(rest.channel, usable), dtype=np.bool_))
    return {**otherwise, **(fit_lines(rest, 1) if usable else {})}


def held_out_llrs(material: Material) -> tuple[TrialTable, Floats]:
    """All trials, and the LLR of each by evidence fitted without either of its people, (rows,).

    NaN where too few people are left for a fit.
    """
    trials = material.trials
    found = np.full(len(trials.cosine), np.nan)
    folds = {name: fold_of(name) for name in set(trials.test_speaker.tolist())}
    tested = np.array([folds[name] for name in trials.test_speaker.tolist()])
    for fold in sorted(set(folds.values())):
        lines = _lines_without(trials, fold, dict.fromkeys(set(trials.channel.tolist()), NO_LINE))
        lines = {channel: line for channel, line in lines.items() if line is not NO_LINE}
        rows = (tested == fold) & np.isin(trials.channel, list(lines))
        if rows.any():
            found[rows] = llrs(lines, trials.only(rows))
    return trials, found


def paths_of(calls: TrialTable, lines: Mapping[str, Line]) -> CallPaths:
    """The LLRs of ``calls`` of one channel at each look, a call a row."""
    channel = str(calls.channel[0])
    found = llrs({channel: lines[channel]}, calls)
    _, first, row = np.unique(calls.group, return_index=True, return_inverse=True)
    looks = look_times()
    table = np.full((len(first), len(looks)), np.nan)
    table[row, np.searchsorted(looks, calls.heard_s - 1e-6)] = found
    return CallPaths(table, calls.is_target[first], calls.test_speaker[first])


def _described(trials: TrialTable, channel: str, lines: Mapping[str, Line]) -> list[dict[str, Any]]:
    """How the fit does on the trials that were fitted, at each knot, with whole enrollments."""
    here = trials.only(trials.channel == channel)
    found = llrs({channel: lines[channel]}, here)
    rows = []
    for knot_s in KNOTS_S:
        at = here.heard_s == knot_s
        if not at.any():
            continue
        people, pairs = here.only(at).people()
        targets, impostors = found[at & here.is_target], found[at & ~here.is_target]
        has_both = len(targets) > 0 and len(impostors) > 0
        rows.append(
            {
                "net_speech_s": knot_s,
                "targets": len(targets),
                "impostors": len(impostors),
                "target_speakers": people,
                "impostor_pairs": pairs,
                "is_fitted": has_both,
                "eer": eer(targets, impostors) if has_both else None,
                "cllr": cllr(targets, impostors) if has_both else None,
                "min_cllr": min_cllr(targets, impostors) if has_both else None,
            }
        )
    return rows
