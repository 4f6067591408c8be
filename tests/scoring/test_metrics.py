"""Error rates and costs, against worked examples, llreval (BOSARIS in Python) and scikit-learn."""

from __future__ import annotations

import doctest
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from llreval import cllr as oracle_cllr
from llreval import tarnon_2_scoreslabels
from llreval.bayes_error_rate import fast_Bayes_error_rate
from llreval.pav_rocch import PAV, ROCCH
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import roc_curve

from streamsv.errors import ConfigError, EvaluationSetError
from streamsv.scoring import metrics
from streamsv.scoring.metrics import act_dcf, cllr, det_curve, eer, frr_at_far, min_cllr, min_dcf

Sides = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]

TARGETS = [0.9, 0.6, 0.4]
IMPOSTORS = [0.7, 0.4, 0.2, 0.1]

tied_scores = st.lists(st.integers(-12, 12), min_size=1, max_size=40).map(
    lambda values: np.array(values, dtype=np.float64) / 2
)


def sample(seed: int, *, tied: bool) -> Sides:
    draw = np.random.default_rng(seed)
    targets = draw.normal(1.5, 1.2, size=int(draw.integers(5, 200)))
    impostors = draw.normal(-1.0, 1.0, size=int(draw.integers(5, 900)))
    return (targets.round(1), impostors.round(1)) if tied else (targets, impostors)


samples = pytest.mark.parametrize(
    "sides",
    [sample(seed, tied=tied) for seed in range(4) for tied in (False, True)],
    ids=[f"{kind}-{seed}" for seed in range(4) for kind in ("distinct", "tied")],
)


def log_odds(p_target: float) -> float:
    return math.log(p_target / (1 - p_target))


def test_the_examples_in_the_docstrings_are_true() -> None:
    results = doctest.testmod(metrics)
    assert results.attempted >= 8
    assert results.failed == 0


def test_the_curve_of_the_worked_example_is_its_table() -> None:
    false_accept, miss, thresholds = det_curve(TARGETS, IMPOSTORS)
    assert thresholds.tolist() == [0.1, 0.2, 0.4, 0.6, 0.7, 0.9, math.inf]
    assert miss.tolist() == [0, 0, 0, 1 / 3, 2 / 3, 2 / 3, 1]
    assert false_accept.tolist() == [1, 3 / 4, 1 / 2, 1 / 4, 1 / 4, 0, 0]


def test_metrics_of_the_worked_example_are_those_found_by_hand() -> None:
    assert eer(TARGETS, IMPOSTORS) == pytest.approx((1 / 3 + 1 / 4) / 2)
    assert min_dcf(TARGETS, IMPOSTORS, p_target=0.5) == pytest.approx(1 / 2)
    assert min_dcf(TARGETS, IMPOSTORS, 0.5, c_miss=3) == pytest.approx(1 / 2)
    assert min_dcf(TARGETS, IMPOSTORS, 0.2, c_fa=2) == pytest.approx(2 / 3)
    assert act_dcf([2.0, -1.0, 0.0], [-3.0, 1.0, -1.0, -2.0], 0.5) == pytest.approx(1 / 3 + 1 / 4)
    assert cllr([math.log(3)], [-math.log(3)]) == pytest.approx(math.log2(4 / 3))
    target_llrs, impostor_llrs = metrics.pav(TARGETS, IMPOSTORS)
    assert target_llrs.tolist() == pytest.approx([math.inf, math.log(4 / 3), math.log(4 / 3)])
    assert impostor_llrs.tolist() == pytest.approx(
        [math.log(4 / 3), math.log(4 / 3), -math.inf, -math.inf]
    )
    assert min_cllr(TARGETS, IMPOSTORS) == pytest.approx(
        (2 / 3 * math.log2(7 / 4) + 1 / 2 * math.log2(7 / 3)) / 2
    )


