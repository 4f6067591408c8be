"""Intervals from resampled speakers."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

from streamsv.errors import ConfigError, EvaluationSetError
from streamsv.scoring.intervals import resampled_interval, speaker_intervals, weighted_share
from streamsv.scoring.metrics import act_dcf, cllr, eer, frr_at_far, min_cllr, min_dcf


def made_up_trials(speakers: int = 12, seed: int = 3) -> dict[str, Any]:
    """Two target trials a speaker, and every speaker against every other; tied scores."""
    draw = np.random.default_rng(seed)
    names = [f"s{index}" for index in range(speakers)]
    pairs = [(a, b) for a in names for b in names] + [(a, a) for a in names]
    is_target = np.array([a == b for a, b in pairs])
    ease = {name: draw.normal(0, 0.7) for name in names}
    scores = [draw.normal(2 * (a == b), 1) + ease[a] + ease[b] for a, b in pairs]
    return {
        "scores": np.round(scores, 1),
        "is_target": is_target,
        "enroll_speaker": [a for a, _ in pairs],
        "test_speaker": [b for _, b in pairs],
    }


@pytest.mark.parametrize(
    "metric",
    [
        eer,
        min_dcf,
        partial(min_dcf, p_target=0.2, c_miss=2.0),
        act_dcf,
        partial(act_dcf, p_target=0.3, c_fa=2.0),
        cllr,
        partial(frr_at_far, far=0.1),
    ],
)
def test_weights_and_repeated_scores_give_the_same_interval(metric: Any) -> None:
    trials = made_up_trials()
    weighted = speaker_intervals(metric, **trials, resamples=150)
    repeated = speaker_intervals(lambda *sides: metric(*sides), **trials, resamples=150)
    assert weighted == pytest.approx(repeated, rel=1e-12)


def test_the_interval_holds_the_metric_and_shrinks_with_more_speakers() -> None:
    widths = []
    for speakers in (6, 48):
        trials = made_up_trials(speakers)
        scores, labels = trials["scores"], trials["is_target"]
        low, high = speaker_intervals(eer, **trials, resamples=400)
        assert low <= eer(scores[labels], scores[~labels]) <= high
        widths.append(high - low)
    assert widths[1] < widths[0] / 2


def test_a_trial_counts_by_the_draws_of_its_speakers() -> None:
    seen = set()

    def record(targets: Any, impostors: Any) -> float:
        seen.add((*np.bincount(targets.astype(int), minlength=3), len(impostors)))
        return 0.0

    speaker_intervals(
        record,
        scores=[0, 1, 2, 9],
        is_target=[True, True, True, False],
        enroll_speaker=["a", "b", "c", "a"],
        test_speaker=["a", "b", "c", "b"],
        resamples=200,
    )
    # How often a, b and c were drawn, and the impostor trial of a against b with a times b copies.
    assert seen == {(1, 1, 1, 1), (2, 1, 0, 2), (1, 2, 0, 2)}


def test_resamples_without_both_kinds_of_trials_are_drawn_again() -> None:
    # Only the draw of one a and one b leaves an impostor trial; it is the sample itself.
    interval = speaker_intervals(
        eer,
        scores=[0.8, 0.3, 0.5],
        is_target=[1, 1, 0],
        enroll_speaker=["a", "b", "a"],
        test_speaker=["a", "b", "b"],
        resamples=50,
    )
    assert interval == (eer([0.8, 0.3], [0.5]),) * 2


def test_a_seed_repeats_the_interval_and_any_metric_will_do() -> None:
    trials = made_up_trials()
    intervals = {speaker_intervals(min_cllr, **trials, resamples=60, seed=s) for s in (0, 0, 1)}
    assert len(intervals) == 2


def test_trials_that_contradict_their_speakers_are_refused() -> None:
    with pytest.raises(EvaluationSetError, match="Trial 1 is a target trial between 'a' and 'b'"):
        speaker_intervals(eer, [1, 2, 0], [1, 1, 0], ["a", "a", "b"], ["a", "b", "a"])
    with pytest.raises(EvaluationSetError, match="Trial 2 is an impostor trial"):
        speaker_intervals(eer, [1, 2, 0], [1, 1, 0], ["a", "b", "b"], ["a", "b", "b"])


def test_lengths_that_differ_and_empty_sides_are_refused() -> None:
    with pytest.raises(EvaluationSetError, match="same trials"):
        speaker_intervals(eer, [1, 0], [1, 0], ["a", "a"], ["a"])
    with pytest.raises(EvaluationSetError, match="impostor scores"):
        speaker_intervals(eer, [1], [1], ["a"], ["a"])
    with pytest.raises(ConfigError, match="resamples"):
        speaker_intervals(eer, [1, 0], [1, 0], ["a", "a"], ["a", "b"], resamples=0)


def test_a_share_is_measured_on_one_kind_of_trial_and_not_where_none_is_drawn() -> None:
    trials = made_up_trials()
    is_target, impostor = trials["is_target"], ~trials["is_target"]
    accepted = trials["scores"] > 0
    speakers = trials["enroll_speaker"], trials["test_speaker"]

    def share(_targets: Any, impostors: Any) -> float:
        return float(np.mean(impostors > 0))

    found = resampled_interval(weighted_share(accepted, impostor), is_target, *speakers, 100)
    assert found == pytest.approx(speaker_intervals(share, **trials, resamples=100))
    of_nothing = weighted_share(accepted, np.zeros_like(is_target))
    assert np.isnan(resampled_interval(of_nothing, is_target, *speakers, 20)).all()
