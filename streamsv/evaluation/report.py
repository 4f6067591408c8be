"""How well a model tells the voices of a set apart, after each amount of net speech."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from streamsv import __version__
from streamsv.audio import GateConfig
from streamsv.engine import Engine
from streamsv.errors import ConfigError
from streamsv.evaluation.sets import EvaluationSet
from streamsv.evaluation.streaming import Progress, StreamedSet, checked_points, stream_set
from streamsv.scoring.intervals import speaker_intervals
from streamsv.scoring.metrics import cllr, eer, min_cllr, min_dcf

SCORES = ("cosine", "normalized", "llr")
P_TARGET = 0.01
"""The prior of ``min_dcf``; a miss and a false accept cost 1 each."""


@dataclass(frozen=True, slots=True)
class EvaluatedModel:
    """The model's fingerprint, and the name of its file."""

    fingerprint: str
    name: str


@dataclass(frozen=True, slots=True)
class PointResult:
    """The metrics at one amount of net speech; a value is None where a kind of trial is missing.

    Fields
    ------
    net_speech_s: seconds of the test heard; None at the end of each stream.
    targets, impostors: trials scored.
    left_out: test streams that have less net speech.
    trials_left_out: all other trials of the set, also those whose enrollment was too short.
    eer, eer_ci: equal error rate as a fraction, and its 95 % interval over speakers.
    min_dcf: least detection cost at a target prior of `P_TARGET`.
    cllr, min_cllr: cost of the LLRs in bits, as they are and after the best calibration.
    """

    net_speech_s: float | None
    targets: int
    impostors: int
    left_out: int
    trials_left_out: int
    eer: float | None
    eer_ci: tuple[float, float] | None
    min_dcf: float | None
    cllr: float | None
    min_cllr: float | None


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """What was measured, on what, and how; `to_dict` is the stable JSON form.

    Fields
    ------
    set: the set's name.
    score: what ``eer`` and ``min_dcf`` are of, one of `SCORES`; the Cllr are always the LLR's.
    channel: ``telephone`` if everything was sent through 8 kHz mu-law, None if nothing was.
    results: one for each amount asked for, rising, and a last one for whole streams.
    speakers, trials: of the whole set, as far as trials name them.
    enrollments: voices enrolled.
    enrollments_refused: those that a user would have been refused; they are made by force.
    enrollments_too_short: the refused ones that not even force makes; their trials are left out.
    resamples, seed: of the interval.
    """

    set: str
    model: EvaluatedModel
    score: str
    gate: GateConfig
    channel: str | None
    results: tuple[PointResult, ...]
    speakers: int
    trials: int
    enrollments: int
    enrollments_refused: int
    enrollments_too_short: int
    resamples: int
    seed: int
    streamsv_version: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready fields; rates are fractions, what has no data is None."""
        fields = asdict(self)
        fields["results"] = [
            {**asdict(result), "eer_ci": result.eer_ci and list(result.eer_ci)}
            for result in self.results
        ]
        return fields


def evaluate(
    engine: Engine,
    evaluation_set: EvaluationSet,
    at: Sequence[float],
    score: str = "cosine",
    channel: str | None = None,
    resamples: int = 1000,
    seed: int = 0,
    progress: Progress | None = None,
) -> EvaluationReport:
    """Stream the set through real sessions and measure at each of ``at`` seconds of net speech.

    See `streamsv.evaluation.streaming.stream_set` for what is heard and what is left out, and
    `streamsv.scoring.intervals.speaker_intervals` for ``resamples`` and ``seed``.

    Raises `ConfigError` for an argument that is not allowed, among them ``normalized`` with a
    model that has no score normalization; `UnsupportedAudio` for a recording that cannot be read.
    """
    if score not in SCORES:
        raise ConfigError(f"score is {score!r}; allowed are {', '.join(SCORES)}.", score)
    if resamples < 1:
        raise ConfigError(f"resamples must be at least 1; got {resamples}.", resamples)
    points = checked_points(at)
    every_hop = Engine(
        engine.encoder, engine.calibration, replace(engine.config, update_every_hops=1)
    )
    streamed = stream_set(
        every_hop, evaluation_set, points, channel, score == "normalized", progress
    )
    enrollments = streamed.enrollments.values()
    named = {name for trial in evaluation_set.trials for name in (*trial.enroll, trial.test)}
    return EvaluationReport(
        set=evaluation_set.name,
        model=EvaluatedModel(engine.fingerprint, engine.encoder.path.name),
        score=score,
        gate=engine.config.gate,
        channel=channel,
        results=tuple(
            _measured(streamed, point, score, resamples, seed) for point in (*points, None)
        ),
        speakers=len({evaluation_set.streams[name].speaker for name in named}),
        trials=len(evaluation_set.trials),
        enrollments=len(enrollments),
        enrollments_refused=sum(e.refusal is not None for e in enrollments),
        enrollments_too_short=sum(e.voiceprint is None for e in enrollments),
        resamples=resamples,
        seed=seed,
        streamsv_version=__version__,
    )


def _measured(
    streamed: StreamedSet, point: float | None, score: str, resamples: int, seed: int
) -> PointResult:
    scored = streamed.at(point)
    is_target = np.array([s.trial.is_target for s in scored], dtype=np.bool_)
    targets, impostors = int(is_target.sum()), int((~is_target).sum())
    left_out = streamed.left_out(point)
    trials_left_out = len(streamed.evaluation_set.trials) - len(scored)
    if not targets or not impostors:
        return PointResult(
            point, targets, impostors, left_out, trials_left_out, None, None, None, None, None
        )
    scores = np.array([getattr(s.score, score) for s in scored], dtype=np.float64)
    llrs = np.array([s.score.llr for s in scored], dtype=np.float64)
    sides = scores[is_target], scores[~is_target]
    llr_sides = llrs[is_target], llrs[~is_target]
    interval = speaker_intervals(
        eer,
        scores,
        is_target,
        [s.enroll_speaker for s in scored],
        [s.test_speaker for s in scored],
        resamples,
        seed,
    )
    return PointResult(
        net_speech_s=point,
        targets=targets,
        impostors=impostors,
        left_out=left_out,
        trials_left_out=trials_left_out,
        eer=eer(*sides),
        eer_ci=interval,
        min_dcf=min_dcf(*sides, p_target=P_TARGET),
        cllr=cllr(*llr_sides),
        min_cllr=min_cllr(*llr_sides),
    )
