"""Fitting a model's calibration: sets are streamed, their trials pooled by channel and fitted.

The cosines are those that real sessions give at each knot of net speech, through the gate, the
resampler and the network as they will run; how a line is made of them is in
`streamsv.evaluation.curves`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from streamsv import __version__
from streamsv.encoder import Encoder
from streamsv.engine import Engine, EngineConfig
from streamsv.errors import EvaluationSetError
from streamsv.evaluation.curves import LEAST_SPEAKERS, KnotTrials, fit_line
from streamsv.evaluation.sets import CHANNELS, EvaluationSet
from streamsv.evaluation.streaming import (
    Progress,
    ScoredTrial,
    StreamedSet,
    checked_points,
    stream_set,
)
from streamsv.scoring.calibration import MIXED, Calibration, Line
from streamsv.scoring.metrics import cllr, min_cllr

KNOTS_S = (0.5, 1.0, 2.0, 3.0, 5.0, 10.0)

_METHOD = (
    "logistic regression of the cosine at each knot, one observation of the other kind added to "
    "each side, slopes that never fall"
)


def neutral_calibration(fingerprint: str) -> Calibration:
    """A calibration that is none: the LLR is the cosine. To run sessions before there is one."""
    line = Line((1.0,), (0.0,))
    channels = dict.fromkeys(CHANNELS, line)
    return Calibration(fingerprint, (1.0,), channels, {"method": "none: the LLR is the cosine"})


def fit_sets(
    encoder: Encoder,
    sets: Sequence[EvaluationSet],
    knots_s: Sequence[float] = KNOTS_S,
    telephone_too: bool = True,
    config: EngineConfig | None = None,
    least_speakers: int = LEAST_SPEAKERS,
    progress: Progress | None = None,
) -> Calibration:
    """The calibration of ``encoder`` on ``sets``, for each channel that occurs in them.

    With ``telephone_too`` the trials with a wideband test are also heard through 8 kHz mu-law, on
    both sides and on the side of the test alone (``mixed``), and
    count for the telephone. ``config`` holds the gate to hear with; a knot with fewer than
    ``least_speakers`` target speakers takes its line from the knots beside it. People of
    different sets are taken for different people. ``progress`` counts anew for each set and way.

    Raises `EvaluationSetError` when a channel has too few people, or when its targets do not
    score above its impostors; `ConfigError` for knots that do not exist.
    """
    knots = checked_points(knots_s)
    engine = Engine(encoder, neutral_calibration(encoder.fingerprint), config)
    pooled: dict[str, dict[float, list[tuple[str, ScoredTrial]]]] = {}
    heard: list[dict[str, Any]] = []

    def pool(streamed: StreamedSet, channel: str | None) -> None:
        name = streamed.evaluation_set.name
        heard.append({"set": name, "channel": channel, **_counted(streamed)})
        for knot in knots:
            for scored in streamed.at(knot):
                judged_on = MIXED if channel == MIXED else scored.channel
                knots_of_channel = pooled.setdefault(judged_on, {knot: [] for knot in knots})
                knots_of_channel[knot].append((name, scored))

    for evaluation_set in sets:
        streamed = stream_set(engine, evaluation_set, knots, progress=progress)
        pool(streamed, None)
        wideband = _wideband_trials(streamed) if telephone_too else None
        if wideband:
            pool(stream_set(engine, wideband, knots, "telephone", progress=progress), "telephone")
            across = stream_set(
                engine, wideband, knots, "telephone", progress=progress, enroll_as_recorded=True
            )
            pool(across, MIXED)
    if not pooled:
        raise EvaluationSetError("No trial of any set could be scored; there is nothing to fit.")
    trials = {
        channel: [_knot_trials(knot, scored) for knot, scored in of_channel.items()]
        for channel, of_channel in sorted(pooled.items())
    }
    calibration = fit_channels(encoder.fingerprint, trials, least_speakers, {"sets": heard})
    return replace(calibration, model_sha256=encoder.file_sha256)


def fit_channels(
    fingerprint: str,
    trials: Mapping[str, Sequence[KnotTrials]],
    least_speakers: int = LEAST_SPEAKERS,
    fitted_on: Mapping[str, Any] | None = None,
) -> Calibration:
    """The calibration of cosines at hand; ``trials`` has the same rising knots in each channel.

    ``fitted_on`` is kept, with the number of trials and people at each knot, and the Cllr in bits
    there, which is that of the very trials that were fitted.

    Raises `EvaluationSetError` as `fit_sets` does.
    """
    lines = {channel: fit_line(channel, of, least_speakers) for channel, of in trials.items()}
    knots_s = tuple(knot.net_speech_s for knot in next(iter(trials.values()), ()))
    calibration = Calibration(fingerprint, knots_s, lines)
    counts = {
        channel: [_described(calibration, channel, knot, least_speakers) for knot in knots]
        for channel, knots in trials.items()
    }
    described = {"method": _METHOD, "streamsv_version": __version__, **(fitted_on or {})}
    return replace(calibration, fitted_on={**described, "channels": counts})


def _counted(streamed: StreamedSet) -> dict[str, int]:
    scored = streamed.at(None)
    speakers = {speaker for s in scored for speaker in (s.enroll_speaker, s.test_speaker)}
    return {"trials": len(scored), "speakers": len(speakers)}


def _wideband_trials(streamed: StreamedSet) -> EvaluationSet | None:
    """The set again, with the trials that the telephone would change; None without any."""
    tests = {name for name, test in streamed.tests.items() if test.channel == "wideband"}
    trials = tuple(t for t in streamed.evaluation_set.trials if t.test in tests)
    return replace(streamed.evaluation_set, trials=trials) if trials else None


def _knot_trials(knot_s: float, scored: Sequence[tuple[str, ScoredTrial]]) -> KnotTrials:
    return KnotTrials(
        knot_s,
        np.array([s.score.cosine for _, s in scored], dtype=np.float64),
        tuple(f"{name}/{s.enroll_speaker}" for name, s in scored),
        tuple(f"{name}/{s.test_speaker}" for name, s in scored),
    )


def _described(
    calibration: Calibration, channel: str, knot: KnotTrials, least_speakers: int
) -> dict[str, Any]:
    targets, impostors = (calibration.llr(side, knot.net_speech_s, channel) for side in knot.sides)
    has_both = len(targets) > 0 and len(impostors) > 0
    return {
        "net_speech_s": knot.net_speech_s,
        "targets": len(targets),
        "impostors": len(impostors),
        "target_speakers": knot.target_speakers,
        "impostor_pairs": knot.impostor_pairs,
        "is_fitted": knot.is_fitted(least_speakers),
        "cllr": cllr(targets, impostors) if has_both else None,
        "min_cllr": min_cllr(targets, impostors) if has_both else None,
    }
