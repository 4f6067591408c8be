"""Fitting a model's calibration: sets are heard once, and evidence and stopping rules fitted.

Each recording becomes a track (`streamsv.evaluation.tracks`). The trials of the sets at several
amounts of speech, enrolled and heard, give the evidence (`streamsv.evaluation.evidence`); calls,
made by joining the test recordings of one speaker, give the rules
(`streamsv.evaluation.stopping`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from streamsv import __version__
from streamsv.errors import EvaluationSetError
from streamsv.evaluation.achieved import Achieved, achieved
from streamsv.evaluation.evidence import (
    ENROLLED_KNOTS_S,
    KNOTS_S,
    LEAST_SPEAKERS,
    TrialTable,
    fit_lines,
    llrs,
)
from streamsv.evaluation.sets import EvaluationSet
from streamsv.evaluation.stopping import (
    FOLDS,
    UNTIL_S,
    CallPaths,
    look_times,
    rule_of,
    spending_of,
)
from streamsv.evaluation.tracks import Recording, Track, TrackReader
from streamsv.scoring.calibration import MIXED, Calibration, Line
from streamsv.scoring.metrics import cllr, eer, min_cllr
from streamsv.scoring.rules import StoppingRule

Floats = npt.NDArray[np.float64]

HEARD_S = (1.0, 2.0, 3.0, 5.0, 10.0, 20.0)
"""Net speech of the test at which the evidence is fitted: nothing is decided before a second."""

ENROLLED_CUTS_S = (3.0, None)
"""How much of an enrollment the evidence is fitted with; None is all of it."""

POINTS_S = (3.0, 10.0, None)
"""Net speech of the test at which evidence is judged; None is all of it."""

_WAYS: Mapping[str, tuple[str | None, str | None]] = {
    "as recorded": (None, None),
    "telephone": ("telephone", "telephone"),
    "mixed": (None, "telephone"),
}
"""How enrollment and test are heard."""

_METHOD = (
    "one logistic regression of the cosine for all channels, sets weighing the same, curves that "
    "saturate in the net speech heard and enrolled"
)


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """What is fitted: ``trials``, and ``calls`` with a row a look and the call that it is of.

    Fields
    ------
    calls: the cosines of calls at the looks; ``group`` is the number of the call.
    points: the trials with whole enrollments at each of `POINTS_S`.
    heard: for the reader: which sets were heard in which way.
    """

    trials: TrialTable
    calls: TrialTable
    points: Mapping[float | None, TrialTable]
    heard: tuple[dict[str, Any], ...]


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


def gathered(
    reader: TrackReader, sets: Sequence[EvaluationSet], telephone_too: bool = True
) -> Material:
    """Hear ``sets`` and compare what their trials compare.

    Raises `EvaluationSetError` when nothing could be scored.
    """
    trials, calls, heard = _Rows(), _Rows(), []
    points = {point: _Rows() for point in POINTS_S}
    for evaluation_set in sets:
        is_wide = any(s.channel == "wideband" for s in evaluation_set.streams.values())
        ways = _WAYS if telephone_too and is_wide else {"as recorded": (None, None)}
        for way, (enroll_channel, test_channel) in ways.items():
            one = _SetInOneWay(reader, evaluation_set, way, enroll_channel, test_channel)
            heard.append(one.add_to(trials, calls, points))
    if not len(trials):
        raise EvaluationSetError("No trial of any set could be scored; there is nothing to fit.")
    tables = {point: rows.table() for point, rows in points.items()}
    return Material(trials.table(), calls.table(), tables, tuple(heard))


class _Rows:
    """A `TrialTable` in the making."""

    def __init__(self) -> None:
        self._columns: tuple[list[Any], ...] = tuple([] for _ in range(7))

    def __len__(self) -> int:
        return len(self._columns[0])

    def add(self, cosines: Any, heard_s: Any, *others: Any) -> None:
        count = len(cosines)
        self._columns[0].extend(cosines.tolist())
        self._columns[1].extend(heard_s.tolist())
        for column, value in zip(self._columns[2:], others, strict=True):
            column.extend([value] * count)

    def table(self) -> TrialTable:
        cosine, heard_s, enrolled_s = (np.array(c, dtype=np.float64) for c in self._columns[:3])
        # Groups may be numbers; an empty column would be one of floats.
        names = (np.array(c) if c else np.zeros(0, np.str_) for c in self._columns[3:])
        return TrialTable(cosine, heard_s, enrolled_s, *names)


class _SetInOneWay:
    """The tracks of one set, heard in one way, and their trials."""

    def __init__(
        self,
        reader: TrackReader,
        evaluation_set: EvaluationSet,
        way: str,
        enroll_channel: str | None,
        test_channel: str | None,
    ) -> None:
        self._set, self._way = evaluation_set, way
        streams = evaluation_set.streams
        enrolled = {name for trial in evaluation_set.trials for name in trial.enroll}
        tested = list(dict.fromkeys(trial.test for trial in evaluation_set.trials))
        of_speaker: dict[tuple[str, str], list[str]] = {}
        for name in tested:
            key = streams[name].speaker, f"{streams[name].sample_rate} {streams[name].channel}"
            of_speaker.setdefault(key, []).append(name)
        self._enrolled = {n: Recording((streams[n].path,), enroll_channel) for n in enrolled}
        self._tested = {n: Recording((streams[n].path,), test_channel, UNTIL_S) for n in tested}
        self._joined = {}
        for names in of_speaker.values():
            for first, name in enumerate(names):
                order = names[first:] + names[:first]
                paths = tuple(streams[each].path for each in order)
                self._joined[name] = Recording(paths, test_channel, UNTIL_S)
        wanted = [*self._enrolled.values(), *self._tested.values(), *self._joined.values()]
        self._tracks = reader.read(wanted)

    def add_to(
        self, trials: _Rows, calls: _Rows, points: Mapping[float | None, _Rows]
    ) -> dict[str, Any]:
        """Add all that could be scored; says what that was."""
        scored, speakers, looks = 0, set(), look_times()
        for trial in self._set.trials:
            names = [
                f"{self._set.name}/{self._set.streams[name].speaker}"
                for name in (trial.enroll[0], trial.test)
            ]
            test = self._tracks[self._tested[trial.test]]
            call = self._tracks[self._joined[trial.test]]
            parts = [self._tracks[self._enrolled[name]] for name in trial.enroll]
            whole = voiceprint_of(parts, None)
            if whole is None or not test.hops:
                continue
            scored += 1
            speakers.update(names)
            same = len({test.channel, *(part.channel for part in parts)}) == 1
            channel = test.channel if same else MIXED
            group = f"{self._set.name}|{self._way}"
            for cut in ENROLLED_CUTS_S:
                made = voiceprint_of(parts, cut)
                if made is not None:
                    _compare(trials, test, HEARD_S, made, channel, group, *names)
            for point, rows in points.items():
                at_s = (test.net_speech_s if point is None else point,)
                _compare(rows, test, at_s, whole, channel, group, *names)
            _compare(calls, call, looks, whole, channel, len(calls), *names)
        return {
            "set": self._set.name,
            "channel": None if self._way == "as recorded" else self._way,
            "trials": scored,
            "speakers": len(speakers),
        }


def _compare(
    rows: _Rows,
    track: Track,
    at_s: Any,
    voiceprint: tuple[Any, float],
    channel: str,
    group: str | int,
    enroll_speaker: str,
    test_speaker: str,
) -> None:
    embedding, enrolled_s = voiceprint
    hops = [hop for hop in map(track.hop_at, at_s) if hop is not None]
    heard_s = np.asarray(at_s, dtype=np.float64)[: len(hops)]
    cosines = track.embeddings[hops] @ embedding
    rows.add(cosines, heard_s, enrolled_s, channel, group, enroll_speaker, test_speaker)


def voiceprint_of(parts: Sequence[Track], cut_s: float | None) -> tuple[Any, float] | None:
    """The embedding of an enrollment, and its net speech; None below a second, or below the cut.

    As `streamsv.engine.EnrollmentSession` makes it: the mean weighted by net speech.
    """
    lengths = [part.hops for part in parts]
    if cut_s is not None:
        left = round(cut_s / parts[0].hop_s)
        if sum(lengths) < left:
            return None
        for number, length in enumerate(lengths):
            lengths[number] = min(length, left)
            left -= lengths[number]
    pairs = list(zip(parts, lengths, strict=True))
    seconds = sum(lengths) * parts[0].hop_s
    if seconds < 1.0:
        return None
    total = sum(part.embeddings[length - 1] * length for part, length in pairs if length)
    return (total / np.linalg.norm(total)).astype(np.float32), seconds


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
