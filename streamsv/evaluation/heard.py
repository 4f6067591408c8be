"""A set when everybody has been heard: the scores of every encoder, and how the calls ended.

From here on nothing is heard any more; error rates, tables and plots are made of these arrays.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from streamsv.engine import Engine
from streamsv.errors import ConfigError
from streamsv.evaluation.measures import Calls, Trials, joined, joined_calls
from streamsv.evaluation.prefixes import RivalScores, rival_scores
from streamsv.evaluation.rivals import Rival
from streamsv.evaluation.sets import EvaluationSet, check_names
from streamsv.evaluation.streaming import (
    Progress,
    ScoredTrial,
    StreamedSet,
    checked_points,
    stream_set,
)

SCORES = ("cosine", "normalized", "llr")
OURS = "streamsv"


@dataclass(frozen=True, slots=True, eq=False)
class HeardEncoder:
    """One encoder: its trials at each point of net speech (None: whole streams)."""

    name: str
    version: str
    trials: Mapping[float | None, Trials]


@dataclass(frozen=True, slots=True, eq=False)
class HeardSet:
    """What streaming a set gave, or several sets together.

    Fields
    ------
    points: seconds of net speech, rising, then None for whole streams.
    ours, rivals: scored on the same trials at the same points.
    calls: how the sessions decided.
    left_out: test streams with less net speech, at each point.
    sizes: how many ``speakers``, ``trials``, ``enrollments``, ``enrollments_refused`` and
        ``enrollments_too_short`` there are.
    """

    name: str
    points: tuple[float | None, ...]
    ours: HeardEncoder
    rivals: tuple[HeardEncoder, ...]
    calls: Calls
    left_out: Mapping[float | None, int]
    sizes: Mapping[str, int]

    @property
    def encoders(self) -> tuple[HeardEncoder, ...]:
        """Ours first."""
        return (self.ours, *self.rivals)


def hear(
    engine: Engine,
    evaluation_set: EvaluationSet,
    at: Sequence[float],
    score: str = "cosine",
    channel: str | None = None,
    rivals: Sequence[Rival] = (),
    progress: Progress | None = None,
) -> HeardSet:
    """Stream the set through real sessions, then give rivals the same samples.

    See `streamsv.evaluation.streaming.stream_set` for what is heard and what is left out.

    Raises `ConfigError` for an argument that is not allowed, among them ``normalized`` with a
    model that has no score normalization and two rivals of one name; `UnsupportedAudio` for a
    recording that cannot be read.
    """
    if score not in SCORES:
        raise ConfigError(f"score is {score!r}; allowed are {', '.join(SCORES)}.", score)
    names = [OURS, *(rival.name for rival in rivals)]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"Two encoders are named {name}; rename the file of one.", name)
    points = checked_points(at)
    config = replace(engine.config, update_every_hops=1)
    every_hop = Engine(engine.encoder, engine.calibration, config)
    needs_normalized = score == "normalized"
    streamed = stream_set(every_hop, evaluation_set, points, channel, needs_normalized, progress)
    theirs = rival_scores(engine, rivals, streamed, channel, progress) if rivals else ()
    scored = {point: streamed.at(point) for point in (*points, None)}
    sex = {name: stream.sex for name, stream in evaluation_set.streams.items()}
    enrollments = streamed.enrollments.values()
    named = {name for trial in evaluation_set.trials for name in (*trial.enroll, trial.test)}
    return HeardSet(
        name=evaluation_set.name,
        points=(*points, None),
        ours=HeardEncoder(
            OURS,
            engine.fingerprint,
            {point: _our_trials(of, score, sex) for point, of in scored.items()},
        ),
        rivals=tuple(_rival(each, scored, sex) for each in theirs),
        calls=_calls(streamed),
        left_out={point: streamed.left_out(point) for point in scored},
        sizes={
            "speakers": len({evaluation_set.streams[name].speaker for name in named}),
            "trials": len(evaluation_set.trials),
            "enrollments": len(enrollments),
            "enrollments_refused": sum(e.refusal is not None for e in enrollments),
            "enrollments_too_short": sum(e.voiceprint is None for e in enrollments),
        },
    )


def pooled(sets: Sequence[HeardSet]) -> HeardSet:
    """Several sets as one, named ``pooled``: people of different sets are different people.

    All were heard at the same points by the same encoders. Raises `ConfigError` when two sets
    have one name.
    """
    check_names([each.name for each in sets])
    first = sets[0]
    encoders = [
        HeardEncoder(
            first.encoders[place].name,
            first.encoders[place].version,
            {
                point: joined([(s.name, s.encoders[place].trials[point]) for s in sets])
                for point in first.points
            },
        )
        for place in range(len(first.encoders))
    ]
    return HeardSet(
        name="pooled",
        points=first.points,
        ours=encoders[0],
        rivals=tuple(encoders[1:]),
        calls=joined_calls([(each.name, each.calls) for each in sets]),
        left_out={point: sum(each.left_out[point] for each in sets) for point in first.points},
        sizes={name: sum(each.sizes[name] for each in sets) for name in first.sizes},
    )


def _our_trials(scored: Sequence[ScoredTrial], score: str, sex: Mapping[str, str | None]) -> Trials:
    return _trials(
        scored,
        sex,
        [getattr(each.score, score) for each in scored],
        np.array([each.score.llr for each in scored], dtype=np.float64),
    )


def _rival(
    rival: RivalScores,
    scored: Mapping[float | None, Sequence[ScoredTrial]],
    sex: Mapping[str, str | None],
) -> HeardEncoder:
    trials = {}
    for point, of in scored.items():
        cosines = rival.cosines.get(point, {})
        trials[point] = _trials(of, sex, [cosines[s.trial.enroll, s.trial.test] for s in of], None)
    return HeardEncoder(rival.name, rival.version, trials)


def _trials(
    scored: Sequence[ScoredTrial],
    sex: Mapping[str, str | None],
    scores: Sequence[float],
    llrs: np.ndarray | None,
) -> Trials:
    return Trials(
        np.array(scores, dtype=np.float64),
        llrs,
        np.array([each.trial.is_target for each in scored], dtype=np.bool_),
        tuple(each.enroll_speaker for each in scored),
        tuple(each.test_speaker for each in scored),
        tuple(
            sex[each.trial.test] if sex[each.trial.test] == sex[each.trial.enroll[0]] else None
            for each in scored
        ),
    )


def _calls(streamed: StreamedSet) -> Calls:
    streams = streamed.evaluation_set.streams
    found = [
        (trial, test.decisions[trial.enroll])
        for trial in streamed.evaluation_set.trials
        if (test := streamed.tests.get(trial.test)) and trial.enroll in test.decisions
    ]
    promised = [decision.promised_error_rate for _, decision in found]
    return Calls(
        tuple(str(decision.verdict) for _, decision in found),
        np.array([decision.net_speech_s for _, decision in found], dtype=np.float64),
        np.array([math.nan if rate is None else rate for rate in promised], dtype=np.float64),
        np.array([trial.is_target for trial, _ in found], dtype=np.bool_),
        tuple(streams[trial.enroll[0]].speaker for trial, _ in found),
        tuple(streams[trial.test].speaker for trial, _ in found),
    )