def test_frr_at_far_takes_the_lowest_threshold_that_keeps_the_promise() -> None:
    rates = {far: frr_at_far(TARGETS, IMPOSTORS, far) for far in (0.0, 0.2, 0.25, 0.5, 1.0)}
    assert rates == {0.0: 2 / 3, 0.2: 2 / 3, 0.25: 1 / 3, 0.5: 0.0, 1.0: 0.0}


def test_perfect_scores_cost_nothing_and_useless_ones_everything() -> None:
    assert eer([2, 3], [0, 1]) == min_dcf([2, 3], [0, 1]) == min_cllr([2, 3], [0, 1]) == 0
    assert frr_at_far([2, 3], [0, 1], far=0) == 0
    assert eer([1, 1], [1, 1, 1]) == 0.5
    assert min_dcf([1, 1], [1, 1, 1]) == min_cllr([1, 1], [1, 1, 1]) == 1
    assert frr_at_far([1, 1], [1, 1, 1], far=0.1) == 1


def test_two_equally_near_thresholds_are_averaged() -> None:
    # At 1.0: miss 0, false accept 1/2; at 2.0: miss 1/2, false accept 0 (one tie of both sides).
    assert eer([1.0, 2.0], [0.0, 1.0]) == 0.25
    # At 1.0: miss 0, false accept 1/2; at 2.0: miss 1, false accept 1/2.
    assert eer([1.0], [0.0, 2.0]) == (0.25 + 0.75) / 2


def test_huge_llrs_do_not_overflow() -> None:
    with np.errstate(over="raise", invalid="raise"):
        assert cllr([1e9], [-1e9]) == 0
        assert cllr([-1e6], [1e6]) == pytest.approx(1e6 / math.log(2))


@samples
def test_the_curve_is_that_of_scikit_learn(sides: Sides) -> None:
    scores, labels = tarnon_2_scoreslabels(*sides)
    false_accept, accept, thresholds = roc_curve(labels, scores, drop_intermediate=False)
    ours = det_curve(*sides)
    np.testing.assert_allclose(ours[0][::-1], false_accept, atol=1e-12)
    np.testing.assert_allclose(ours[1][::-1], 1 - accept, atol=1e-12)
    np.testing.assert_array_equal(ours[2][::-1], thresholds)


@samples
def test_eer_is_where_the_curves_of_scikit_learn_are_nearest(sides: Sides) -> None:
    scores, labels = tarnon_2_scoreslabels(*sides)
    false_accept, accept, _ = roc_curve(labels, scores, drop_intermediate=False)
    gap = np.abs(false_accept - (1 - accept))
    nearest = gap < gap.min() + 1e-12
    expected = np.mean((false_accept[nearest] + 1 - accept[nearest]) / 2)
    assert eer(*sides) == pytest.approx(expected)


def test_eer_of_many_trials_agrees_with_the_convex_hull_of_llreval() -> None:
    draw = np.random.default_rng(1)
    sides = draw.normal(2, 1, 20_000), draw.normal(0, 1, 30_000)
    hull = ROCCH(PAV(*tarnon_2_scoreslabels(*sides))).EER()
    assert hull == pytest.approx(eer(*sides), abs=1e-3)
    assert eer(*sides) == pytest.approx(0.158655, abs=3e-3)  # Phi(-1)


@samples
@pytest.mark.parametrize("p_target", [0.001, 0.01, 0.3, 0.9])
def test_detection_costs_are_those_of_llreval(sides: Sides, p_target: float) -> None:
    scores, labels = tarnon_2_scoreslabels(*sides)
    scale = min(p_target, 1 - p_target)
    least = ROCCH(PAV(scores, labels)).Bayes_error_rate(log_odds(p_target))
    assert min_dcf(*sides, p_target) == pytest.approx(least / scale)
    actual = fast_Bayes_error_rate(scores, labels, np.array([log_odds(p_target)]))[0]
    assert act_dcf(*sides, p_target) == pytest.approx(actual / scale)


