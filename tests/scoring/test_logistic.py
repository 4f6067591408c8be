"""Logistic calibration, against Gaussians with a known answer and scikit-learn."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from streamsv.errors import ConfigError, EvaluationSetError
from streamsv.scoring.logistic import fit_logistic
from streamsv.scoring.metrics import cllr

Trials = tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]


def gaussians(target_mean: float, impostor_mean: float, deviation: float) -> Trials:
    """4000 evenly spaced quantiles of each side: no chance, so the known answer is met closely."""
    shares = (np.arange(4000) + 0.5) / 4000
    normal = np.array([NormalDist().inv_cdf(share) for share in shares]) * deviation
    scores = np.concatenate([target_mean + normal, impostor_mean + normal])
    return scores, np.arange(8000) < 4000


def overlapping(seed: int) -> Trials:
    draw = np.random.default_rng(seed)
    is_target = np.arange(700) < 90
    return draw.normal(0.1, 0.12, 700) + 0.3 * is_target, is_target


@pytest.mark.parametrize("prior", [0.5, 0.1])
def test_two_gaussians_of_one_variance_give_their_known_line(prior: float) -> None:
    target_mean, impostor_mean, deviation = 0.55, 0.1, 0.2
    slope, offset = fit_logistic(*gaussians(target_mean, impostor_mean, deviation), prior=prior)
    expected = (target_mean - impostor_mean) / deviation**2
    assert slope == pytest.approx(expected, rel=2e-3)
    assert offset == pytest.approx(-expected * (target_mean + impostor_mean) / 2, rel=2e-3)


@pytest.mark.parametrize("prior", [0.5, 0.05])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_fit_is_that_of_scikit_learn(seed: int, prior: float) -> None:
    scores, is_target = overlapping(seed)
    shares = np.where(is_target, prior / is_target.sum(), (1 - prior) / (~is_target).sum())
    oracle = LogisticRegression(C=1e8, tol=1e-10, max_iter=1000)
    oracle.fit(scores[:, None], is_target, sample_weight=shares * len(scores))
    slope, offset = fit_logistic(scores, is_target, prior=prior)
    assert slope == pytest.approx(oracle.coef_[0, 0], rel=1e-3)
    prior_log_odds = math.log(prior / (1 - prior))
    assert offset == pytest.approx(oracle.intercept_[0] - prior_log_odds, rel=1e-3)


def test_no_line_nearby_has_a_lower_cllr() -> None:
    scores, is_target = overlapping(2)
    slope, offset = fit_logistic(scores, is_target)

    def cost(a: float, b: float) -> float:
        return cllr(a * scores[is_target] + b, a * scores[~is_target] + b)

    for a, b in ((1.01, 1), (0.99, 1), (1, 1.01), (1, 0.99), (1.01, 1.01)):
        assert cost(slope * a, offset * b) > cost(slope, offset)


@given(st.floats(0.01, 100), st.floats(-50, 50))
def test_the_llrs_do_not_depend_on_the_units_of_the_scores(scale: float, shift: float) -> None:
    scores, is_target = overlapping(3)
    slope, offset = fit_logistic(scores, is_target)
    scaled, shifted = fit_logistic(scale * scores + shift, is_target)
    np.testing.assert_allclose(
        scaled * (scale * scores + shift) + shifted, slope * scores + offset, atol=1e-5
    )


def test_scores_that_separate_the_sides_still_give_a_finite_line() -> None:
    slope, offset = fit_logistic([0.7, 0.8, 0.9, 0.1, 0.2], [True, True, True, False, False])
    assert 10 < slope < 1000
    assert 0.2 < -offset / slope < 0.7


def test_equal_scores_are_worth_nothing() -> None:
    assert fit_logistic([0.5, 0.5, 0.5], [1, 0, 0]) == pytest.approx((0.0, 0.0), abs=1e-9)


def test_trials_that_cannot_be_fitted_are_refused() -> None:
    with pytest.raises(EvaluationSetError, match="impostor scores"):
        fit_logistic([0.5], [1])
    with pytest.raises(EvaluationSetError, match="same trials"):
        fit_logistic([0.5, 0.1], [1])
    with pytest.raises(EvaluationSetError, match="not finite"):
        fit_logistic([0.5, math.nan], [1, 0])
    with pytest.raises(ConfigError, match="prior"):
        fit_logistic([0.5, 0.1], [1, 0], prior=1.0)
    with pytest.raises(ConfigError, match="ridge"):
        fit_logistic([0.5, 0.1], [1, 0], ridge=0.0)
