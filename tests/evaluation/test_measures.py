"""What is measured at a point and of whole calls, by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from streamsv.evaluation.measures import Calls, Trials, joined, measure_calls, measure_point

PAIRS = [("a", "a"), ("b", "b"), ("c", "c"), ("a", "b"), ("b", "c"), ("c", "a"), ("a", "c")]


def trials(scores: Any, llrs: Any = None) -> Trials:
    return Trials(
        np.array(scores, dtype=np.float64),
        None if llrs is None else np.array(llrs, dtype=np.float64),
        np.array([a == b for a, b in PAIRS]),
        tuple(a for a, _ in PAIRS),
        tuple(b for _, b in PAIRS),
    )


def calls(verdicts: str, seconds: Any, promised: float = 0.02) -> Calls:
    words = {"A": "accept", "R": "reject", "U": "undecided"}
    return Calls(
        tuple(words[letter] for letter in verdicts),
        np.array(seconds, dtype=np.float64),
        np.full(len(verdicts), promised),
        np.array([a == b for a, b in PAIRS]),
        tuple(a for a, _ in PAIRS),
        tuple(b for _, b in PAIRS),
    )


def test_a_point_has_the_rates_of_its_trials() -> None:
    scores = [0.9, 0.6, 0.4, 0.7, 0.4, 0.2, 0.1]
    llrs = [9, 6, 4, 7, 4, -2, -1]
    found = measure_point(3.0, trials(scores, llrs), 2, 5, resamples=50)
    assert (found.net_speech_s, found.targets, found.impostors) == (3.0, 3, 4)
    assert (found.left_out, found.trials_left_out) == (2, 5)
    assert found.eer == pytest.approx((1 / 3 + 1 / 4) / 2)
    assert found.min_dcf == pytest.approx(2 / 3)
    assert found.act_dcf == pytest.approx(1 / 3 + 99 / 4)
    assert found.cllr is not None
    assert found.min_cllr is not None
    assert found.calibration_loss == pytest.approx(found.cllr - found.min_cllr)
    for interval in (found.eer_ci, found.min_dcf_ci, found.act_dcf_ci, found.cllr_ci):
        assert interval is not None
        assert 0 <= interval[0] <= interval[1]


def test_a_false_accept_rate_that_so_few_impostors_cannot_show_is_missing_with_the_reason() -> None:
    found = measure_point(None, trials(range(7), range(7)), 0, 0, resamples=20)
    assert found.frr_at_far_1_percent is None
    assert found.missing["frr_at_far_1_percent"] == "4 impostor trials; at least 100 are needed"
    assert found.missing["frr_at_far_0_1_percent"] == "4 impostor trials; at least 1000 are needed"


def test_the_false_rejects_at_one_percent_are_measured_on_a_hundred_impostors() -> None:
    impostors = [(f"s{n}", f"s{(n + 1) % 100}") for n in range(100)]
    targets = [(f"s{n}", f"s{n}") for n in range(4)]
    scores = np.array([0.5, 0.98, 1.5, 2.0, *(n / 100 for n in range(100))])
    pairs = [*targets, *impostors]
    found = measure_point(
        1.0,
        Trials(
            scores,
            scores,
            np.arange(len(pairs)) < 4,
            tuple(a for a, _ in pairs),
            tuple(b for _, b in pairs),
        ),
        *(0, 0),
        resamples=20,
    )
    # One impostor in a hundred passes at 0.99; two of four targets are below it.
    assert found.frr_at_far_1_percent == 0.5
    assert found.frr_at_far_1_percent_ci is not None
    assert "frr_at_far_1_percent" not in found.missing


def test_an_encoder_without_likelihood_ratios_has_no_cost_of_them() -> None:
    found = measure_point(1.0, trials([0.9, 0.6, 0.4, 0.7, 0.4, 0.2, 0.1]), 0, 0, resamples=20)
    assert (found.cllr, found.act_dcf, found.calibration_loss) == (None, None, None)
    assert "no likelihood ratios" in found.missing["cllr"]
    assert found.min_cllr == pytest.approx(0.574716, abs=1e-6)


def test_whole_calls_are_counted_by_their_verdicts() -> None:
    found = measure_calls(calls("AURARRU", [2, 9, 4, 3, 1, 2, 9]), resamples=50)
    assert (found.targets, found.impostors, found.impostor_speakers) == (3, 4, 3)
    assert found.promised_error_rates == (0.02,)
    assert found.false_accepts == pytest.approx(1 / 4)
    assert found.false_rejects == pytest.approx(1 / 3)
    assert found.undecided_targets == pytest.approx(1 / 3)
    assert found.undecided_impostors == pytest.approx(1 / 4)
    assert found.impostor_speakers_accepted == 1
    assert (found.accept_s, found.accept_s_p90) == (2, 2)
    assert found.reject_s == 1.5
    assert found.reject_s_p90 == pytest.approx(1.9)
    assert found.false_accepts_ci is not None
    assert found.false_accepts_ci[0] <= 1 / 4 <= found.false_accepts_ci[1]


def test_no_false_accept_among_few_people_still_allows_many() -> None:
    found = measure_calls(calls("AAARRRR", [1] * 7, math.nan), resamples=20)
    assert found.promised_error_rates == ()
    assert found.false_accepts == 0
    assert found.false_accepts_ci == pytest.approx((0, 1 - 0.05 ** (1 / 3)))
    assert found.false_rejects_ci == (0, 0)


def test_calls_without_a_verdict_of_a_kind_have_no_times() -> None:
    found = measure_calls(calls("UUUUUUU", [1] * 7), resamples=20)
    assert (found.accept_s, found.accept_s_ci, found.reject_s_p90) == (None, None, None)


def test_people_of_different_sets_are_different_people() -> None:
    both = joined([("x", trials(range(7))), ("y", trials(range(7)))])
    assert len(both.scores) == 14
    assert set(both.test_speaker) == {"x/a", "x/b", "x/c", "y/a", "y/b", "y/c"}
    assert both.llrs is None