@samples
def test_cllr_and_min_cllr_are_those_of_llreval(sides: Sides) -> None:
    assert cllr(*sides) == pytest.approx(oracle_cllr.cllr(*sides))
    best = oracle_cllr.min_cllr(PAV(*tarnon_2_scoreslabels(*sides)))
    assert min_cllr(*sides) == pytest.approx(best)


@samples
def test_pav_is_the_isotonic_regression_of_scikit_learn(sides: Sides) -> None:
    scores, labels = tarnon_2_scoreslabels(*sides)
    posterior = IsotonicRegression().fit(scores, labels).predict(scores)
    with np.errstate(divide="ignore"):
        expected = (
            np.log(posterior) - np.log1p(-posterior) - math.log(len(sides[0]) / len(sides[1]))
        )
    np.testing.assert_allclose(np.concatenate(metrics.pav(*sides)), expected, atol=1e-9)


@given(tied_scores, tied_scores)
def test_a_rising_function_of_the_scores_changes_no_discrimination(
    targets: npt.NDArray[Any], impostors: npt.NDArray[Any]
) -> None:
    bent = np.exp(targets), np.exp(impostors)
    for metric in (eer, min_dcf, min_cllr):
        assert metric(*bent) == metric(targets, impostors)


@given(tied_scores, tied_scores)
def test_swapping_the_sides_and_negating_changes_nothing(
    targets: npt.NDArray[Any], impostors: npt.NDArray[Any]
) -> None:
    assert eer(-impostors, -targets) == eer(targets, impostors)
    for metric in (cllr, min_cllr):
        assert metric(-impostors, -targets) == pytest.approx(metric(targets, impostors))


@given(tied_scores, tied_scores)
def test_calibration_costs_are_never_below_the_best_possible(
    targets: npt.NDArray[Any], impostors: npt.NDArray[Any]
) -> None:
    assert 0 <= min_cllr(targets, impostors) <= cllr(targets, impostors) + 1e-12
    for p_target in (0.01, 0.5):
        least = min_dcf(targets, impostors, p_target)
        assert 0 <= least <= min(1.0, act_dcf(targets, impostors, p_target)) + 1e-12


@given(tied_scores, tied_scores)
def test_pav_never_falls_and_treats_equal_scores_alike(
    targets: npt.NDArray[Any], impostors: npt.NDArray[Any]
) -> None:
    scores = np.concatenate([targets, impostors])
    llrs = np.concatenate(metrics.pav(targets, impostors))
    pairs = sorted(zip(scores.tolist(), llrs.tolist(), strict=True))
    assert [llr for _, llr in pairs] == sorted(llrs.tolist())
    assert len(set(pairs)) == len(set(scores.tolist()))


@pytest.mark.parametrize("metric", [eer, min_dcf, act_dcf, cllr, metrics.pav, min_cllr, det_curve])
@pytest.mark.parametrize(
    ("targets", "impostors", "says"),
    [
        ([], [1.0], "target scores .* at least one"),
        ([1.0], [], "impostor scores .* at least one"),
        ([[1.0]], [1.0], "target scores must be a list"),
        ([1.0, math.nan], [1.0], "1 of 2 target scores are not finite, the first is nan"),
        ([1.0], [math.inf], "impostor scores are not finite, the first is inf"),
    ],
)
def test_scores_that_cannot_be_measured_are_refused(
    metric: Callable[..., Any], targets: Any, impostors: Any, says: str
) -> None:
    with pytest.raises(EvaluationSetError, match=says):
        metric(targets, impostors)


def test_operating_points_that_do_not_exist_are_refused() -> None:
    for p_target in (0.0, 1.0, math.nan):
        with pytest.raises(ConfigError, match="p_target"):
            min_dcf([1], [0], p_target)
        with pytest.raises(ConfigError, match="p_target"):
            act_dcf([1], [0], p_target)
    with pytest.raises(ConfigError, match="c_fa -1"):
        min_dcf([1], [0], c_fa=-1)
    with pytest.raises(ConfigError, match="far"):
        frr_at_far([1], [0], far=1.5)
